"""README's figures are the bench's."""

import runpy
from pathlib import Path

from bench import records
from bench.plot import picture
from bench.report import page

ROOT = Path(__file__).parents[2]


FIGURES = runpy.run_path(str(ROOT / "scripts" / "figures.py"))

RESULTS = {
    "measured": {"handshake": "2026-11-21T00:00:00", "new-name": "2026-11-22T00:00:00"},
    "versions": {"nginx": "1.22", "Edgeproxy": "0.1"},
    "scenarios": {"handshake": {"nginx": {"summary": {"median": 500.4}}, "Edgeproxy": {"summary": {"median": 600.0}}}},
    "new-name": {"Edgeproxy": [0.3, 0.1, 0.2]},
    "scale": {"domains": 100_000, "start": [0.4, 0.5, 0.9], "private": [50_000_000, 52_000_000], "added": [0.03]},
    "rush": {"one": [0.1] * 100, "orders": 1, "many": [1.0, 2.52]},
    "denied": {"names": 1_000_000, "cpu_us": [70.0, 66.2, 66.0], "warm": 100_000_000, "after": 101_400_000},
    "pending": {"domains": 10_000, "seconds": 103.7, "registered": [0.6, 0.7, 0.8]},
    "machine": {"date": "2026-11-21T00:00:00", "processor": "A CPU", "kernel": "6.1.2-x", "python": "3.11"},
}


def test_the_figures_in_readme_are_those_of_the_last_bench():
    readme = (ROOT / "README.md").read_text()
    assert FIGURES["with_figures"](readme, FIGURES["last_results"]()) == readme, "write them anew: make docs"


def test_the_bench_s_page_is_made_of_what_is_kept():
    measured = records.read(ROOT / "bench")
    assert measured is not None
    assert (ROOT / "bench" / "RESULTS.md").read_text() == page(measured), "write it anew: make docs"


def test_the_pictures_are_those_of_the_last_bench():
    for path, columns in FIGURES["PICTURES"].items():
        assert (ROOT / path).read_text() == picture(FIGURES["last_results"](), columns), "write them anew: make docs"
        assert path in (ROOT / "README.md").read_text()


def test_ours_is_the_first_column_and_medians_are_shown():
    readme = FIGURES["with_figures"]("a\n<!-- figures: x -->\nold\n<!-- end of figures -->\nb", RESULTS)
    assert readme.startswith("a\n<!-- figures: x -->\n\n<picture>\n")
    assert "\n</picture>\n\n| CPU µs per request | Edgeproxy 0.1 | nginx 1.22 |\n|---|---:|---:|\n" in readme
    assert "| 600 | 500 |" in readme
    assert "Edgeproxy 0.20 s" in readme
    assert "With 100,000 registered domains: 0.50 s from exec to the first answer, at most 52 MB" in readme
    assert "100 visitors of one new name at once: 1 order; 2 new names at once: all served after 2.5 s." in readme
    assert "registered: 66 µs of CPU; 1,000,000 such names: 1.4 MB more in all processes." in readme
    assert "10,000 domains that wait for their record, all due at once: each looked at after 104 s." in readme
    assert "is active 0.7 s after its registration." in readme
    assert "Measured from 2026-11-21 to 2026-11-22: A CPU, Linux 6.1.2, Python 3.11." in readme
    assert "old" not in readme
    assert readme.endswith("<!-- end of figures -->\nb")


def test_without_a_measurement_there_are_no_figures():
    readme = "<!-- figures: x -->\nold\n<!-- end of figures -->"
    assert FIGURES["with_figures"](readme, None) == "<!-- figures: x -->\n<!-- end of figures -->"
