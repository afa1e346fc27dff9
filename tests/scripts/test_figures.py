"""README's figures are the bench's."""

import json
import runpy
from pathlib import Path

ROOT = Path(__file__).parents[2]


def test_the_figures_in_readme_are_those_of_the_last_bench():
    with_figures = runpy.run_path(str(ROOT / "scripts" / "figures.py"))["with_figures"]
    readme = (ROOT / "README.md").read_text()
    results = json.loads((ROOT / "bench" / "results.json").read_text())
    assert with_figures(readme, results) == readme, "write them anew: make docs"
