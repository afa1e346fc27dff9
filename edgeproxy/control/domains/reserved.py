"""Names that are never a customer's, and what the operator may write for a domain. Pure."""

from __future__ import annotations

import posixpath
import re

from edgeproxy.config.nameservers import beneath
from edgeproxy.config.structs import Config
from edgeproxy.config.values import RULES
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
    path = normal.removeprefix("unix:")
    if path != normal and posixpath.normpath(path) == posixpath.normpath(config.admin.socket):
        raise InvalidName("The origin cannot be the edge's own admin socket.", code="invalid_origin")
    return normal
