"""Rules of addresses, networks and names. A rule takes a text and gives it back normalised, or raises ValueError."""

from __future__ import annotations

import ipaddress
import re

from edgeproxy import model
from edgeproxy.config import nameservers
from edgeproxy.errors import InvalidName

_LABEL = re.compile(r"(?!-)[a-z0-9-]{1,63}(?<!-)\Z")


def _port(text: str) -> int:
    if not (text.isascii() and text.isdigit() and 1 <= int(text[:6]) <= 65535):
        raise ValueError(f"{text!r} is not a port; a port is a number from 1 to 65535")
    return int(text)


def socket_address(text: str) -> tuple[str, int]:
    """Splits "HOST:PORT" with an address, not a name, as host; IPv6 in brackets. Raises ValueError."""
    host, colon, port = text.rpartition(":")
    if host in ("", "*") and colon:
        raise ValueError(f'{text!r} has no address; for all of them write "0.0.0.0:{port}" and "[::]:{port}"')
    bracketed = host.startswith("[") and host.endswith("]")
    try:
        address = ipaddress.ip_address(host.strip("[]"))
    except ValueError:
        address = None
    if address is None or bracketed != (address.version == 6):
        raise ValueError(f'{text!r} is not an address with a port; write one like "0.0.0.0:443" or "[::]:443"')
    return str(address), _port(port)


def address_and_port(text: str) -> str:
    """Where we listen."""
    host, port = socket_address(text)
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def dns_server(text: str) -> str:
    """Of a DNS server that is asked."""
    try:
        return address_and_port(text)
    except ValueError as error:
        raise ValueError(f'{str(error).partition(";")[0]}; write one like "192.0.2.53:53" or "[2001:db8::53]:53"') from None


def network(text: str) -> str:
    try:
        return str(ipaddress.ip_network(text))
    except ValueError:
        pass
    try:
        meant = ipaddress.ip_network(text, strict=False)
    except ValueError:
        raise ValueError(f'{text!r} is not a network; write one like "10.0.0.0/8" or "2001:db8::/32"') from None
    raise ValueError(f'{text!r} has bits set after its prefix; write "{meant}"')


def address(text: str) -> str:
    try:
        return str(ipaddress.ip_address(text))
    except ValueError:
        raise ValueError(f'{text!r} is not an IP address; write one like "203.0.113.7" or "2001:db8::7"') from None


def hostname(text: str) -> str:
    try:
        return model.hostname(text)
    except InvalidName as error:
        raise ValueError(error.detail.rstrip(".")) from None


def zone(text: str) -> str:
    name = hostname(text)
    if len(name) > nameservers.ZONE_CHARACTERS:
        raise ValueError(
            f"{name!r} is too long; names in the zone are longer by a label, so it may have {nameservers.ZONE_CHARACTERS} "
            "characters"
        )
    return name


def pattern(text: str) -> str:
    try:
        return model.hostname(text, wildcard=True)
    except InvalidName as error:
        raise ValueError(f'{error.detail.rstrip(".")}; a pattern is a name, or "*." and a name') from None


def network_or_name(text: str) -> str:
    try:
        ipaddress.ip_network(text, strict=False)
    except ValueError:
        return network(text) if "/" in text else pattern(text)
    return network(text)


def label(text: str) -> str:
    lower = text.lower()
    if not _LABEL.match(lower):
        raise ValueError(f'{text!r} is not a label; write one part of a name, like "www"')
    return lower


def name_or_address(text: str) -> str:
    """A server's name or address."""
    try:
        return str(ipaddress.ip_address(text))
    except ValueError:
        return text if text == "localhost" else hostname(text)


def visitors_address(text: str) -> str:
    """A name, or an address, with a port."""
    host, colon, port = text.rpartition(":")
    if colon and model.wire_hostname(host) is not None:
        return f"{model.wire_hostname(host)}:{_port(port)}"
    return address_and_port(text)
