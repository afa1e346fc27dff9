"""`tests/a/test_b.py` tests `edgeproxy/a/b.py`: no module is without its tests, and no tests without their module."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
APART = ("bench", "conformance", "fuzz", "integration", "scripts")
"""Folders of tests that mirror something else, or the program as a whole."""

OF_THE_REPOSITORY = {"test_customers.py", "test_docs.py", "test_domains_guide.py", "test_mirror.py", "test_readme.py"}
"""Tests of what is no module."""

ELSEWHERE = {
    # No behaviour of their own: what they say is done by Alembic, and whether it is right shows in the tables that it makes.
    "control/store/migrations/env.py": "control/store/test_migrate.py",
    "control/store/migrations/versions/0001_first.py": "control/store/test_migrate.py",
    "control/store/migrations/versions/0002_lifecycle.py": "control/store/test_migrate.py",
    "control/store/migrations/versions/0003_issuance.py": "control/store/test_migrate.py",
    "control/store/migrations/versions/0004_companions.py": "control/store/test_migrate.py",
    "control/store/migrations/versions/0005_domains.py": "control/store/test_migrate.py",
    "control/store/migrations/versions/0006_idempotency.py": "control/store/test_migrate.py",
    "control/store/migrations/versions/0007_policies.py": "control/store/test_migrate.py",
}
"""Modules without a mirror, and the file that has their tests."""


def modules() -> list[str]:
    """Every module but a package's own file."""
    package = ROOT / "edgeproxy"
    return sorted(path.relative_to(package).as_posix() for path in package.rglob("*.py") if path.name != "__init__.py")


def mirror_of(module: str) -> Path:
    path = Path(module)
    return ROOT / "tests" / path.parent / f"test_{path.stem.strip('_')}.py"


def has_tests(path: Path) -> bool:
    tree = ast.parse(path.read_text(encoding="utf-8"))
    kinds = (ast.FunctionDef, ast.AsyncFunctionDef)
    return any(isinstance(node, kinds) and node.name.startswith("test_") for node in ast.walk(tree))


def test_every_module_has_its_tests() -> None:
    missing = [module for module in modules() if module not in ELSEWHERE and not mirror_of(module).exists()]
    named = [f"edgeproxy/{module} has no {mirror_of(module).relative_to(ROOT)}" for module in missing]
    assert not named, "\n".join(named)


@pytest.mark.parametrize("module", modules())
def test_a_mirror_is_not_empty(module: str) -> None:
    if module not in ELSEWHERE and mirror_of(module).exists():
        assert has_tests(mirror_of(module))


def test_every_test_file_has_its_module() -> None:
    mirrors = {mirror_of(module) for module in modules()}
    tests = ROOT / "tests"
    there = [path for path in tests.rglob("test_*.py") if path.relative_to(tests).parts[0] not in APART]
    strays = [path for path in there if path not in mirrors and path.name not in OF_THE_REPOSITORY]
    assert not strays, "the module of these is gone, or has another name: " + ", ".join(map(str, strays))


@pytest.mark.parametrize("module", ELSEWHERE)
def test_the_list_of_those_without_a_mirror_is_true(module: str) -> None:
    assert module in modules(), "it is gone: take it from the list"
    assert not mirror_of(module).exists(), "it has a mirror by now: take it from the list"
    assert has_tests(ROOT / "tests" / ELSEWHERE[module])
