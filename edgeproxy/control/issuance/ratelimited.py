"""What a CA's "rateLimited" is about and for how long. Pure.

RFC 8555 section 6.6 has only the code and Retry-After; which limit it was, CAs say in words. These are Boulder's, which
Let's Encrypt runs; what is not understood counts for the account, since asking on would be a storm.
"""

from __future__ import annotations

import re
from datetime import UTC, datetime

from edgeproxy.control.issuance.budget import Ask, Scope

UNKNOWN_PAUSE = 60.0
"""Seconds to wait where the CA does not say how long."""

LONGEST_PAUSE = 7 * 86_400.0
"""Seconds for which a CA's date is believed."""

_DATE = re.compile(r"retry after (\d{4}-\d\d-\d\d)[ T](\d\d:\d\d:\d\d)", re.IGNORECASE)
_OF_ONE_NAME = ("exact set", "failed authorization", "failed validation")


def scope_of(said: str, ask: Ask) -> tuple[Scope, str]:
    """What was limited, and which one of it, by the CA's own words."""
    text = said.lower()
    if any(phrase in text for phrase in _OF_ONE_NAME):
        return "name", ask.name
    if ask.registered and _names(ask.registered, text):
        return "domain", ask.registered
    if _names(ask.name, text):
        return "name", ask.name
    return "account", ""


def reason(said: str) -> str:
    """Why something waits, as a part of a sentence."""
    return f"the CA's rate limit is reached (the CA says: {said.rstrip('.')})" if said else "the CA's rate limit is reached"


def pause(said: str, retry_after: float, now: float) -> float:
    """Seconds to wait: what Retry-After said, else the date in the CA's words, else UNKNOWN_PAUSE."""
    if retry_after > 0:
        return retry_after
    if match := _DATE.search(said):
        try:
            at = datetime.fromisoformat(f"{match[1]}T{match[2]}").replace(tzinfo=UTC).timestamp()
        except ValueError:
            return UNKNOWN_PAUSE
        return min(max(at - now, 1.0), LONGEST_PAUSE)
    return UNKNOWN_PAUSE


def _names(name: str, text: str) -> bool:
    """Whether a text names exactly this name, and not only a longer one that ends with it."""
    return re.search(rf"(?<![\w.*-]){re.escape(name)}(?![\w-]|\.\w)", text) is not None
