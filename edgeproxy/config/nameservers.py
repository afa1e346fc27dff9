"""The zone that the edge answers itself: who its name servers are, and whether `[dns]` fits the rest. Pure."""

from __future__ import annotations

from collections.abc import Iterator

from edgeproxy.config.structs import Config

ZONE_CHARACTERS = 253 - 27
"""Of the zone's name: a customer's label and a dot go before it."""


def nameservers(config: Config) -> tuple[str, ...]:
    """The names in the zone's NS records, as the parent zone must have them too; none where there is no zone."""
    if not config.dns.zone:
        return ()
    return config.dns.nameservers or (config.platform.cname_target or f"ns.{config.dns.zone}",)


def delegation(config: Config) -> list[str]:
    """The lines that delegate the zone, for the zone above it: NS records, and the addresses of servers within the zone."""
    zone = config.dns.zone
    lines = [f"{zone}. NS {server}." for server in nameservers(config)]
    for server in nameservers(config):
        if beneath(server, zone):
            lines += [f"{server}. {'AAAA' if ':' in address else 'A'} {address}" for address in config.platform.addresses]
    return lines


def beneath(name: str, zone: str) -> bool:
    """Whether a name is the zone's own or in it."""
    return name == zone or name.endswith(f".{zone}")


def faults(config: Config) -> Iterator[tuple[str, str, tuple[str, ...]]]:
    """Key, what is wrong and what would be right, and the other keys looked at, of values that do not fit together."""
    dns = config.dns
    if not dns.zone:
        for key in ("listen", "nameservers"):
            if getattr(dns, key):
                text = f'there is no zone to answer for; write dns.zone, like "acme.example.com", or leave {key} out'
                yield f"dns.{key}", text, ("dns.zone",)
        return
    if not dns.listen:
        text = f'nothing answers for {dns.zone} without an address in dns.listen; write dns.listen = ["0.0.0.0:53"]'
        yield "dns.zone", text, ("dns.listen",)
    own = {
        "platform.name": config.platform.name,
        "platform.cname_target": config.platform.cname_target,
        "api.hostname": config.api.hostname,
        "tls.default_hostname": config.tls.default_hostname,
    }
    lost = {key: name for key, name in own.items() if name and beneath(name, dns.zone)}
    for key, name in lost.items():
        text = (
            f"{name} ({key}) is in this zone, which answers nothing but challenges, so that nobody would find it; "
            f'delegate a name of its own, like "acme.{name}"'
        )
        yield "dns.zone", text, (key,)
    if not lost:
        yield from _unreachable(config)


def _unreachable(config: Config) -> Iterator[tuple[str, str, tuple[str, ...]]]:
    """Name servers that nobody could find."""
    zone = config.dns.zone
    if config.platform.addresses:
        return
    inside = [server for server in nameservers(config) if beneath(server, zone)]
    if inside and config.dns.nameservers:
        text = f"{inside[0]} is in the zone itself, and its address is not known; write this edge's into platform.addresses"
        yield "dns.nameservers", text, ("platform.addresses", "dns.zone")
    elif inside:
        text = (
            "nobody could find the zone's name server; write its name into dns.nameservers, or platform.cname_target, "
            "or this edge's addresses into platform.addresses"
        )
        yield "dns.zone", text, ("dns.nameservers", "platform.cname_target", "platform.addresses")
