"""What makes the virtual environment, where little is there to make it with."""

import ast
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SCRIPT = ROOT / "scripts" / "environment.py"


@pytest.fixture
def checkout(tmp_path):
    """A checkout with nothing but the script and empty locks, on a machine whose own programs are in `system`."""
    (tmp_path / "scripts").mkdir()
    text = SCRIPT.read_text()
    assert 'SYSTEM = "/usr/bin"\n' in text
    (tmp_path / "scripts" / "environment.py").write_text(text.replace('"/usr/bin"\n', f'"{tmp_path}/system"\n'))
    for lock in ("requirements.lock", "requirements-dev.lock"):
        (tmp_path / lock).touch()
    return tmp_path


def make(checkout, *arguments, path=None, **environment):
    return subprocess.run(
        [sys.executable, checkout / "scripts" / "environment.py", *arguments],
        capture_output=True,
        text=True,
        env={**os.environ, **({} if path is None else {"PATH": str(path)}), **environment},
        check=False,
    )


def stand_in(folder, name, script):
    folder.mkdir(exist_ok=True)
    path = folder / name
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(0o755)


def test_it_is_written_for_old_pythons_too():
    ast.parse(SCRIPT.read_text(), feature_version=(3, 7))
    assert "pathlib" not in SCRIPT.read_text()


def test_no_python_that_is_new_enough_is_told(checkout, tmp_path):
    stand_in(tmp_path / "bin", "python3", "echo 3 9 /usr/bin/python3.9")
    done = make(checkout, "run", path=tmp_path / "bin")
    assert done.returncode == 1
    assert done.stderr == (
        "Python 3.11 or newer is needed and none was found. On Debian 12 or later: apt-get install python3 python3-venv\n"
    )


def test_a_missing_venv_is_told_by_the_name_of_its_package(checkout, tmp_path):
    answers = f'case "$*" in *_base*) echo 3 11 {tmp_path}/bin/python3;; *version_info*) echo 3 11;; *) exit 1;; esac'
    stand_in(tmp_path / "bin", "python3", answers)
    stand_in(tmp_path / "bin", "apt-get", "exit 1")
    done = make(checkout, "run", path=tmp_path / "bin")
    assert done.returncode == 1
    assert "a package of its own: python3.11-venv" in done.stderr
    assert "python3.11-venv could not be installed" in done.stderr or "sudo apt-get install python3.11-venv" in done.stderr


@pytest.mark.parametrize("venv", [True, False])
def test_the_systems_own_python_of_the_same_version_is_used_where_it_has_venv(checkout, tmp_path, venv):
    stand_in(tmp_path / "bin", "python3", f"echo 3 11 {tmp_path}/bin/python3")
    stand_in(tmp_path / "bin", "apt-get", "exit 1")
    stand_in(tmp_path / "system", "python3.11", f'case "$*" in *ensurepip*) exit {0 if venv else 1};; *) echo 3 11;; esac')
    done = make(checkout, "run", path=tmp_path / "bin")
    assert f"Making .venv with {tmp_path}/{'system/python3.11' if venv else 'bin/python3'} …" in done.stderr


def test_a_second_run_does_nothing(checkout):
    venv = checkout / ".venv"
    stand_in(checkout / ".venv-bin", "python", f'exec "{sys.executable}" "$@"')
    (checkout / ".venv-bin").rename(checkout / "bin")
    venv.mkdir()
    (checkout / "bin").rename(venv / "bin")
    stand_in(venv / "bin", "pip", "exit 1")
    stand_in(venv / "bin", "edgeproxy", "exit 0")
    number = ".".join(map(str, sys.version_info[:2]))
    program = f"import environment; print(environment.digest('{checkout}/requirements-dev.lock', '{number}'.split('.')))"
    stamp = subprocess.check_output([sys.executable, "-c", program], cwd=checkout / "scripts", text=True).strip()
    (venv / ".made-of-dev").write_text(stamp)
    done = make(checkout, "dev")
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_a_wrong_purpose_is_told(checkout):
    done = make(checkout, "production")
    assert (done.returncode, done.stderr) == (1, "usage: python3 scripts/environment.py run|dev\n")


@pytest.mark.parametrize("lock", ["requirements.lock", "requirements-dev.lock"])
def test_the_locks_name_no_place_and_hash_everything(lock):
    text = (ROOT / lock).read_text()
    assert not re.search(r"://|--index|--find-links|file:|/tmp|/home", text)
    pinned = re.findall(r"(?m)^[a-z0-9-]+(?:\[[a-z,]+\])?==", text)
    assert len(pinned) > 30
    assert len(re.findall(r"(?m)^[^ #].*\\\n    --hash=sha256:", text)) == len(pinned)


def test_the_lock_for_development_has_the_same_versions():
    def pins(lock):
        return dict(re.findall(r"(?m)^([a-z0-9-]+)(?:\[[a-z,]+\])?==([^ ]+)", (ROOT / lock).read_text()))

    run, dev = pins("requirements.lock"), pins("requirements-dev.lock")
    assert run.items() <= dev.items()
