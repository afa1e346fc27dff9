"""Rules of what answers to visitors have. A rule takes a text and gives it back normalised, or raises ValueError."""

from __future__ import annotations

import re

from edgeproxy import policies

_FRAMING = re.compile(
    r"connection|keep-alive|proxy-connection|te|trailer|transfer-encoding|upgrade|content-length|sec-websocket-.*"
)
_READING = frozenset(("content-encoding", "content-range"))
_NAME = re.compile(policies.HEADER_NAME).fullmatch


def header_line(text: str) -> str:
    """A header field as it is sent."""
    name, colon, value = text.partition(":")
    if not colon or not value.strip(" "):
        raise ValueError(f'{text[:80]!r} is no header field; write name and value, like "x-content-type-options: nosniff"')
    return ": ".join(policies.header(name.strip(" "), value.strip(" ")))


def removable(text: str) -> str:
    """The name of a header field that origins' answers can do without."""
    lower = text.lower()
    if not _NAME(lower):
        raise ValueError(f'{text[:80]!r} is no name of a header field; write one like "server"')
    if _FRAMING.fullmatch(lower):
        raise ValueError(f"{lower} says where an answer ends, or what the connection is for; leave it out")
    if lower in _READING:
        raise ValueError(f"{lower} says how an answer's content is to be read, and without it nobody can; leave it out")
    return lower


def hsts(text: str) -> str:
    """How long browsers are to insist on https, for every name alike."""
    try:
        said = policies.parse_hsts(text)
    except ValueError:
        raise ValueError(f'{text[:80]!r} is no time; write one like "365d", or "" for none') from None
    if said is None or said.include_subdomains:
        right = 'write "" for none' if said is None else "write the time alone, and ask for more with a domain's own policies"
        raise ValueError(f"{text!r} would be said of every name, also of those whose subdomains are somebody else's; {right}")
    return text
