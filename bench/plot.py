"""The figures as a picture: bars of CPU time per request, a group per scenario, as SVG. Pure.

Scenarios differ by fifty times, so each group has a scale of its own: bars are to be compared within it, and their figures are
beside them. It follows the reader's light or dark mode; screen readers get all figures as its description.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape
from typing import Any

from bench.scenarios import SCENARIOS
from bench.targets import OURS

_WIDTH = 420
"""Of a column, pixels: it is shown on phones."""
_GAP = 40
"""Between columns."""
_TOP, _TITLE, _ROW, _SPACE = 58, 24, 20, 14
"""Heights: of the head, of a group's title, of a bar's row, and of what is between groups."""
_LABEL, _FIGURE = 98, 56
"""Widths beside the bars."""

_STYLE = """\
text{font:15px system-ui,-apple-system,"Segoe UI",sans-serif;fill:#1f2328}
.group{font-weight:600}.small{font-size:13px;fill:#59636e}.us{font-weight:600}
rect{fill:#8c959f}rect.us{fill:#0969da}
@media(prefers-color-scheme:dark){text{fill:#f0f6fc}.small{fill:#9198a1}rect{fill:#6e7681}rect.us{fill:#4493f8}}
"""


def groups(data: Mapping[str, Any]) -> list[tuple[str, list[tuple[str, float]]]]:
    """Of what results.json holds: each measured scenario's title, with the medians, ours first."""
    peers = sorted(data["versions"], key=lambda name: name != OURS)
    found = []
    for scenario in SCENARIOS:
        measured = data["scenarios"].get(scenario.name, {})
        bars = [(peer, float(measured[peer]["summary"]["median"])) for peer in peers if peer in measured]
        if bars:
            found.append((scenario.title, bars))
    return found


def picture(data: Mapping[str, Any], columns: int) -> str:
    """The SVG with its groups in so many columns."""
    shown = groups(data)
    each = -(-len(shown) // columns)
    parts = [shown[first : first + each] for first in range(0, len(shown), each)] if shown else []
    width = columns * _WIDTH + (columns - 1) * _GAP
    height = _TOP + max((sum(_height(bars) for _, bars in part) for part in parts), default=0)
    lines = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}"',
        f' width="{width}" height="{height}" role="img" aria-labelledby="title desc">',
        '<title id="title">CPU time per request, in microseconds: less is better</title>',
        f'<desc id="desc">{escape(described(shown))}</desc>',
        f"<style>{_STYLE}</style>",
        '<text class="group" x="0" y="18">CPU µs per request: less is better</text>',
        '<text class="small" x="0" y="38">Medians. Each group has a scale of its own.</text>',
    ]
    for column, part in enumerate(parts):
        lines += _column(part, column * (_WIDTH + _GAP))
    return "\n".join([*lines, "</svg>", ""])


def described(shown: Sequence[tuple[str, Sequence[tuple[str, float]]]]) -> str:
    """All figures as sentences."""
    return " ".join(f"{title}: {', '.join(f'{peer} {cost:.0f}' for peer, cost in bars)}." for title, bars in shown)


def _height(bars: Sequence[object]) -> int:
    return _TITLE + _ROW * len(bars) + _SPACE


def _column(part: Sequence[tuple[str, Sequence[tuple[str, float]]]], left: int) -> list[str]:
    lines, top = [], _TOP
    for title, bars in part:
        lines.append(f'<text class="group" x="{left}" y="{top + 15}">{escape(title)}</text>')
        greatest = max(cost for _, cost in bars)
        for row, (peer, cost) in enumerate(bars):
            y = top + _TITLE + row * _ROW
            us = ' class="us"' if peer == OURS else ""
            length = cost / greatest * (_WIDTH - _LABEL - _FIGURE)
            lines += [
                f'<text{us} x="{left}" y="{y + 14}">{escape(peer)}</text>',
                f'<rect{us} x="{left + _LABEL}" y="{y + 2}" width="{length:.1f}" height="15" rx="2"/>',
                f'<text{us} x="{left + _LABEL + length + 6:.1f}" y="{y + 14}">{cost:.0f}</text>',
            ]
        top += _height(bars)
    return lines
