"""What becomes of certificates, as events for the store's outbox and for other parts of the program (`control.events`).

What is stored with an event (`kept`) goes to the store before it is told.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from cryptography import x509

from edgeproxy.control.events import Event
from edgeproxy.control.issuance.issuer import host_of
from edgeproxy.control.store import StoredCertificate
from edgeproxy.errors import EdgeError


def obtained(name: str, stored: StoredCertificate, before: StoredCertificate | None, *, ca: str, seconds: float) -> Event:
    """`certificate.renewed` where the name had a certificate of its own already, else `certificate.issued`."""
    renewed = before is not None and name in before.names
    replaced = {"replaces": before.id} if before is not None and renewed else {}
    fields = {"seconds": round(seconds, 3), **replaced}
    return happening("renewed" if renewed else "issued", name, stored, fields, ca=ca)


def failed(
    name: str, error: EdgeError, present: StoredCertificate | None, *, ca: str, next_try_in: float, kept: bool = True
) -> Event:
    """`certificate.failed`: no certificate could be obtained. What the name has already stays in use and is told too."""
    fields = {
        "error": error.detail,
        "code": error.code,
        "fault": error.fault.value,
        "retryable": error.retryable,
        "next_try_in": round(next_try_in),
    }
    return happening("failed", name, present, fields, ca=ca, kept=kept)


def expiring(name: str, stored: StoredCertificate, now: float, *, error: str) -> Event:
    """`certificate.expiring`: it should have been renewed long ago, or `certificate.expired`. `error` is what went wrong last,
    "" if nothing did. Nothing is stored of it."""
    left = round(stored.not_after - now)
    fields = {"seconds_left": left, "error": error}
    return happening("expiring" if left > 0 else "expired", name, stored, fields, ca=stored.issuer, kept=False)


def parked(name: str, stored: StoredCertificate, since: float, *, detail: str) -> Event:
    """`certificate.parked`: its name has not pointed here since then, so that it is not renewed. `detail` says what the DNS has
    instead."""
    return happening("parked", name, stored, {"since": since, "detail": detail}, ca=stored.issuer)


def unparked(name: str, stored: StoredCertificate) -> Event:
    """`certificate.unparked`: its name points here again, and it is renewed."""
    return happening("unparked", name, stored, {}, ca=stored.issuer)


def happening(
    what: str, name: str, stored: StoredCertificate | None, fields: Mapping[str, Any], *, ca: str, kept: bool = True
) -> Event:
    """`certificate.WHAT`, with what all of them say and `fields`."""
    return Event(f"certificate.{what}", {**about(name, stored, ca=ca), **fields}, kept=kept)


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
