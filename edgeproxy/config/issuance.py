"""Where certificates come from, which names may have one, and what a CA's limits are."""

from __future__ import annotations

from typing import Literal

from edgeproxy.config.section import Section
from edgeproxy.units import Duration


class Eab(Section, frozen=True):
    """External account binding, where the CA asks for it."""

    key_id: str = ""
    """The key id that the CA gave you."""

    hmac_key: str = ""
    """The HMAC key that the CA gave you, base64url; better "file:PATH" of a file that only the service's user can read."""

    fallback: tuple[str, ...] = ()
    """The same for directories of `issuance.fallback`: for each that asks for it "DIRECTORY KEY_ID HMAC_KEY"; better
    "file:PATH" of a file that holds those three."""

    def __repr__(self) -> str:
        return f"Eab(key_id={self.key_id!r})"


class Allow(Section, frozen=True):
    """Which names may have a certificate. Any rule that says yes is enough."""

    registered: bool = True
    """Registered domains, verified or later."""

    patterns: tuple[str, ...] = ()
    """Names by pattern: "*.customers.example" admits one label below it."""

    gate: str = ""
    """A URL that is asked: GET {gate}?domain=NAME&client_ip=IP. 2xx allows, 4xx denies, anything else is "not now". A 2xx
    with JSON {"workspace_id": …, "origin"?: …} also routes the name, for as long as its Cache-Control says."""

    gate_timeout: Duration = Duration(2)
    """How long the gate may take."""

    gate_ttl: Duration = Duration(300)
    """How long an answer counts that has no Cache-Control."""


class Shares(Section, frozen=True):
    """How the orders of a window are divided, in percent; together 100. What one kind leaves the others may use, but for a
    quarter of each share, which is kept for its own kind."""

    new: int = 60
    """Names that never had a certificate."""

    renewals: int = 30
    """Certificates that are to be replaced before they expire."""

    retries: int = 10
    """Names that failed before."""


class Budget(Section, frozen=True):
    """The CA's limits, which the edge keeps by itself: what cannot be afforded now waits for its turn and does not fail.
    The defaults are those of Let's Encrypt. 0 orders, certificates, failures or duplicates: no such limit. The built-in CA
    has none."""

    orders: int = 300
    """New orders of the account in each `orders_window`."""

    orders_window: Duration = Duration(3 * 3600)
    """The time in which `orders` are counted."""

    burst: int = 100
    """Orders that may follow each other at once. The others of a window are spread over it, so that a visitor who comes
    late finds something left."""

    certificates: int = 50
    """Certificates for all names of one registered domain (a name under a public suffix, like example.co.uk) in each
    `certificates_window`."""

    certificates_window: Duration = Duration(7 * 86400)
    """The time in which `certificates` are counted."""

    failures: int = 5
    """Failed validations of one name in each `failures_window`."""

    failures_window: Duration = Duration(3600)
    """The time in which `failures` are counted."""

    duplicates: int = 5
    """Certificates for exactly the same name in each `duplicates_window`."""

    duplicates_window: Duration = Duration(7 * 86400)
    """The time in which `duplicates` are counted."""

    exempt: Literal["replaces", "renewals", "none"] = "replaces"
    """What the CA does not count. "replaces": nothing of renewals that name the certificate which they replace (RFC 9773),
    where the CA has that; no renewal among the `certificates` of its domain. "renewals": besides, no renewal among the
    `orders`. "none": everything counts."""

    shares: Shares = Shares()


class Issuance(Section, frozen=True):
    """Where certificates come from."""

    directory: str = "https://acme-v02.api.letsencrypt.org/directory"
    """The ACME directory, or "internal" for the built-in CA."""

    fallback: tuple[str, ...] = ()
    """Further ACME directories, most preferred first. An order goes to one where those before it fail by their own fault, or
    where a CAA record of the name, or a CA's policy, forbids them. `agree_terms`, `email`, `ca_bundle` and `budget` count for
    all of them, each with an account and a count of its own."""

    ca_bundle: str = ""
    """A PEM file with the root of a private ACME server's own TLS certificate."""

    email: str = ""
    """Contact of the ACME account."""

    agree_terms: bool = False
    """Whether you agree to the CA's terms of service. An ACME directory needs true."""

    profile: str = ""
    """The CA's certificate profile, where it has several: "shortlived", for instance. Orders fail where `directory` does not
    offer it; a fallback that does not is asked without."""

    preferred_chain: str = ""
    """Where the CA offers several chains for a certificate, the one whose last certificate was issued by a root with this
    common name: "ISRG Root X1". Its usual chain where it offers none."""

    challenges: tuple[str, ...] = ("tls-alpn-01", "http-01", "dns-01")
    """Challenges, most preferred first: "tls-alpn-01", "http-01", "dns-01", "dns-persist-01". One that cannot be used for a
    name, or fails, gives way to the next; a renewal begins with what worked last for its name."""

    eab: Eab = Eab()

    on_demand: bool = True
    """Whether a handshake for an admitted name without a certificate obtains one."""

    handshake_wait: Duration = Duration(30)
    """How long such a handshake may wait. `timeouts.handshake` pauses meanwhile."""

    park_after: Duration = Duration(7 * 86400)
    """Where `platform.cname_target` or `platform.addresses` is set, the DNS is asked before a certificate is renewed. A name
    that points elsewhere is not tried; after this time an event (certificate.parked) tells of it. It is looked at hourly, and
    renewed when it points here again, or has had visitors within a day: a CDN may stand before it."""

    allow: Allow = Allow()

    budget: Budget = Budget()
