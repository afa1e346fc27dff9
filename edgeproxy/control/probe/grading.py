"""How well a name is served: the chain that a visitor gets, graded. Pure."""

from __future__ import annotations

import dataclasses
import enum
from datetime import UTC, datetime

from cryptography import x509
from cryptography.x509.oid import NameOID

from edgeproxy.control.issuance.certificates import certificate_id, dns_names
from edgeproxy.model import covers

LATE_PART = 6
"""A certificate with less than this part of its life left should have been renewed long ago: that begins at a third."""


OWN_ROOT = "if that is a root of your own, add it to the roots that this machine trusts"


class Grade(enum.StrEnum):
    """What a visitor of a name meets, the best first."""

    GOOD = "good"
    EXPIRING = "expiring"
    """All is right, but it ends soon and has not been renewed."""
    OTHER = "other"
    """A certificate that is not the one of the store: an older one, or another server's."""
    INCOMPLETE = "incomplete"
    """The chain lacks an intermediate certificate."""
    UNTRUSTED = "untrusted"
    """No root that is trusted here has signed it."""
    WRONG_NAME = "wrong_name"
    EXPIRED = "expired"
    UNREACHABLE = "unreachable"
    """There is no handshake."""


SEVERITY = {grade: number for number, grade in enumerate(Grade)}
"""The higher the worse."""


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Served:
    """What a handshake brought."""

    at: str
    """Where: "127.0.0.1:443"."""
    error: str = ""
    """Why there was none."""
    leaf: bytes = b""
    """The certificate, DER."""
    length: int = 0
    """Certificates that were sent; 0 where that is not known."""
    distrust: str = ""
    """What OpenSSL says against the chain, in its words; empty where it trusts it."""


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Graded:
    """The grade, and all that is worth telling of it. Times are Unix times."""

    grade: Grade
    detail: str
    """One plain sentence."""
    certificate_id: str = ""
    names: tuple[str, ...] = ()
    issuer: str = ""
    serial: str = ""
    not_after: float = 0.0


def grade(served: Served, hostname: str, now: float, *, expected: str = "") -> Graded:
    """Grades what was served for a hostname. `expected` is the id of the store's certificate; "" where that does not matter."""
    if served.error:
        return Graded(
            grade=Grade.UNREACHABLE, detail=f"There is no TLS handshake for {hostname} at {served.at}: {served.error}."
        )
    try:
        leaf = x509.load_der_x509_certificate(served.leaf)
        found, detail = _judge(served, leaf, hostname, now, expected)
        issuer = _name(leaf.issuer)
    except ValueError:  # also for extensions that cannot be read
        return Graded(grade=Grade.UNTRUSTED, detail=f"What is served for {hostname} at {served.at} is not a certificate.")
    return Graded(
        grade=found,
        detail=detail,
        certificate_id=certificate_id(leaf),
        names=dns_names(leaf)[:20],
        issuer=issuer,
        serial=f"{leaf.serial_number:x}",
        not_after=leaf.not_valid_after_utc.timestamp(),
    )


def _judge(served: Served, leaf: x509.Certificate, hostname: str, now: float, expected: str) -> tuple[Grade, str]:
    names, begin, end = dns_names(leaf), leaf.not_valid_before_utc.timestamp(), leaf.not_valid_after_utc.timestamp()
    if not any(covers(name, hostname) for name in names):
        shown = ", ".join(names[:3]) or "no name"
        return Grade.WRONG_NAME, f"The certificate served for {hostname} at {served.at} is for {shown}."
    if end <= now:
        return Grade.EXPIRED, f"The certificate of {hostname} has expired on {_day(end)}."
    if served.distrust:
        issuer = _name(leaf.issuer)
        if served.length == 1 and leaf.issuer != leaf.subject:
            detail = f"The chain of {hostname} lacks the certificate of {issuer}. Complete the chain; or, {OWN_ROOT}."
            return Grade.INCOMPLETE, detail
        detail = f"The certificate of {hostname}, from {issuer}, is not trusted on this machine: {served.distrust}. Visitors "
        return Grade.UNTRUSTED, f"{detail}are warned of it, unless they know its root; {OWN_ROOT}."
    if expected and certificate_id(leaf) != expected:
        return Grade.OTHER, f"{hostname} is served under another certificate than the newest that the store has."
    if end - now < (end - begin) / LATE_PART:
        return Grade.EXPIRING, f"The certificate of {hostname} ends on {_day(end)} and has not been renewed."
    return Grade.GOOD, f"The certificate of {hostname}, from {_name(leaf.issuer)}, is good until {_day(end)}."


def _day(at: float) -> str:
    return f"{datetime.fromtimestamp(at, UTC):%Y-%m-%d %H:%M} UTC"


def _name(name: x509.Name) -> str:
    found = name.get_attributes_for_oid(NameOID.COMMON_NAME) or name.get_attributes_for_oid(NameOID.ORGANIZATION_NAME)
    text = str(found[0].value) if found else name.rfc4514_string()
    return "".join(char if char.isprintable() else "·" for char in text)[:100] or "an issuer without a name"
