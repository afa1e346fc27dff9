"""What the published map holds, as frozen structs in msgpack (arrays: compact, and a newer writer may append fields).

One LMDB environment, one named database per kind. Keys are UTF-8: hostnames normalised by `model`, wildcards as
"*.example.com".

| database | key | value |
|---|---|---|
| sites | hostname | Site |
| certificates | certificate id | Certificate |
| challenges | `alpn:HOST` or `http:HOST/TOKEN` | Challenge |
| tickets | "current" | Tickets |
| changes | sequence number modulo CHANGES_RING, 8 bytes big-endian | Change |
| meta | "change", the store's change number reached; "sequence", the newest Change | integer |
"""

from __future__ import annotations

from typing import Literal

import msgspec

from edgeproxy.policies import Policies

SCHEMA = 1
"""Version of these records. A map of another schema lives in another folder."""

CHANGES_RING = 4096
"""Changes remembered in the map; a reader that is further behind drops all that it remembers."""


class Record(msgspec.Struct, frozen=True, array_like=True, kw_only=True):
    """What every record has in common: only ever append fields, each with a default."""


class Site(Record, frozen=True):
    """Where a hostname's requests go, and under which certificate."""

    workspace: str = ""
    """Empty: admitted, but nobody's; `origin.on_unknown` decides."""
    origin: str = ""
    """Empty: the platform's origin."""
    certificate: str = ""
    """Id in `certificates`. Empty: none yet; the handshake asks the controller."""
    source: Literal["registered", "gate", "pattern", "edge"] = "registered"
    """Why the name is admitted. "edge" is the platform's own names: cname_target, api.hostname, wildcard of the platform."""
    fresh_until: float = 0.0
    """Unix time until which a gate's answer counts; served on after it, while the worker has the controller ask again.
    0: always."""
    redirect_to: str = ""
    """The hostname that visitors are sent to instead. Empty: none."""
    maintenance: bool = False
    """Visitors are told to come back later."""
    suspended: bool = False
    """Visitors are told that it is switched off."""
    new: bool = False
    """It was verified and is not active yet: where no origin answers, or `pages.setup_until_active` says so, visitors are told
    that it is being set up."""
    policies: Policies | None = None
    """Its own settings; None: all as the configuration says."""
    stable_since: float = 0.0
    """Unix time since which it has been served under a certificate in good order; 0: it is not, or not yet."""


class Companion(Record, frozen=True):
    """A certificate with an RSA key beside one with an ECDSA key, for the same names: for clients that know no ECDSA."""

    id: str
    chain: bytes
    """PEM, leaf first."""
    sealed_key: bytes
    """PKCS#8 PEM under the map's key, context b"key:" + id."""
    not_before: float
    not_after: float


class Certificate(Record, frozen=True):
    """A certificate chain with its private key. But for its companion immutable: a renewed one has another id."""

    names: tuple[str, ...]
    chain: bytes
    """PEM, leaf first."""
    sealed_key: bytes
    """PKCS#8 PEM under the map's key (`published.seal`, context b"key:" + id)."""
    not_before: float
    not_after: float
    key_type: str = ""
    """"p256", "p384", "rsa2048" …; empty: not noted."""
    companion: Companion | None = None


class Challenge(Record, frozen=True):
    """An answer to a pending ACME challenge."""

    hostname: str
    token: str = ""
    key_authorization: str = ""
    """For HTTP-01, sent as the body."""
    chain: bytes = b""
    """For TLS-ALPN-01: the self-signed certificate, PEM."""
    sealed_key: bytes = b""
    """Its key, sealed with context b"alpn:" + hostname."""


class Tickets(Record, frozen=True):
    """Secrets from which session ticket keys per hostname are derived; newest first."""

    secrets: tuple[bytes, ...]
    """Each sealed, context b"ticket:" + its start as ASCII decimal."""
    starts: tuple[int, ...]
    """Unix hour (seconds, multiple of 3600) from which each counts."""


class Change(Record, frozen=True):
    """That a key of a database has another value now, or none."""

    database: Literal["sites", "certificates", "challenges", "tickets"]
    key: str
