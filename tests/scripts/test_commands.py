"""The page of the commands is what the commands say."""

import runpy
from pathlib import Path

ROOT = Path(__file__).parents[2]


def test_the_page_of_the_commands_is_up_to_date():
    page = runpy.run_path(str(ROOT / "scripts" / "commands.py"))["page"]()
    assert (ROOT / "docs" / "commands.md").read_text() == page, "write it anew: make docs"
