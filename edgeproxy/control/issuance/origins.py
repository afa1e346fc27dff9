"""Which origins a domain, a tenant or a gate may name: no way into the operator's network unless `origin.allow` says so.

`check_origin` is pure. `resolve_origin` also looks at where a name points now. A name can point elsewhere a minute later:
whoever dials must look at the address again.
"""

from __future__ import annotations

import asyncio
import ipaddress
import re
import socket
from collections.abc import Iterable
from urllib.parse import urlsplit

from edgeproxy.addresses import Address, is_public
from edgeproxy.config.structs import Config
from edgeproxy.errors import InvalidName
from edgeproxy.model import covers, wire_hostname

_ORIGIN = re.compile(r"https?://[A-Za-z0-9._\-\[\]:]{1,300}/?\Z")
_RESOLVE_TIMEOUT = 2.0


def check_origin(url: str, config: Config) -> str:
    """An origin URL that is not the operator's word: normalised, or InvalidName saying why not.

    `http://HOST[:PORT]` or `https://HOST[:PORT]`, nothing else: a Unix socket could be our own admin socket. An address
    must be public or within a CIDR of `origin.allow`; a name must be a real hostname, or one of `origin.allow`.
    """
    if not _ORIGIN.match(url):
        raise InvalidName(f"{url[:200]!r} is not an origin: http://HOST:PORT or https://HOST:PORT, without path or user.")
    try:
        parts = urlsplit(url)
        host, port = parts.hostname or "", parts.port
    except ValueError:
        raise InvalidName(f"{url[:200]!r} has no usable host and port.") from None
    if port == 0:
        raise InvalidName(f"{url[:200]!r} has port 0.")
    address = _literal(host)
    if address is not None:
        if not address_allowed(address, config):
            raise InvalidName(f"{host} is not a public address, and origin.allow does not list it.")
        if str(port or (443 if parts.scheme == "https" else 80)) in _own_ports(address, config):
            raise InvalidName(f"{url} is a listener of this edge itself.")
        shown = f"[{address}]" if address.version == 6 else str(address)
    else:
        name = wire_hostname(host)
        if name is None or (name.rpartition(".")[2] in _LOCAL_TLDS and not name_allowed(name, config)):
            raise InvalidName(f"{host!r} is not a public hostname, and origin.allow does not list it.")
        shown = name
    return f"{parts.scheme}://{shown}" + (f":{port}" if port is not None else "")


async def resolve_origin(url: str, config: Config) -> None:
    """Raises InvalidName where a name of `check_origin`'s result points at an address that is not allowed.

    A name that does not resolve now passes: requests to it end with 502, and whoever dials checks again.
    """
    parts = urlsplit(url)
    host = parts.hostname or ""
    if _literal(host) is not None or name_allowed(host, config):
        return
    loop = asyncio.get_running_loop()
    try:
        async with asyncio.timeout(_RESOLVE_TIMEOUT):
            found = await loop.getaddrinfo(host, parts.port or 443, type=socket.SOCK_STREAM)
    except (OSError, TimeoutError):
        return
    for *_, sockaddr in found:
        if not address_allowed(ipaddress.ip_address(str(sockaddr[0]).partition("%")[0]), config):
            raise InvalidName(f"{host} points at {sockaddr[0]}, which is not a public address and not in origin.allow.")


def address_allowed(address: Address, config: Config) -> bool:
    """Whether an origin may be at this address: public, or within a CIDR of `origin.allow`."""
    return is_public(address) or in_networks(address, config.origin.allow)


def in_networks(address: Address, entries: Iterable[str]) -> bool:
    """Whether an address is within one of the CIDRs of a list, which may have names too."""
    for entry in entries:
        try:
            network = ipaddress.ip_network(entry, strict=False)
        except ValueError:
            continue  # a name
        if address.version == network.version and address in network:
            return True
    return False


def name_allowed(name: str, config: Config) -> bool:
    """Whether `origin.allow` lists the name, itself or by a pattern like "*.internal.example"."""
    return name_listed(name, config.origin.allow)


def name_listed(name: str, entries: Iterable[str]) -> bool:
    """Whether a list of CIDRs and names has this name, itself or by a pattern."""
    return any(covers(entry.lower(), name) for entry in entries)


def _literal(host: str) -> Address | None:
    try:
        return ipaddress.ip_address(host)
    except ValueError:
        return None


def _own_ports(address: Address, config: Config) -> set[str]:
    """Ports on which we listen ourselves at this address: an origin there would be a loop."""
    ports: set[str] = set()
    own = {str(_literal(own_address) or own_address) for own_address in config.platform.addresses}
    for listener in (*config.listen.https, *config.listen.http, config.metrics.listen):
        host, _, port = listener.rpartition(":")
        bound = _literal(host.strip("[]"))
        if bound is None:
            continue
        if bound == address or (bound.is_unspecified and (address.is_loopback or str(address) in own)):
            ports.add(port)
    return ports


_LOCAL_TLDS = frozenset(("localhost", "local", "internal", "lan", "home", "corp", "arpa", "onion"))
