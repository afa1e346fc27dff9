"""How names are proven to an ACME CA: whether `issuance.challenges` and what they need fit together. Pure."""

from __future__ import annotations

from collections.abc import Iterator

from edgeproxy.config.structs import Config

Fault = tuple[str, str, tuple[str, ...]]
"""Key, what is wrong and what would be right, and the other keys looked at."""


def faults(config: Config) -> Iterator[Fault]:
    """Values that do not fit together."""
    if config.issuance.directory != "internal":
        yield from _challenges(config)
    yield from _dynamic_updates(config)


def _challenges(config: Config) -> Iterator[Fault]:
    """At least one of the challenges must be one that can be answered."""
    challenges = config.issuance.challenges
    if not challenges:
        text = 'the list is empty; write "tls-alpn-01", "http-01", "dns-01" or several'
        yield "issuance.challenges", text, ("issuance.directory",)
        return
    lacking: dict[str, Fault] = {}
    if not config.listen.http:
        text = 'http-01 needs an address in listen.http, and there is none; add "tls-alpn-01" or an address'
        lacking["http-01"] = "issuance.challenges", text, ("listen.http", "issuance.directory")
    if not (config.dns.zone or config.dns.rfc2136.server):
        text = 'dns-01 needs dns.zone or dns.rfc2136, and neither is set; set one, or add "tls-alpn-01"'
        lacking["dns-01"] = "issuance.challenges", text, ("dns.zone", "dns.rfc2136", "issuance.directory")
    if lacking.keys() >= set(challenges):
        yield lacking[challenges[0]]


def _dynamic_updates(config: Config) -> Iterator[Fault]:
    settings = config.dns.rfc2136
    needed = ("server", "zone", "key_name", "key_secret")
    there = tuple(f"dns.rfc2136.{name}" for name in needed if getattr(settings, name))
    for name in needed:
        if there and not getattr(settings, name):
            yield f"dns.rfc2136.{name}", f"it is missing; a dynamic update needs {', '.join(needed)}", there
    if settings.zone and settings.zone == config.dns.zone:
        text = "it is dns.zone too, and one zone has one primary; leave one of them out, or give each a zone of its own"
        yield "dns.rfc2136.zone", text, ("dns.zone",)
