"""Whether a name may have a certificate now: policy, registrations and the gate, asked before issuing."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Literal, Protocol

import structlog

from edgeproxy.config.structs import Config
from edgeproxy.control.issuance.gate import Gate, GateAnswer, GateVerdict
from edgeproxy.control.issuance.policy import Admission, Registration, Verdict, admit, not_registered
from edgeproxy.control.store import Domain, GateRoute, Store, StoredCertificate
from edgeproxy.errors import Fault, IssuanceDenied, IssuanceError
from edgeproxy.model import covers, wildcard_of, wire_hostname

log = structlog.get_logger("issuance")

DENIAL_SECONDS = 60.0
"""For how long a worker remembers that a name is not admitted. A change of the name in the map ends it at once."""

SAY_AGAIN_SECONDS = 1.0
"""Between two warnings of the gate's answers: how many names it fails for is a stranger's to choose."""

GateResult = Literal["allowed", "denied", "unavailable"]


@dataclasses.dataclass(frozen=True, slots=True)
class Outcome:
    """What came of a wish for a certificate."""

    ok: bool
    """The site and its certificate are in the published map."""
    denied: bool = False
    """Policy says no; otherwise it failed, or has to wait."""
    detail: str = ""
    remember: float = 0.0
    """Seconds for which the worker answers by itself."""
    limited: bool = False
    """It is the client's network that asks for too many new names, not the name that may not."""


@dataclasses.dataclass(frozen=True, slots=True)
class Found:
    """What policy says of a name, and whose it is."""

    admission: Admission
    created_at: float = 0.0
    """Since when its domain is registered; 0: it is not."""
    workspace: str = ""
    """Empty: nobody's that is known."""


class GateMeter(Protocol):
    """Where the gate's answers are counted."""

    def gate(self, result: GateResult) -> None:
        """The gate answered."""


class Admissions:
    """Asks the store and the gate. `clock` gives Unix time."""

    def __init__(self, config: Config, store: Store, gate: Gate | None, meter: GateMeter, clock: Callable[[], float]) -> None:
        self._config = config
        self._store = store
        self._gate = gate
        self._meter = meter
        self._clock = clock
        self._said = 0.0
        self._unsaid = 0

    async def close(self) -> None:
        """Ends questions to the gate."""
        if self._gate is not None:
            await self._gate.close()

    async def of(self, name: str, *, ahead: bool = False) -> Found:
        """What policy says of a hostname or wildcard; `ahead` as in policy. The gate is not asked."""
        return self.known(name, await self._store.registration_of(name), ahead=ahead)

    def known(self, name: str, domain: Domain | None, *, ahead: bool = False) -> Found:
        """The same, where it is known which registration decides on the name."""
        if domain is None:
            return Found(admit(name, self._config, None))
        found = admit(name, self._config, Registration(domain.hostname, domain.state), ahead=ahead)
        return Found(found, domain.created_at, domain.workspace_id)

    def known_refusal(self, name: str) -> Outcome | None:
        """The gate's "no" that is still remembered."""
        known = None if self._gate is None else self._gate.known(name)
        if known is None or known.verdict is not GateVerdict.DENY:
            return None
        return Outcome(False, True, known.detail, known.lifetime)

    def workspace_of(self, name: str) -> str:
        """Whose a name is by the gate's last answer; empty where it did not say."""
        known = None if self._gate is None else self._gate.known(name)
        return "" if known is None else known.workspace

    async def ask_gate(self, name: str, client_ip: str, *, afresh: bool = False, routed: bool = True) -> Outcome | None:
        """Asks, and notes the route; an Outcome where it does not say yes. `routed`: False where the name is known to have no
        route that a "no" would remove."""
        if self._gate is None:
            return Outcome(False, True, not_registered(name), DENIAL_SECONDS)
        answer = await self._gate.ask(name, client_ip, afresh=afresh)
        self._meter.gate(_GATE_RESULTS[answer.verdict])
        if answer.verdict is GateVerdict.ALLOW:
            await self._note_route(name, answer)
            return None
        if answer.verdict is GateVerdict.DENY:
            if routed and await self._store.get_gate_route(name) is not None:
                await self._store.delete_gate_route(name, self._clock())
            return Outcome(False, True, answer.detail, answer.lifetime)
        self._warn(name, answer.detail)
        return Outcome(False, False, answer.detail, answer.lifetime)

    def _warn(self, name: str, detail: str) -> None:
        self._unsaid += 1
        now = self._clock()
        if not self._said <= now < self._said + SAY_AGAIN_SECONDS:
            log.warning("the gate gave no usable answer", hostname=name, detail=detail, answers=self._unsaid)
            self._said, self._unsaid = now, 0

    async def present(self, name: str, admission: Admission) -> StoredCertificate | None:
        """The valid certificate under which the map has the name already: its own, or a wildcard's (publish.site_for). One
        that a removed domain has left covers the name too, perhaps, and serves nobody."""
        present = await self._store.current_certificate(admission.certificate, self._clock())
        if present is None or admission.certificate in present.names or admission.source in ("registered", "gate"):
            return present
        wildcard = wildcard_of(name)
        return present if any(covers(pattern, wildcard) for pattern in self._config.issuance.allow.patterns) else None

    async def refresh(self, hostname: str) -> None:
        """Asks the gate again for a route that is past its time. Only a "no" removes it."""
        name = wire_hostname(hostname)
        if name is None or self._gate is None:
            return
        if await self._store.get_gate_route(name) is not None:
            await self.ask_gate(name, "", afresh=True)

    async def again(self, name: str) -> Found:
        """The same for a name that was admitted before. A gate that does not answer now leaves it at what it said then.
        Raises IssuanceDenied, or IssuanceError where the gate does not answer and never did."""
        found = await self.of(name, ahead=True)
        if found.admission.verdict is Verdict.ASK_GATE:
            refusal = await self.ask_gate(name, "")
            if refusal is not None and (refusal.denied or await self._store.get_gate_route(name) is None):
                raise refused(refusal)
            return dataclasses.replace(found, workspace=self.workspace_of(name))
        if found.admission.verdict is Verdict.DENIED:
            raise IssuanceDenied(found.admission.reason)
        return found

    async def _note_route(self, name: str, answer: GateAnswer) -> None:
        now = self._clock()
        known = await self._store.get_gate_route(name)
        same = known is not None and (known.workspace_id, known.origin) == (answer.workspace, answer.origin)
        if same and known is not None and known.fresh_until >= now + answer.lifetime - 1.0:
            return  # the same answer, out of the gate's memory: not worth a commit
        route = GateRoute(hostname=name, workspace_id=answer.workspace, origin=answer.origin, fresh_until=now + answer.lifetime)
        await self._store.put_gate_route(route, now)


def refused(refusal: Outcome) -> IssuanceError:
    """What the gate said, as an error."""
    if refusal.denied:
        return IssuanceDenied(refusal.detail)
    return IssuanceError(refusal.detail, code="gate_unavailable", fault=Fault.OPERATOR)


_GATE_RESULTS: dict[GateVerdict, GateResult] = {
    GateVerdict.ALLOW: "allowed",
    GateVerdict.DENY: "denied",
    GateVerdict.NOT_NOW: "unavailable",
}
