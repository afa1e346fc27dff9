"""Settings that a domain may have beside the configuration's: the operator's word, stored with it and published to workers.
Pure.

To add one: a field here, whose default (None, or an empty text or tuple) means "as the configuration says"; its check and its
description in `control/api/policy_shapes.py`; and what it does, in the edge. Store, map, events and commands take it as it is.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Final

import msgspec

from edgeproxy.gcra import parse_rate

HEADERS: Final = 32
"""Header fields that one domain may set."""

HEADER_VALUE: Final = 4_096
"""Characters of one. Content security policies are the long ones."""

NETWORKS: Final = 256
"""Networks in one list of a domain. Each request of a new connection is compared to them one by one."""

COMPRESSION_NEVER: Final = 64
"""Paths of one domain that are never compressed. Each request's is compared to them."""

HEADER_NAME: Final = r"^[a-z0-9!#$%&'*+.^_`|~-]{1,64}$"
HSTS: Final = (
    r"^(off|0s|[1-9][0-9]{0,3}[smhd](; includeSubDomains)?"
    r"|(36[5-9]|3[7-9][0-9]|[4-9][0-9]{2}|[1-9][0-9]{3})d; includeSubDomains; preload)$"
)
"""How it is written, as a regular expression: also what /openapi.json says."""

NOT_SET: Final = frozenset(
    # What frames an answer, what is said between two neighbours, and what has a key of its own or the edge's meaning.
    b"""connection keep-alive proxy-connection proxy-authenticate te trailer transfer-encoding upgrade content-length
    content-encoding content-range set-cookie strict-transport-security via x-request-id""".decode().split()
)
"""Names that nobody may set."""

_NAME = re.compile(HEADER_NAME).fullmatch
_VALUE = re.compile(r"([!-~]([ -~]*[!-~])?)?\Z").match
_HSTS = re.compile(HSTS).fullmatch
_SECONDS = {"s": 1, "m": 60, "h": 3_600, "d": 86_400}


class Policies(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A domain's own settings. Fields of a later version are ignored where they are read; what people send is checked before it
    is stored."""

    headers: dict[str, str] | None = None
    """Header fields that answers get, by lower-case name. An empty value: not this one, though the configuration has it."""
    allow: tuple[str, ...] = ()
    """The only networks whose clients are answered, CIDR. They count instead of the configuration's."""
    deny: tuple[str, ...] = ()
    """Networks whose clients are refused, CIDR, beside the configuration's."""
    hsts: str = ""
    """Strict-Transport-Security, as `Hsts` reads it; "off": none."""
    rate_per_network: str = ""
    """Requests of one client network for this domain, which then count here alone, as `rate` reads it; "off": any number."""
    rate_per_hostname: str = ""
    """Requests for this domain, the same."""
    compression: str = ""
    """Whether its answers are compressed: "on" or "off"."""
    compression_never: tuple[str, ...] = ()
    """Beginnings of paths that are not, beside the configuration's."""
    request_body: int | None = None
    """Bytes of a request's body, instead of `limits.request_body`; 0: any size."""


NONE: Final = Policies()


RATE: Final = r"^(off|[1-9][0-9]{0,8}/[smh]( burst [1-9][0-9]{0,8})?)$"
"""How a rate is written; `gcra.parse_rate` knows what is possible."""


def rate(text: str) -> str:
    """A rate as it is stored, or "off". Raises ValueError with what would be right."""
    if text == "off":
        return text
    try:
        return str(parse_rate(text))
    except ValueError as error:
        raise ValueError(f'{error}, or "off"') from None


class Hsts(msgspec.Struct, frozen=True):
    """What Strict-Transport-Security says (RFC 6797 section 6.1)."""

    max_age: int
    """Seconds. 0: browsers are to forget."""
    include_subdomains: bool = False
    preload: bool = False

    @property
    def value(self) -> bytes:
        """The field's value."""
        more = ("; includeSubDomains" if self.include_subdomains else "") + ("; preload" if self.preload else "")
        return f"max-age={self.max_age}{more}".encode("ascii")


def parse_hsts(text: str) -> Hsts | None:
    """Reads "365d", "365d; includeSubDomains", "730d; includeSubDomains; preload" or "0s"; None for "off". Raises ValueError
    with what would be right."""
    if not _HSTS(text):
        raise ValueError(
            f'{text[:80]!r} says nothing here; write "365d", "365d; includeSubDomains", "365d; includeSubDomains; preload" (of '
            'at least 365d), "0s" to have browsers forget, or "off"'
        )
    if text == "off":
        return None
    age, *more = text.split("; ")
    return Hsts(int(age[:-1]) * _SECONDS[age[-1]], "includeSubDomains" in more, "preload" in more)


def header(name: str, value: str) -> tuple[str, str]:
    """Checks a header field that answers are to get; its name in lower case. Raises ValueError with what would be right."""
    lower = name.lower()
    if not _NAME(lower):
        raise ValueError(f"{name[:80]!r} is no name of a header field; write one like x-frame-options")
    if lower in NOT_SET:
        why = "its setting is hsts" if lower.startswith("strict") else "it frames answers, or is the edge's to say"
        raise ValueError(f"{lower} cannot be set: {why}; leave it out")
    if len(value) > HEADER_VALUE or not _VALUE(value):
        raise ValueError(
            f"the value of {lower} is not one: write one line of printable ASCII, without blanks around it, of at most "
            f"{HEADER_VALUE} characters"
        )
    return lower, value


def decode(stored: str) -> Policies:
    """A domain's policies as the store has them."""
    return msgspec.json.decode(stored, type=Policies) if stored else NONE


def shown(stored: str) -> dict[str, Any]:
    """The same as answers and events have them: only what was set."""
    return dict(msgspec.json.decode(stored, type=dict[str, Any])) if stored else {}


def merged(stored: str, change: Mapping[str, Any] | None) -> str:
    """What is stored after a change: of `change`, which is checked, each member replaces the one of its name, and None takes it
    away; None for all of it takes all away. As JSON in a certain order; "" for none."""
    if change is None:
        return ""
    empty = msgspec.structs.asdict(NONE)
    kept = {
        name: value
        for name, value in sorted({**shown(stored), **change}.items())
        if value is not None and value != empty.get(name) and value not in ([], {})
    }
    return msgspec.json.encode(kept, order="deterministic").decode() if kept else ""
