"""Whose request it is that a worker brings: the client's address, and the request's id. Pure."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterable, Sequence

Network = ipaddress.IPv4Network | ipaddress.IPv6Network

_REQUEST_ID = re.compile(rb"[!-~]{1,128}\Z")

HERE = "local"
"""In place of an address where no worker brought the request: somebody on this machine who may speak with the socket."""


def client_address(forwarded: str, trusted: Sequence[Network]) -> str:
    """The client's address by x-forwarded-for as a worker sends it: the last one that is no trusted proxy's.

    The worker itself added the last one, the peer's. What stands before it counts as far as those behind it are in
    `listen.trusted_proxies`: all else anybody can write.
    """
    found = HERE
    for part in reversed(forwarded.split(",")):
        try:
            ip: ipaddress.IPv4Address | ipaddress.IPv6Address = ipaddress.ip_address(part.strip())
        except ValueError:
            break
        if isinstance(ip, ipaddress.IPv6Address) and ip.ipv4_mapped is not None:
            ip = ip.ipv4_mapped
        found = str(ip)
        if not any(ip in network for network in trusted):
            break
    return found


def networks(listed: Iterable[str]) -> list[Network]:
    """The networks of `listen.trusted_proxies`."""
    return [ipaddress.ip_network(each) for each in listed]


def only(headers: Iterable[tuple[bytes, bytes]], name: bytes) -> bytes | None:
    """The value of a header field that is there once; None where it is not there. Raises ValueError where it is there more
    often: which of them counts, others may see otherwise."""
    found = [value for each, value in headers if each == name]
    if len(found) > 1:
        raise ValueError(f"{name.decode('ascii')} is there {len(found)} times")
    return found[0] if found else None


def request_id(headers: Iterable[tuple[bytes, bytes]]) -> str | None:
    """The id that the worker gave the request: the same is in its access log."""
    value = next((value for name, value in headers if name == b"x-request-id"), b"")
    return value.decode("ascii") if _REQUEST_ID.match(value) else None
