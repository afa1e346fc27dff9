"""That modules which are loaded beside the loop are loaded by one thread at a time, and none twice over."""

import asyncio
import subprocess
import sys
from pathlib import Path

import pytest

from edgeproxy.control.importing import load

SLOW = """
import sys, time
assert not sys.importing_tests, sys.importing_tests
sys.importing_tests.append(__name__)
time.sleep(0.05)
sys.importing_tests.remove(__name__)
"""


async def test_one_thread_at_a_time_imports(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    names = [f"importing_test_{number}" for number in range(5)]
    for name in names:
        (tmp_path / f"{name}.py").write_text(SLOW)
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setattr(sys, "importing_tests", [], raising=False)
    loaded = await asyncio.gather(*(load(name) for name in names))
    assert [module.__name__ for modules in loaded for module in modules] == names
    for name in names:
        monkeypatch.delitem(sys.modules, name)


async def test_what_is_not_there_is_told() -> None:
    with pytest.raises(ImportError):
        await load("importing_test_of_nothing")


def test_nothing_is_left_of_the_http_client_to_be_imported_by_the_loop_while_a_thread_imports() -> None:
    code = """
import sys, edgeproxy.control.controller, httpx2
before = set(sys.modules)
httpx2.AsyncClient()
print(sorted(name for name in set(sys.modules) - before if name.startswith("http")))
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
