"""Names that are never a customer's, and what the operator may write for a domain. Pure."""

from __future__ import annotations

import contextlib
import ipaddress
import re
from urllib.parse import urlsplit

from edgeproxy.config.check import own_socket
from edgeproxy.config.nameservers import beneath
from edgeproxy.config.structs import Config
from edgeproxy.config.values import RULES
from edgeproxy.control.issuance.origins import address_allowed
from edgeproxy.control.issuance.registered import is_public_suffix
from edgeproxy.errors import InvalidName
from edgeproxy.model import covers, workspace_id

_LABEL = re.compile(r"(?!-)[A-Za-z0-9-]{1,63}(?<!-)\Z")


def check_reserved(name: str, config: Config) -> None:
    """Refuses a normalised hostname (or wildcard) that belongs to the platform or to nobody; raises InvalidName.

    Reserved are the platform's own name and all beneath it, `dns.zone` likewise, `platform.cname_target`, `api.hostname`, and
    single labels. A wildcard that would cover one of them is reserved too.
    """
    base = name.removeprefix("*.")
    if "." not in base:
        raise InvalidName(
            f"{name} cannot be registered: it has a single label, so it is nobody's domain. Register a name beneath it.",
            code="reserved_name",
        )
    platform = config.platform.name
    if platform and (base == platform or base.endswith(f".{platform}") or covers(name, platform)):
        raise InvalidName(
            f"{name} cannot be registered: {platform} and all names beneath it are the platform's own. Workspaces have "
            f"<workspace>.{platform} without registration.",
            code="reserved_name",
        )
    for key, own in (("platform.cname_target", config.platform.cname_target), ("api.hostname", config.api.hostname)):
        if own and (name == own or covers(name, own) or base == own or base.endswith(f".{own}")):
            raise InvalidName(
                f"{name} cannot be registered: {own} is {key} of this edge, and it stays with the edge.", code="reserved_name"
            )
    zone = config.dns.zone
    if zone and beneath(base, zone):
        raise InvalidName(
            f"{name} cannot be registered: {zone} is dns.zone of this edge, where it answers challenges only.",
            code="reserved_name",
        )


INTERNAL = (
    *("localhost", "local", "internal", "test", "example", "invalid", "onion", "alt", "arpa"),
    *("localdomain", "lan", "home", "corp", "intranet", "private", "mail"),
)
"""Top-level names that are nobody's in the public DNS: RFC 2606, 6761, 6762, 7686, 9476; ICANN's for private use; and those
that are so common in private networks that ICANN delegates them to nobody."""


def check_claimable(name: str, config: Config) -> None:
    """Refuses a normalised hostname (or wildcard) that no customer can own; raises InvalidName. The operator's own word does
    not have to pass this.

    That is a public suffix, a wildcard of one, and a name beneath INTERNAL, unless the certificates are those of the
    built-in CA: such an edge may be for a private network. Names under .localhost are no network's (RFC 6761 section 6.3): they
    pass with `verification.localhost` alone, which the demo has.
    """
    base = name.removeprefix("*.")
    if is_public_suffix(base):
        what = "is a public suffix, under which anybody can register a domain"
        raise InvalidName(f"{name} cannot be registered: {base} {what}. Register a domain beneath it.", code="reserved_name")
    last = base.rpartition(".")[2]
    if last == "localhost" and not config.verification.localhost:
        raise InvalidName(
            f"{name} cannot be registered: names under .localhost lead everybody to their own machine; nobody owns one.",
            code="reserved_name",
        )
    if last in INTERNAL and config.issuance.directory != "internal":
        raise InvalidName(
            f"{name} cannot be registered: names under .{last} are not in the public DNS, so that nobody can prove one.",
            code="reserved_name",
        )


def check_workspace(text: str, config: Config) -> str:
    """A workspace id as this configuration needs it; raises InvalidName."""
    workspace = workspace_id(text)
    if config.origin.routing == "subdomain" and not _LABEL.match(workspace):
        raise InvalidName(
            f'{text!r} cannot be a workspace here: with origin.routing = "subdomain" it becomes a DNS label, so letters, '
            "digits and hyphens only."
        )
    return workspace


def check_operator_origin(url: str, config: Config) -> str:
    """The operator's word for a domain's own origin, normalised; "" for the platform's. Raises InvalidName.

    Private addresses and Unix sockets pass, since the operator says so; one of the edge's own sockets never does.
    """
    if not url:
        return ""
    try:
        normal = RULES["origin.url"](url)
    except ValueError as error:
        raise InvalidName(f"The origin cannot be used: {error}.", code="invalid_origin") from None
    if own_socket(normal, config):
        raise InvalidName("The origin cannot be one of the edge's own sockets.", code="invalid_origin")
    return normal


def check_token_origin(url: str, config: Config) -> str:
    """The same by a token's word, which does not suffice for Unix sockets and private addresses. Raises InvalidName.

    Of names only those in `origin.allow` pass: what a name resolves to can change after it was registered.
    """
    normal = check_operator_origin(url, config)
    if not normal:
        return ""
    host = urlsplit(normal).hostname or ""
    if host in config.origin.allow:
        return normal
    with contextlib.suppress(ValueError):
        ip = ipaddress.ip_address(host)
        if address_allowed(ip, config) and getattr(ip, "ipv4_mapped", None) is None:
            return normal
    raise InvalidName(
        f"With a token {normal} cannot be made an origin: a public IP address can, and what the operator lists in "
        "origin.allow. Ask the operator to list it, or to add the domain on the admin socket.",
        code="origin_not_allowed",
    )
