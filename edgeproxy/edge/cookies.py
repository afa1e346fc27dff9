"""Cookies that would be sent to other tenants: their Domain is taken away. Pure.

Who may set a cookie for all names beneath one is whoever browsers take for its owner (RFC 6265 section 4.1.2.3); of names that
an edge gives to many tenants that is nobody. A cookie with Domain=platform.name, set by one of them, would be sent with each
visit to all others: a session fixed by a stranger, or a secret told to everybody. Names on the public suffix list
(publicsuffix.org, its private part) browsers protect themselves; nobody has to be on it here.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

_HOSTNAME = re.compile(rb"[a-z0-9._-]*\Z").match


def shared_domains(platform: str, patterns: Iterable[str]) -> frozenset[str]:
    """The domains beneath which different tenants have names: `platform.name`, and the bases of `issuance.allow.patterns`."""
    bases = {pattern[2:] for pattern in patterns if pattern.startswith("*.")}
    return frozenset(bases | ({platform} if platform else set()))


def host_only(cookie: bytes, shared: frozenset[str]) -> bytes:
    """A Set-Cookie's value without each Domain that covers a shared domain, so that it is the cookie of the host that set it
    and of no other (RFC 6265 section 5.3, step 6). The value itself where it has none.

    Browsers take the last Domain, and what is left after removing some is theirs to judge. One that is not written as a
    hostname goes too, since they differ in what they make of it: Chromium unescapes it (v%65.ai), and maps what is not ASCII.
    """
    first, *attributes = cookie.split(b";")
    kept = [each for each in attributes if not _covers(each, shared)]
    return cookie if len(kept) == len(attributes) else b";".join((first, *kept))


def _covers(attribute: bytes, shared: frozenset[str]) -> bool:
    name, _, value = attribute.partition(b"=")
    if name.strip(b" \t").lower() != b"domain":
        return False
    written = value.strip(b' \t"').strip(b".").lower()
    if not _HOSTNAME(written):
        return True
    domain = written.decode("ascii")
    return bool(domain) and any(each == domain or each.endswith(f".{domain}") for each in shared)
