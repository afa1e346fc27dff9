"""Names that look like others: labels that mix scripts. Pure.

A warning, never a refusal: there are honest ones, and the registry of a top-level domain has the last word (UTS 39, section 5).
"""

from __future__ import annotations

import unicodedata

import idna

TOGETHER = (
    frozenset(("LATIN", "CJK", "HIRAGANA", "KATAKANA", "KATAKANA-HIRAGANA")),
    frozenset(("LATIN", "CJK", "HANGUL")),
    frozenset(("LATIN", "CJK", "BOPOMOFO")),
)
"""Scripts that one language writes beside each other (UTS 39, "Highly Restrictive")."""

SHOWN = 4
"""Scripts that a sentence names."""


def warnings(hostname: str) -> list[str]:
    """A sentence for each label of a normalised hostname that mixes scripts in a way that no language does."""
    found = []
    for label in hostname.removeprefix("*.").split("."):
        if not label.startswith("xn--"):
            continue
        try:
            text = idna.ulabel(label)
        except idna.IDNAError:
            continue
        scripts = _scripts(text)
        if len(scripts) > 1 and not any(scripts <= group for group in TOGETHER):
            named = " and ".join(sorted(script.capitalize() for script in scripts)[:SHOWN])
            found.append(
                f"{text!r} ({label}) mixes letters of {named} and may be taken for another name. Look whether it was meant so."
            )
    return found


def _scripts(text: str) -> frozenset[str]:
    """Of the letters, by their names; digits and hyphens are of none."""
    return frozenset(
        unicodedata.name(char, "UNKNOWN").partition(" ")[0] for char in text if unicodedata.category(char)[0] == "L"
    )
