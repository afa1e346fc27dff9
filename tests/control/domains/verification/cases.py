"""Names as they are seen, made by hand."""

from __future__ import annotations

from typing import Any

from edgeproxy.config.dns import Dns
from edgeproxy.config.platform import Platform
from edgeproxy.config.structs import Config
from edgeproxy.control.dns.lookup import Answer, Said
from edgeproxy.control.domains.verification.case import Case
from edgeproxy.control.domains.verification.seen import Nameserver, Seen, Serving, Verdict, View, Zone
from edgeproxy.control.domains.verification.verdict import judge
from edgeproxy.control.domains.verification.wanted import Wanted, wanted_of, workspace_label
from edgeproxy.control.store.rows.domains import Domain
from edgeproxy.model import DomainState

HOST, ZONE, TARGET, PROOF = "gallery.example.com", "example.com", "domain.ve.ai", "a-random-proof"
OURS, OURS6, STRANGE, STRANGE6 = "192.0.2.1", "2001:db8::1", "198.51.100.9", "2001:db8:9::9"
OWN = f"{workspace_label('spandantest')}.{TARGET}"
NOON = 1_763_726_400.0
"""2025-11-21 12:00 UTC."""


def domain(hostname: str = HOST, method: str = "cname", **changes: Any) -> Domain:
    made = {"workspace_id": "spandantest", "state": DomainState.PENDING_VALIDATION, "created_at": 1.0, "updated_at": 1.0}
    return Domain(hostname=hostname, method=method, **{"proof": PROOF, **made, **changes})


def config(**changes: Any) -> Config:
    made = {"platform": Platform(cname_target=TARGET), "dns": Dns(resolvers=("192.0.2.53:53",))}
    return Config(**{**made, **changes})


def wanted(hostname: str = HOST, method: str = "cname", **changes: Any) -> Wanted:
    return wanted_of(domain(hostname, method), config(**changes))


def answer(kind: str, *records: str, chain: Any = (), said: Said | None = None, ttl: int = 300, detail: str = "") -> Answer:
    said = said or (Said.RECORDS if records else Said.NO_DATA)
    return Answer(name=HOST, kind=kind, said=said, records=records, chain=tuple(chain), ttl=ttl, detail=detail)


def view(*ipv4: str, ipv6: Any = (), chain: Any = (), texts: Any = None, who: str = "ns1.example.com", **more: Any) -> View:
    return View(
        who=who,
        ipv4=answer("A", *ipv4, chain=chain, **more),
        ipv6=answer("AAAA", *ipv6, chain=chain, **more),
        text=None if texts is None else answer("TXT", *texts, **({} if texts else more)),
    )


RIGHT = view(OURS, chain=[TARGET])
NOTHING = view(said=Said.NO_NAME)
BROKEN = view(said=Said.BROKEN, detail="The DNS is broken for gallery.example.com: SERVFAIL.")
SILENT = view(said=Said.SILENT, detail="The DNS did not answer.")


def by(view: View, who: str) -> View:
    return View(who=who, ipv4=view.ipv4, ipv6=view.ipv6, text=view.text)


RESOLVER = "the resolver 192.0.2.53:53"


def zone(*names: str, serving: Serving = Serving.SERVES, **changes: Any) -> Zone:
    names = names or ("ns1.example.com", "ns2.example.com")
    servers = tuple(Nameserver(name=name, address="192.0.2.5", serving=serving) for name in names)
    return Zone(**{"name": ZONE, "delegated": names, "servers": servers, **changes})


def seen(*authority: View, resolvers: Any = (), **changes: Any) -> Seen:
    made = {"ours": frozenset({OURS}), "zone": zone()}
    agreeing = tuple(by(each, RESOLVER) for each in resolvers)
    return Seen(authority=authority, resolvers=agreeing, **{**made, **changes})


def case(found: Seen, host: str = HOST, method: str = "cname", **changes: Any) -> Case:
    return Case(wanted=wanted(host, method, **changes), seen=found, now=NOON)


def proving(found: Seen, host: str = HOST, method: str = "cname", **changes: Any) -> Verdict:
    """Of a name that led here before it was registered."""
    return judge(wanted_of(domain(host, method, must_prove=True), config(**changes)), found, NOON)


def verdict(found: Seen, host: str = HOST, method: str = "cname", **changes: Any) -> Verdict:
    return judge(wanted(host, method, **changes), found, NOON)
