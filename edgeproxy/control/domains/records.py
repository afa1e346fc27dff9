"""The DNS records that a name's owner has to set, as people and dashboards are shown them. Pure."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import Any

import msgspec

from edgeproxy.config.structs import Config
from edgeproxy.control.dns.zone import zone_label
from edgeproxy.control.issuance.acme import dns01, persist
from edgeproxy.control.issuance.acme.challenges import preference
from edgeproxy.errors import IssuanceError

TTL = 300
"""Seconds that are proposed for every record."""


class DnsRecord(msgspec.Struct, frozen=True, kw_only=True):
    """One of `dns_records`. `seen`, `ok` and `reason` belong to whoever looked; nobody did where `ok` is None."""

    purpose: str
    """"acme", "routing" or "ownership"."""
    type: str
    name: str
    host_field: str
    """The name as it is typed at a DNS provider, who adds the domain: "@" for the domain itself."""
    value: str
    ttl: int = TTL
    required: bool
    seen: tuple[str, ...] = ()
    ok: bool | None = None
    reason: str = ""
    zone_line: str
    hint: str = ""
    """What to type where at the DNS provider that the domain's name servers tell of. Empty: they tell of none that we know."""

    def shown(self) -> dict[str, Any]:
        """For JSON."""
        return msgspec.structs.asdict(self) | {"seen": list(self.seen)}


def record(purpose: str, kind: str, name: str, value: str, *, required: bool, reason: str = "", zone: str = "") -> DnsRecord:
    """A record whose other fields follow from these. `value` of a TXT is its text, without quotes. `zone`: where the name
    stands, if that is known better than by the public suffix list."""
    data = f'"{value}"' if kind == "TXT" else f"{value}." if kind == "CNAME" else value
    return DnsRecord(
        purpose=purpose,
        type=kind,
        name=name,
        host_field=host_field(name, zone),
        value=value,
        required=required,
        reason=reason,
        zone_line=f"{name}. {TTL} IN {kind} {data}",
    )


def acme_records(hostname: str, config: Config, *, account: str = "", issuers: Sequence[str] = ()) -> list[DnsRecord]:
    """The records by which a name's owner lets this edge prove it to the CA in the DNS.

    `account` is the ACME account's URI and `issuers` the CA's issuer domain names, empty where they are not known (yet). A
    wildcard cannot do without one of them: the most preferred is required.
    """
    try:
        kinds = preference(config.issuance.challenges, hostname)
    except IssuanceError:
        return []
    if config.issuance.directory == "internal":
        return []
    wildcard, found = hostname.startswith("*."), list[DnsRecord]()
    for kind in kinds:
        required = wildcard and not found
        if kind == "dns-01" and (made := _cname(hostname, config, required=required)) is not None:
            found.append(made)
        elif kind == "dns-persist-01" and account and issuers:
            value = persist.record_value(issuers[0], account, wildcard=wildcard)
            reason = "Lets the CA see, for as long as it stands, that this edge may have certificates for the name."
            name = persist.record_name(hostname)
            found.append(record("acme", "TXT", name, value, required=required, reason=reason))
    return found


def _cname(hostname: str, config: Config, *, required: bool) -> DnsRecord | None:
    """The CNAME for DNS-01; None where none is needed."""
    name, updated = dns01.record_name(hostname), config.dns.rfc2136
    if updated.server and name.endswith(f".{updated.zone}"):
        return None
    zone = config.dns.zone or (updated.zone if updated.server else "")
    if not zone:
        return None
    reason = "Lets this edge answer the CA's questions about the name in the DNS; set once and for good."
    return record("acme", "CNAME", name, f"{zone_label(hostname)}.{zone}", required=required, reason=reason)


def registered(name: str) -> str:
    """The domain that somebody registered for a name: "example.co.uk" for "*.shop.example.co.uk"; a public suffix itself
    stands for itself. Names under private suffixes (github.io) are their owner's: what counts here is the registry."""
    name = name.removeprefix("*.")
    return str(_suffixes().privatesuffix(name) or name)


def host_field(name: str, zone: str = "") -> str:
    """A name without its zone, which DNS providers add by themselves. `zone`: by default its registered domain."""
    domain = zone or registered(name)
    return "@" if name == domain else name.removesuffix(f".{domain}")


@functools.cache
def _suffixes() -> Any:
    """The public suffixes under which domains are registered. Takes 80 ms once."""
    from publicsuffixlist import PublicSuffixList

    return PublicSuffixList(only_icann=True)
