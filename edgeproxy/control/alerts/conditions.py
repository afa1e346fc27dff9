"""What is wrong, as conditions: from events of domains and certificates, and from what is measured. Pure.

A condition is known by its kind and its subject. Those of events last from one event to another; those that are measured last
as long as each look finds them.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

from edgeproxy.config.monitoring import Alerts
from edgeproxy.control.latency import Waiting
from edgeproxy.errors import Fault

WINDOW = 300.0
"""Seconds over which rates are measured."""

REQUESTS = 20
"""Requests in a window without an answer of their origin below which nothing is said of origins."""

QUESTIONS = 5
"""Questions to the gate in a window that failed below which nothing is said of it."""

FAULT_SECONDS = 120.0
"""For which a part of the control plane has to fail before somebody is woken."""

OWN = 0.25
"""The part of a wait from which this edge's own lateness counts as its cause."""

Key = tuple[str, str]
"""Kind and subject."""


@dataclasses.dataclass(frozen=True, slots=True)
class Kind:
    """What all conditions of a kind have in common."""

    title: str
    """For one of them; "{}" is the subject."""
    todo: str
    measured: bool = False


KINDS: dict[str, Kind] = {
    "issuance": Kind(
        "no certificate could be obtained for {}",
        "`edgeproxy doctor HOST` says what has to be changed and by whom; it is tried again by itself.",
    ),
    "expiry_30": Kind(
        "the certificate of {} ends within 30 days",
        "`edgeproxy certs show HOST` says why it was not renewed. One that was uploaded needs a successor: `edgeproxy certs "
        "upload`.",
    ),
    "expiry_7": Kind(
        "the certificate of {} ends within 7 days",
        "`edgeproxy certs renew HOST` obtains another one now, or says why that cannot be.",
    ),
    "expiry_1": Kind(
        "the certificate of {} ends within a day",
        "`edgeproxy certs renew HOST` obtains another one now, or says why that cannot be.",
    ),
    "expired": Kind(
        "the certificate of {} has ended",
        "Visitors are refused. `edgeproxy certs renew HOST` obtains another one now, or says why that cannot be.",
    ),
    "validation": Kind(
        "{} was registered and never verified",
        "It rests now. `edgeproxy doctor HOST` has the record that its owner must set; `edgeproxy domains verify HOST` looks "
        "again and begins anew, `edgeproxy domains remove HOST` ends it.",
    ),
    "pointing": Kind(
        "{} does not point here any more",
        "Its certificate is not renewed until it does. `edgeproxy doctor HOST` has the record that its owner must change.",
    ),
    "domain": Kind(
        "{} was active and does not work now",
        "`edgeproxy domains show HOST` says what is wrong, `edgeproxy doctor HOST` which record has to be changed.",
    ),
    "origin": Kind(
        "an origin does not answer",
        "See whether it runs and can be reached from here; the access log's `error` has the reason of each, and "
        "`edgeproxy_origin_errors_total` counts them.",
        measured=True,
    ),
    "latency": Kind(
        "{} answers slowly",
        "Where it is the origin's time, whoever runs that has to see what it does for this name: `origin_ms` in the access log "
        "tells which requests. Where this edge is late, it needs more CPU: `edgeproxy top`, `workers.count`.",
        measured=True,
    ),
    "shed": Kind(
        "more connections come than are let in",
        "Nothing need be done while the platform's visitors are served: `edgeproxy status`. The limits are "
        "`limits.connections` and its neighbours; the access log tells who comes.",
        measured=True,
    ),
    "limited": Kind(
        "many requests are refused by a rate limit",
        "Nothing need be done while the right ones are refused: 429 in the access log tells whom, "
        "`edgeproxy_rate_limited_total` by whose limit. The limits are those of `[rates]`; whoever is to be let through "
        "belongs in `rates.exempt`.",
        measured=True,
    ),
    "ca": Kind(
        "the CA {} is left alone", "`edgeproxy status` says until when and why; it is tried again by itself.", measured=True
    ),
    "gate": Kind(
        "the gate does not answer",
        "See whether `issuance.allow.gate` answers. Names that have their certificate are served on; new ones wait.",
        measured=True,
    ),
    "queue": Kind(
        "many names wait for a certificate",
        "`edgeproxy status` has the queue and what is left of the CA's limit; another CA in `issuance.fallback` takes more.",
        measured=True,
    ),
    "fault": Kind("{} does not work", "`edgeproxy status` and the log say why.", measured=True),
}

WORSE = {"expiry_7": ("expiry_30",), "expiry_1": ("expiry_7", "expiry_30"), "expired": ("expiry_1", "expiry_7", "expiry_30")}
"""Kinds that take the place of others of the same subject."""

_OF_CERTIFICATES = ("issuance", "expiry_30", "expiry_7", "expiry_1", "expired", "pointing")
_OF_DOMAINS = ("domain", "pointing", "validation")
_ENDS: dict[str, tuple[str, ...]] = {
    "certificate.issued": _OF_CERTIFICATES,
    "certificate.renewed": _OF_CERTIFICATES,
    "certificate.uploaded": _OF_CERTIFICATES,
    "certificate.unparked": ("pointing",),
    "domain.registered": ("validation",),
    "domain.verified": ("validation",),
    "domain.active": _OF_DOMAINS,
    "domain.suspended": _OF_DOMAINS,
    "domain.removed": (*_OF_DOMAINS, *_OF_CERTIFICATES),
}
"""By event: the kinds of its subject that it ends."""


@dataclasses.dataclass(frozen=True, slots=True)
class Condition:
    """Something that is wrong now."""

    kind: str
    subject: str
    why: str = ""
    """A sentence; empty: the title says all."""

    @property
    def key(self) -> Key:
        """By which it is known."""
        return self.kind, self.subject


_WHOSE: dict[str, str] = {
    Fault.CUSTOMER_DNS: "the matter of whoever has the domain's DNS",
    Fault.CA: "the CA's matter",
    Fault.ORIGIN: "the origin's matter",
    Fault.OPERATOR: "yours: a setting of this edge",
    Fault.EDGE: "this edge's own fault",
}
"""By an error's fault."""


def ended_by(type_: str, subject: str) -> list[Key]:
    """The conditions that an event ends."""
    return [(kind, subject) for kind in _ENDS.get(type_, ())]


def begun_by(type_: str, subject: str, data: Mapping[str, Any]) -> Condition | None:
    """The condition that an event begins; None for one that tells of nothing wrong."""
    error = data.get("error")
    told = error if isinstance(error, dict) else data
    why = str(error.get("detail", "")) if isinstance(error, dict) else str(error or data.get("detail") or "")
    fault = str(told.get("fault") or "")
    if fault in _WHOSE:
        why = f"{why} It is {_WHOSE[fault]}.".strip()
    match type_:
        case "certificate.failed":
            return Condition("issuance", subject, why)
        case "certificate.expiring":
            return Condition(_level(data), subject, why)
        case "certificate.expired":
            return Condition("expired", subject, why)
        case "certificate.parked":
            return Condition("pointing", subject, why)
        case "domain.attention":
            # Where its DNS leads elsewhere, its certificate's renewal will say so too: that is one matter.
            return Condition("pointing" if fault == Fault.CUSTOMER_DNS else "domain", subject, why)
        case "domain.parked":
            return Condition("validation", subject, why)
    return None


def _level(data: Mapping[str, Any]) -> str:
    """Which of the expiries an event tells of, by the days or seconds that it has."""
    left = data.get("seconds_left")
    if isinstance(left, int | float) and left <= 0:
        return "expired"
    days = left / 86_400 if isinstance(left, int | float) else data.get("days", 30)
    return "expiry_1" if days <= 1 else "expiry_7" if days <= 7 else "expiry_30"


@dataclasses.dataclass(frozen=True, slots=True)
class Reading:
    """What is measured at one look. Counts never fall."""

    at: float
    """Seconds of a clock that never goes back."""
    requests: float = 0.0
    unanswered: float = 0.0
    """Requests that an origin did not answer."""
    shed: float = 0.0
    """Connections that were closed for there being too many."""
    limited: float = 0.0
    """Requests that were refused for a rate's sake."""
    gate: float = 0.0
    """Questions to the gate."""
    gate_failed: float = 0.0
    waiting: int = 0
    """Names that wait for their turn at the CA."""
    names: Sequence[Waiting] = ()
    """Names whose visitors waited too long now and then, or in vain."""
    left_alone: Mapping[str, str] = dataclasses.field(default_factory=dict)
    """CAs that are left alone, by host, and why."""
    faults: Mapping[str, str] = dataclasses.field(default_factory=dict)
    """Parts that have failed for FAULT_SECONDS, and why."""


def measured(readings: Sequence[Reading], limits: Alerts) -> list[Condition]:
    """What is wrong by the last reading, and the oldest of a window before it."""
    if not readings:
        return []
    first, now = readings[0], readings[-1]
    found = [Condition("ca", host, why) for host, why in now.left_alone.items()]
    found += [Condition("fault", part, why) for part, why in now.faults.items()]
    if now.waiting >= limits.waiting:
        found.append(Condition("queue", "", f"{now.waiting} names wait for the CA's limit, or for the CA to be well again."))
    unanswered, requests = now.unanswered - first.unanswered, now.requests - first.requests
    origins, explained = _origins(now.names, limits)
    found += origins
    if unanswered >= max(REQUESTS, requests * limits.origin_errors / 100) and explained < unanswered / 2:
        found.append(Condition("origin", "", f"Of {max(requests, unanswered):.0f} requests {unanswered:.0f} had no answer."))
    found += [
        Condition("latency", each.name, _waited(each, limits))
        for each in now.names
        if each.requests >= limits.latency_requests and each.seconds >= limits.latency
    ]
    minutes = max((now.at - first.at) / 60, 1.0)
    shed = (now.shed - first.shed) / minutes
    if shed >= limits.shed:
        found.append(
            Condition(
                "shed",
                "",
                f"{shed:.0f} a minute are closed: it is an attack, or there are more visitors than the limits allow.",
            )
        )
    limited = (now.limited - first.limited) / minutes
    if limited >= limits.limited:
        text = f"{limited:.0f} a minute are answered with 429: an attack is being shed, or a limit is too low for the visitors."
        found.append(Condition("limited", "", text))
    failed, asked = now.gate_failed - first.gate_failed, now.gate - first.gate
    if failed >= max(QUESTIONS, asked / 2):
        found.append(
            Condition(
                "gate",
                "",
                f"Of {asked:.0f} questions {failed:.0f} were not answered: the gate's matter, or that of the way to it.",
            )
        )
    return found


def _origins(names: Sequence[Waiting], limits: Alerts) -> tuple[list[Condition], int]:
    """Which origins do not answer, and for how many requests that is so."""
    by_origin: dict[str, list[Waiting]] = {}
    for each in names:
        if each.failed:
            by_origin.setdefault(each.origin, []).append(each)
    found, explained = [], 0
    for origin, those in sorted(by_origin.items()):
        requests, failed = sum(each.requests for each in those), sum(each.failed for each in those)
        if failed >= max(REQUESTS, requests * limits.origin_errors / 100):
            explained += failed
            whose = those[0].name if len(those) == 1 else f"{len(those)} domains, {those[0].name} among them,"
            found.append(Condition("origin", origin, f"Of {requests} requests for {whose} {failed} had no answer of it."))
    return found, explained


def _waited(each: Waiting, limits: Alerts) -> str:
    """How long, and whose time it was."""
    said = (
        f"Of {each.requests} requests within {limits.latency_window} one in twenty waited {each.seconds:.1f} s or longer for "
        f"the first byte of its answer (alerts.latency is {limits.latency})."
    )
    if each.late >= each.seconds * OWN:
        return f"{said} This edge itself was {each.late:.1f} s late on average: it is short of CPU."
    return f"{said} It is the time of the origin {each.origin}; this edge itself was not late."
