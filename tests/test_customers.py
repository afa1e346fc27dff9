"""docs/customers.md: what it says of providers, and quotes of the edge's sentences, is what the edge says itself."""

import ast
import re
from pathlib import Path

import pytest

from edgeproxy.control.domains.verification import mistakes, verdict
from edgeproxy.control.domains.verification.providers import DOT, PROVIDERS
from tests.integration.running import ROOT

PAGE = (ROOT / "docs" / "customers.md").read_text()
ROWS = [[cell.strip() for cell in line.strip("|").split("|")] for line in PAGE.splitlines() if line.startswith("| ")]
QUOTES = [row[0].strip('"') for row in ROWS if row[0].startswith('"')]


def sentences(module):
    """Every text in a module, with … for what is filled in."""
    for node in ast.walk(ast.parse(Path(module.__file__).read_text(encoding="utf-8"))):
        if isinstance(node, ast.JoinedStr):
            yield "".join(str(part.value) if isinstance(part, ast.Constant) else "…" for part in node.values)
        elif isinstance(node, ast.Constant) and isinstance(node.value, str):
            yield node.value


KNOWN = {provider.name: provider for provider in PROVIDERS}
TABLE = {row[0]: row for row in ROWS if len(row) == 5 and row[0] != "Provider"}


@pytest.mark.parametrize("name", sorted(TABLE))
def test_a_providers_row_is_what_the_edge_says_of_it(name):
    provider = KNOWN[name]
    _, way, field, value, apex = TABLE[name]
    typed = f"`{provider.apex}`" if provider.apex else "left empty"
    assert (field, apex) == (provider.field, f"{typed}, `{provider.alias or 'A'}`")
    assert way
    assert value


def test_the_common_providers_are_there_and_what_is_to_be_minded():
    assert len(TABLE) >= 25
    [dots] = re.findall(r"(?m)^- (.*): write the value with a dot", PAGE)
    assert {name for name in TABLE if DOT in KNOWN[name].note} == set(dots.strip("*").split(", "))
    assert "**Cloudflare**: set *Proxy status* to **DNS only**" in PAGE


def test_it_quotes_what_the_edge_says():
    said = [*sentences(mistakes), *sentences(verdict)]
    assert len(QUOTES) >= 14
    assert [quote for quote in QUOTES if not any(quote in each for each in said)] == []


def test_what_the_platform_fills_in_is_named_at_its_top():
    head, _, rest = PAGE.partition("-->")
    replaced = re.findall(r"s/([^/]+)/YOUR", head)
    assert replaced == ["domain.example.com", "203.0.113.7", "2001:db8::7"]
    assert all(each in rest for each in replaced)
