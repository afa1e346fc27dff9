"""The pages: that their links lead somewhere, and that the commands and keys which they speak of are there."""

import re
import tomllib
from pathlib import Path

import msgspec
import pytest
from typer.main import get_command

from edgeproxy.cli.commands import app
from edgeproxy.config.structs import Config

ROOT = Path(__file__).parents[1]
PAGES = [*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")]


def anchors(page):
    """What GitHub makes of a page's headings."""
    text = re.sub(r"(?s)```.*?```", "", page.read_text())
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in re.findall(r"(?m)^#+ (.+)$", text)}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_lead_somewhere(page):
    for target in re.findall(r"\]\(([^)#][^)]*|#[^)]+)\)", page.read_text()):
        if "://" in target:
            continue
        path, _, anchor = target.partition("#")
        there = page.parent / path if path else page
        assert there.exists(), f"{target} leads nowhere"
        if anchor:
            assert anchor in anchors(there), f"{target} has no such heading"


def commands(page):
    """What is to be typed after `edgeproxy`, in sentences and in blocks."""
    text = page.read_text().replace("\\\n", " ")
    yield from re.findall(r"`edgeproxy ([^`]+)`", re.sub(r"(?ms)^```.*?^```", "", text).replace("\n", " "))
    yield from re.findall(r"(?m)^edgeproxy (.+?)(?: +#.*)?$", text)


def fault(words):
    """What is wrong with the words of a command line; empty: nothing."""
    command = get_command(app)
    while words and (below := getattr(command, "commands", None)):
        several = words[0].split("|")  # `tokens create|list`
        if strange := [word for word in several if word not in below]:
            return "" if words[0].startswith(("-", "…", "[")) else f"there is no {', '.join(strange)}"
        command, words = below[several[0]], words[1:]
    options = {each for one in command.params for each in (*one.opts, *one.secondary_opts)} | {"--help"}
    strange = [word for word in words if word.startswith("--") and word.partition("=")[0] not in options]
    return f"there is no {', '.join(strange)}" if strange else ""


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_commands_are_there(page):
    told = {line: fault(line.split()) for line in commands(page) if not line.startswith(("…", "is "))}
    assert {line: what for line, what in told.items() if what} == {}


def test_a_command_that_is_not_there_is_found():
    assert fault(["domains", "lst"]) == "there is no lst"
    assert fault(["status", "--jsn"]) == "there is no --jsn"
    assert fault(["domains", "list", "--json"]) == ""


def sections(section, path):
    """The tables of the configuration by their path, each with the keys that it has."""
    yield path, set(section.__struct_fields__)
    for name in section.__struct_fields__:
        value = getattr(section, name)
        if isinstance(value, msgspec.Struct):
            yield from sections(value, f"{path}.{name}" if path else name)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_keys_of_the_configuration_are_there(page):
    known = dict(sections(Config(), ""))
    spoken = set(re.findall(rf"`((?:{'|'.join(known[''])})(?:\.[a-z0-9_]+)+)`", page.read_text())) - {"api.sock", "limits.py"}
    strange = {key for key in spoken if key.rpartition(".")[2] not in known.get(key.rpartition(".")[0], ())}
    assert strange == set()


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_keys_of_configurations_that_are_shown_are_there(page):
    known = dict(sections(Config(), ""))
    for text in re.findall(r"(?ms)^```toml[^\n]*\n(.*?)^```$", page.read_text()):
        tables = [("", tomllib.loads(text))]
        for path, table in tables:
            assert set(table) <= known[path], text
            below = [(f"{path}.{name}".lstrip("."), each) for name, each in table.items()]
            tables += [(name, each) for name, each in below if name in known]
