"""docs/conformance.md: that the tests which it names are there."""

from __future__ import annotations

import ast
import re
from functools import cache
from pathlib import Path

import msgspec
import pytest

from edgeproxy.config.visitors import Timeouts
from edgeproxy.limits import Limits

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "conformance.md").read_text(encoding="utf-8")


@cache
def names_in(path: str) -> frozenset[str]:
    """The tests in a file; none where there is no such file."""
    file = ROOT / path
    tree = ast.parse(file.read_text(encoding="utf-8")) if file.is_file() else ast.Module(body=[], type_ignores=[])
    kinds = (ast.FunctionDef, ast.AsyncFunctionDef)
    return frozenset(node.name for node in ast.walk(tree) if isinstance(node, kinds) and node.name.startswith("test_"))


def missing(text: str) -> list[str]:
    """Tests named in a text, `path::name`, that do not exist."""
    named = re.findall(r"`(tests/[\w/]+\.py)::(\w+)", text)
    return [f"{path}::{name}" for path, name in named if name not in names_in(path)]


def test_every_test_that_the_page_names_is_there() -> None:
    assert len(re.findall(r"::test_", PAGE)) > 50
    assert missing(PAGE) == []


def test_one_that_is_not_there_is_found() -> None:
    here = "tests/conformance/test_table.py"
    assert missing(f"`{here}::test_nothing`, `tests/gone.py::test_a`") == [f"{here}::test_nothing", "tests/gone.py::test_a"]
    assert missing(f"`{here}::test_one_that_is_not_there_is_found`") == []


def test_every_rule_has_its_test() -> None:
    rows = re.findall(r"(?m)^\| [0-9]+(?:\.[0-9]+)* \|.*$", PAGE)
    assert len(rows) > 50
    assert [row for row in rows if "::test_" not in row] == []


@pytest.mark.parametrize(("section", "keys"), [("limits", Limits), ("timeouts", Timeouts)])
def test_every_bound_has_its_test(section: str, keys: type[msgspec.Struct]) -> None:
    for field in msgspec.structs.fields(keys):
        row = re.search(rf"(?m)^\| `{section}\.{field.name}` \|.*::test_", PAGE)
        assert row, f"{section}.{field.name} has no row in docs/conformance.md"
