"""What only a try on one machine may have: names under .localhost. Pure."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterator

from edgeproxy.config.rules.addresses import socket_address
from edgeproxy.config.structs import Config

Fault = tuple[str, str, tuple[str, ...]]
"""Key, what is wrong and what would be right, and the other keys looked at."""


def faults(config: Config) -> Iterator[Fault]:
    """`verification.localhost` where others than this machine could come, or where a real CA would be asked."""
    if not config.verification.localhost:
        return
    key, cure = "verification.localhost", "it is for a try on one machine; leave it out"
    for where, addresses in (("listen.https", config.listen.https), ("listen.http", config.listen.http)):
        for text in addresses:
            if not _is_loopback(socket_address(text)[0]):
                told = f"{where} has {text!r}, where others come, and {cure}, or listen on 127.0.0.1 and [::1] only"
                yield key, told, (where,)
                break
    if config.issuance.directory != "internal":
        text = f'no CA can look at names under .localhost, and {cure}, or write directory = "internal" for the built-in CA'
        yield key, text, ("issuance.directory",)


def _is_loopback(host: str) -> bool:
    return ipaddress.ip_address(host).is_loopback
