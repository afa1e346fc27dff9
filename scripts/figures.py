"""Writes bench/results.json into README.md, bench/RESULTS.md and their pictures: `python scripts/figures.py`."""

from __future__ import annotations

import json
import re
import statistics
from pathlib import Path
from typing import Any

from bench import records
from bench.plot import groups, picture
from bench.scenarios import DENIED, NEVER_SEEN, PENDING, RUSH, SCALE, SCENARIOS

ROOT = Path(__file__).resolve().parents[1]

PICTURES = {"bench/plot.svg": 1, "bench/plot-wide.svg": 2}
"""Where, and with how many columns: for phones and for what is wider."""

_SHOWN = """\
<picture>
  <source media="(min-width: 900px)" srcset="bench/plot-wide.svg">
  <img src="bench/plot.svg" alt="Bars: CPU time per request of Edgeproxy and others. The table that follows has the figures.">
</picture>
"""

_PLACE = re.compile(r"(<!-- figures: [^>]*-->\n).*?(<!-- end of figures -->)", re.DOTALL)


def table(results: dict[str, Any]) -> str:
    """The medians, a row per scenario and a column per program."""
    peers = sorted(results["versions"], key=lambda name: name != "Edgeproxy")
    rows = [["CPU µs per request", *(f"{peer} {results['versions'][peer]}" for peer in peers)]]
    for scenario in SCENARIOS:
        found = results["scenarios"].get(scenario.name)
        if found:
            medians = [found[peer]["summary"]["median"] if peer in found else None for peer in peers]
            rows.append([scenario.title, *("–" if median is None else f"{median:.0f}" for median in medians)])
    lines = ["| " + " | ".join(row) + " |" for row in rows]
    lines.insert(1, "|---" + "|---:" * len(peers) + "|")
    seen = {peer: sorted(times)[len(times) // 2] for peer, times in results.get(NEVER_SEEN, {}).items() if times}
    machine = results["machine"]
    kernel = machine["kernel"].split("-")[0]
    dates = sorted({date[:10] for date in results["measured"].values()})
    when = f"from {dates[0]} to {dates[-1]}" if len(dates) > 1 else f"on {dates[0]}"
    lines += ["", f"Measured {when}: {machine['processor']}, Linux {kernel}, Python {machine['python']}."]
    lines.append("How, and all the figures: [bench/RESULTS.md](bench/RESULTS.md).")
    if seen:
        told = ", ".join(f"{peer} {seen[peer]:.2f} s" for peer in peers if peer in seen)
        lines.append(f"A name never seen before, to its first answer with a certificate from a local ACME server: {told}.")
    if rush := results.get(RUSH):
        lines.append(
            f"{len(rush['one'])} visitors of one new name at once: {rush['orders']} order; "
            f"{len(rush['many'])} new names at once: all served after {max(rush['many']):.1f} s."
        )
    if denied := results.get(DENIED):
        grown = max(0, denied["after"] - denied["warm"])
        lines.append(
            f"A handshake for a name that nobody registered: {statistics.median(denied['cpu_us']):.0f} µs of CPU; "
            f"{denied['names']:,} such names: {grown / 1e6:.1f} MB more in all processes."
        )
    if scale := results.get(SCALE):
        start, added = statistics.median(scale["start"]), statistics.median(scale["added"])
        lines.append(
            f"With {scale['domains']:,} registered domains: {start:.2f} s from exec to the first answer, at most "
            f"{max(scale['private']) / 1e6:.0f} MB for each worker alone, {added * 1000:.0f} ms until every worker serves a "
            "domain just added."
        )
    if pending := results.get(PENDING):
        lines.append(
            f"{pending['domains']:,} domains that wait for their record, all due at once: each looked at after "
            f"{pending['seconds']:.0f} s. A name whose record is right is active "
            f"{statistics.median(pending['registered']):.1f} s after its registration."
        )
    return "\n".join(lines)


def with_figures(readme: str, results: dict[str, Any] | None) -> str:
    """README's text with the table in its place, or nothing there where nothing was measured."""
    shown = f"\n{_SHOWN}" if results and groups(results) else ""
    figures = f"{shown}\n{table(results)}\n\n" if results else ""
    return _PLACE.sub(lambda place: place[1] + figures + place[2], readme)


def last_results() -> dict[str, Any] | None:
    """What the bench measured last; None where it has not run."""
    path = ROOT / "bench" / "results.json"
    return json.loads(path.read_text()) if path.exists() else None


def main() -> None:
    """Rewrites README.md, bench/RESULTS.md and the pictures."""
    readme, results = ROOT / "README.md", last_results()
    readme.write_text(with_figures(readme.read_text(), results))
    if results:
        for path, columns in PICTURES.items():
            (ROOT / path).write_text(picture(results, columns))
    if measured := records.read(ROOT / "bench"):
        records.write(measured, ROOT / "bench")


if __name__ == "__main__":
    main()
