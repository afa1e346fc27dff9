"""Where an origin is. Pure."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Sequence
from typing import NamedTuple
from urllib.parse import urlsplit

from edgeproxy.addresses import is_public
from edgeproxy.errors import InvalidName
from edgeproxy.model import hostname

_DEFAULT_PORTS = {"http": 80, "https": 443}


class Target(NamedTuple):
    """One place to dial. Equal targets share a pool of connections."""

    host: str
    """Hostname or IP literal without brackets; empty for a Unix socket."""
    port: int
    tls: bool
    unix: str = ""
    restricted: bool = False
    """Named by somebody whose word does not suffice for private addresses: what the name resolves to is checked when dialled,
    since a name can change its addresses after it was registered."""
    platform: bool = False
    """It is `origin.url`, and `[origin]` says what is for the platform's own origin alone: see `route.platform_target`."""

    @property
    def authority(self) -> str:
        """As in a Host header: without the port where it is the scheme's own."""
        if self.unix:
            return "localhost"
        host = f"[{self.host}]" if ":" in self.host else self.host
        return host if self.port == _DEFAULT_PORTS["https" if self.tls else "http"] else f"{host}:{self.port}"

    def __str__(self) -> str:
        return f"unix:{self.unix}" if self.unix else f"{'https' if self.tls else 'http'}://{self.authority}"


def parse_target(url: str, *, restricted: bool = False) -> Target:
    """Reads `http://HOST[:PORT]`, `https://HOST[:PORT]` or `unix:/path`; raises InvalidName."""
    if url.startswith("unix:"):
        path = url[5:]
        if restricted or not path.startswith("/"):
            raise InvalidName(
                f"{url!r} cannot be an origin here: write unix:/absolute/path, and only in the operator's configuration."
            )
        return Target("", 0, False, path)
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError as error:
        raise InvalidName(f"{url!r} is not an origin's URL: {error}.") from None
    host = parts.hostname or ""
    if parts.scheme not in _DEFAULT_PORTS or not host or parts.username is not None or parts.password is not None:
        raise InvalidName(f"{url!r} is not an origin's URL: write http://HOST:PORT, https://HOST or unix:/path.")
    if parts.path not in ("", "/") or parts.query or parts.fragment:
        raise InvalidName(f"{url!r} has a path: an origin is only scheme, host and port; paths come from the visitor.")
    try:
        host = str(ipaddress.ip_address(host))
    except ValueError:
        if re.fullmatch(r"[a-z0-9_-]{1,63}", host) is None:  # a single label is a container's or a hosts file's name
            host = hostname(host)
    return Target(host, port or _DEFAULT_PORTS[parts.scheme], parts.scheme == "https", "", restricted)


def for_workspace(target: Target, workspace: str) -> Target:
    """The target of `origin.routing = "subdomain"`."""
    return target._replace(host=f"{workspace.lower()}.{target.host}")


def address_allowed(address: str, allow: Sequence[ipaddress.IPv4Network | ipaddress.IPv6Network]) -> bool:
    """Whether a restricted target may be dialled at this address: a public one, or one in `allow`."""
    ip: ipaddress.IPv4Address | ipaddress.IPv6Address = ipaddress.ip_address(address)
    if isinstance(ip, ipaddress.IPv6Address) and ip.ipv4_mapped is not None:
        ip = ip.ipv4_mapped
    if any(ip in network for network in allow):
        return True
    return is_public(ip)
