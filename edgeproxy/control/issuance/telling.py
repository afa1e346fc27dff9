"""What becomes of certificates, as events for other parts of the program (`control.events`) and as lines of the log."""

from __future__ import annotations

from typing import Any

from cryptography import x509

from edgeproxy.control import events
from edgeproxy.control.issuance.issuer import host_of
from edgeproxy.control.store import StoredCertificate
from edgeproxy.errors import EdgeError


def obtained(name: str, stored: StoredCertificate, before: StoredCertificate | None, *, ca: str, seconds: float) -> None:
    """`certificate.renewed` where the name had a certificate of its own already, else `certificate.issued`."""
    renewed = before is not None and name in before.names
    replaced = {"replaces": before.id} if before is not None and renewed else {}
    events.publish(
        "certificate.renewed" if renewed else "certificate.issued",
        **about(name, stored, ca=ca),
        seconds=round(seconds, 3),
        **replaced,
    )


def failed(name: str, error: EdgeError, present: StoredCertificate | None, *, ca: str, next_try_in: float) -> None:
    """`certificate.failed`: no certificate could be obtained. What the name has already stays in use and is told too."""
    events.publish(
        "certificate.failed",
        **about(name, present, ca=ca),
        error=error.detail,
        code=error.code,
        fault=error.fault.value,
        retryable=error.retryable,
        next_try_in=round(next_try_in),
    )


def expiring(name: str, stored: StoredCertificate, now: float, *, error: str) -> None:
    """`certificate.expiring`: it should have been renewed long ago, or `certificate.expired`. `error` is what went wrong last,
    "" if nothing did."""
    left = round(stored.not_after - now)
    type_ = "certificate.expiring" if left > 0 else "certificate.expired"
    events.publish(type_, **about(name, stored, ca=stored.issuer), seconds_left=left, error=error)


def parked(name: str, stored: StoredCertificate, since: float, *, detail: str) -> None:
    """`certificate.parked`: its name has not pointed here since then, so that it is not renewed. `detail` says what the DNS has
    instead."""
    events.publish("certificate.parked", **about(name, stored, ca=stored.issuer), since=since, detail=detail)


def unparked(name: str, stored: StoredCertificate) -> None:
    """`certificate.unparked`: its name points here again, and it is renewed."""
    events.publish("certificate.unparked", **about(name, stored, ca=stored.issuer))


def about(name: str, stored: StoredCertificate | None, *, ca: str) -> dict[str, Any]:
    """What all of them say. `ca` may be a directory, told is its host (`host_of`). Times are Unix times in seconds; None where
    there is no certificate."""
    return {
        "hostname": name,
        "certificate_id": None if stored is None else stored.id,
        "serial": None if stored is None else stored.serial or _serial(stored.chain),
        "ca": host_of(ca),
        "not_after": None if stored is None else stored.not_after,
    }


def _serial(chain: bytes) -> str:
    """Of rows from before serial numbers had a column."""
    return f"{x509.load_pem_x509_certificate(chain).serial_number:x}"
