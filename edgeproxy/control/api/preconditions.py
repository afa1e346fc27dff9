"""ETags of domains, and changes that are wanted only of what somebody has seen (RFC 9110 sections 8.8.3 and 13.1.1). Pure."""

from __future__ import annotations

from edgeproxy.control.store import Domain
from edgeproxy.errors import Outdated


def etag_of(domain: Domain) -> str:
    """Another one whenever something was changed of a domain, and for each registration of its name."""
    return f'"{int(domain.created_at * 1000):x}-{domain.version}"'


def versions_of(if_match: str | None, domain: Domain) -> tuple[int, ...] | None:
    """The versions of which a change is wanted; None: of any. Raises Outdated where If-Match has tags, and not that of the
    domain as it is. Weak ones never match."""
    if if_match is None or if_match.strip() == "*":
        return None
    tags = [tag.strip() for tag in if_match.split(",")]
    if etag_of(domain) not in tags:
        raise Outdated(
            f"{domain.hostname} is not what If-Match says any more: it was changed, or registered anew, since. Get it, decide "
            "anew, and send the ETag of that answer."
        )
    return (domain.version,)
