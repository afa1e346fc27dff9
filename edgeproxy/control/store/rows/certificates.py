"""Certificates, and which a name had."""

from __future__ import annotations

from edgeproxy.control.store.rows.row import Row

CUSTOM = "custom"
"""`StoredCertificate.issuer` of what somebody uploaded."""


LAST_DAY = 86_400.0
"""Seconds before an uploaded certificate's end from which the edge's own may take its place: a day has room for the
retries after 1, 10 and 100 minutes."""


def replace_at(not_before: float, not_after: float) -> float:
    """Unix time from which the edge's own may take an uploaded certificate's place: a day before its end, or for lives
    under ten days when a tenth of it is left. Pure."""
    return not_after - min(LAST_DAY, max(0.0, not_after - not_before) / 10)


class Companion(Row, frozen=True, kw_only=True):
    """A certificate with an RSA key beside one with an ECDSA key: for clients that know no ECDSA."""

    id: str
    chain: bytes
    """PEM, leaf first."""
    sealed_key: bytes
    """PKCS#8 PEM under the map's key, context b"key:" + id."""
    not_before: float
    not_after: float
    serial: str
    issuer: str
    """The ACME directory, or "internal"."""
    key_type: str


class StoredCertificate(Row, frozen=True, kw_only=True):
    """A certificate. Immutable: a renewed one has another id."""

    id: str
    """1 to 128 letters, digits, dots, hyphens or underscores, chosen by whoever adds it."""
    names: tuple[str, ...]
    chain: bytes
    """PEM, leaf first."""
    sealed_key: bytes
    """PKCS#8 PEM under the map's key, context b"key:" + id: goes into the map as it is."""
    not_before: float
    not_after: float
    renew_at: float
    """When to renew it; never: math.inf."""
    issuer: str = ""
    """The ACME directory, "internal", or CUSTOM."""
    added_at: float = 0.0
    """Set by the store."""
    superseded_at: float | None = None
    """Set by the store when every one of its names has a newer certificate."""
    serial: str = ""
    """The leaf's serial number, lower-case hex."""
    auto_renew: bool = True
    """Of an uploaded one: whether the edge's own may take its place at its end."""
    warned: int | None = None
    """The fewest days before its end of which a warning was given; 0: that it has ended. None: no warning yet."""
    revocation: str | None = None
    """Why it was or is to be revoked, as RFC 5280 names reasons; None: it is not."""
    revoked_at: float | None = None
    """When its CA took the revocation; None: not yet."""
    challenge: str = ""
    """By which its name was proven to an ACME CA: the next order begins with it. Empty: nobody knows."""
    look_at: float = 0.0
    """Before that its renewal is not looked at, though it may be due: something failed, or is in the way."""
    info_at: float = 0.0
    """When its CA is to be asked again when to renew it."""
    astray_since: float | None = None
    """Since when the DNS says that its name does not point here; None: it does, or nobody asked."""
    parked_at: float | None = None
    """When its renewal was parked for that; None: it is not."""
    key_type: str = ""
    """"p256", "p384", "rsa2048" …; empty: nobody noted it."""
    companion: Companion | None = None
    """Renewed, revoked and deleted with it."""
    companion_at: float = 0.0
    """When a companion is to be obtained (again), where the configuration wants one."""

    @property
    def custom(self) -> bool:
        """Whether somebody uploaded it."""
        return self.issuer == CUSTOM

    def holds(self, now: float) -> bool:
        """Whether it is an uploaded one that goes before whatever the edge obtains by itself."""
        end = replace_at(self.not_before, self.not_after) if self.auto_renew else self.not_after
        return self.custom and now < end


class HistoryEntry(Row, frozen=True, kw_only=True):
    """That a name had a certificate: from whom, since when, and why it ended. Stays when the certificate is deleted."""

    number: int
    name: str
    certificate_id: str
    serial: str
    issuer: str
    """As of StoredCertificate."""
    not_after: float
    added_at: float
    added_by: str
    """Who had it made: "uid:0", or "edge" by itself."""
    ended_at: float | None = None
    """When it ceased to be the newest of the name; None: it is."""
    ended_by: str = ""
    ended_why: str = ""
