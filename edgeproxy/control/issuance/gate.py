"""The operator's gate: a URL that is asked whether a name may have a certificate, and whose it is.

Answers are remembered for their own lifetimes, one question per name is under way at once, and everything that a gate
can send is bounded. A gate that fails says "not now": never yes, and never no.
"""

from __future__ import annotations

import dataclasses
import enum
from collections import OrderedDict
from collections.abc import Callable, Mapping

import httpx2
import msgspec

from edgeproxy.config.structs import Config
from edgeproxy.control.asking import Asker, NoAnswer, lifetime
from edgeproxy.control.flights import Flights
from edgeproxy.control.issuance.origins import check_origin, resolve_origin
from edgeproxy.control.issuance.strangers import ClientNetworks
from edgeproxy.control.issuance.turns import Turns
from edgeproxy.errors import InvalidName
from edgeproxy.model import workspace_id

TROUBLE_LIFETIME = 5.0
"""Seconds for which a gate that failed is not asked again for the same name."""

REMEMBERED = 20_000
"""Answers remembered; the oldest go first."""

DETAIL = 400
"""Characters of what is said of an answer that cannot be used: it may quote the gate, and goes into logs and to workers."""

CONNECTIONS = 32
"""Connections to the gate at once, hence questions."""

OF_A_NETWORK = 8
"""Of them for clients of one network (/24, /56): whoever asks for thousands of names waits behind themselves."""

OF_OUR_OWN = 16
"""Of them for what nobody in particular waits for (old answers refreshed, renewals), and for trusted proxies' clients."""

TURN_SECONDS = 10.0
"""How long a question waits for its turn at most. The gate's timeout begins after that."""

QUESTIONS = 2_000
"""Questions under way or waiting for their turn. Above it: not now."""

BUSY_LIFETIME = 1.0
"""Seconds for which a name whose turn did not come is not asked for again."""


class GateVerdict(enum.Enum):
    """What a gate's answer means."""

    ALLOW = "allow"
    DENY = "deny"
    NOT_NOW = "not_now"


@dataclasses.dataclass(frozen=True, slots=True)
class GateAnswer:
    """What the gate said of one name."""

    verdict: GateVerdict
    lifetime: float
    """Seconds for which it counts, from when it came."""
    workspace: str = ""
    origin: str = ""
    """Checked against `origin.allow`."""
    detail: str = ""
    """One plain sentence for logs and the operator."""


class _GateBody(msgspec.Struct, frozen=True):
    workspace_id: str | None = None
    origin: str | None = None


def read_answer(status: int, headers: Mapping[str, str], body: bytes, config: Config) -> GateAnswer:
    """Reads a whole answer. Pure.

    2xx allows, 4xx denies, but 408, 425 and 429 mean "not now" like everything else. A 2xx whose body is JSON must hold
    a valid workspace id and origin if it holds any: an answer that cannot be used is the gate's fault, not the name's.
    """
    said = f"The gate at {httpx2.URL(config.issuance.allow.gate).netloc.decode('ascii')} answered {status}"
    if status in (408, 425, 429) or not (200 <= status < 300 or 400 <= status < 500):
        return _not_now(f"{said}.")
    kept = lifetime(headers, config.issuance.allow.gate_ttl)
    if status >= 400:
        return GateAnswer(GateVerdict.DENY, kept, detail=f"{said}.")
    if not body.lstrip().startswith(b"{") and "json" not in headers.get("content-type", "").lower():
        return GateAnswer(GateVerdict.ALLOW, kept, detail=f"{said}.")
    try:
        answer = msgspec.json.decode(body, type=_GateBody) if body.strip() else _GateBody()
        workspace = workspace_id(answer.workspace_id) if answer.workspace_id else ""
        origin = check_origin(answer.origin, config) if answer.origin else ""
    except msgspec.MsgspecError as error:
        return _not_now(f"{said} with JSON that cannot be used: {error}.")
    except InvalidName as error:
        return _not_now(f"{said} with a value that cannot be used: {error.detail}")
    return GateAnswer(GateVerdict.ALLOW, kept, workspace, origin, f"{said}.")


class Gate:
    """Asks the gate of `config.issuance.allow.gate`, which must be set.

    `clock` gives monotonic seconds. `transport` replaces the network in tests.
    """

    def __init__(self, config: Config, clock: Callable[[], float], transport: httpx2.AsyncBaseTransport | None = None) -> None:
        self._config = config
        self._clock = clock
        self._answers: OrderedDict[str, tuple[float, GateAnswer]] = OrderedDict()
        self._flights = Flights[GateAnswer]()
        self._turns = Turns(CONNECTIONS, OF_A_NETWORK, OF_OUR_OWN)
        self._networks = ClientNetworks(config)
        allow = config.issuance.allow
        self._asker = Asker("The gate", "issuance.allow.gate", allow.gate_timeout, CONNECTIONS, transport)

    @property
    def asked(self) -> int:
        """Requests sent so far."""
        return self._asker.asked

    def known(self, hostname: str) -> GateAnswer | None:
        """What is remembered of a name, as long as it counts; its `lifetime` is what is left of it."""
        until, answer = self._answers.get(hostname, (0.0, None))
        left = until - self._clock()
        return dataclasses.replace(answer, lifetime=left) if answer is not None and left > 0 else None

    async def ask(self, hostname: str, client_ip: str, *, afresh: bool = False) -> GateAnswer:
        """The gate's word on a normalised hostname, remembered or asked now; `afresh` asks unless it failed just now.

        Its `lifetime` is what is left of it. Never raises but when cancelled.
        """
        known = self.known(hostname)
        if known is not None and (not afresh or known.verdict is GateVerdict.NOT_NOW):
            return known
        if hostname not in self._flights and len(self._flights) >= QUESTIONS:
            return _busy(f"{QUESTIONS} questions wait for the gate already.")
        return await self._flights.join(hostname, lambda: self._ask(hostname, client_ip))

    async def close(self) -> None:
        """Ends questions and connections."""
        await self._flights.close()
        await self._asker.close()

    async def _ask(self, hostname: str, client_ip: str) -> GateAnswer:
        try:
            async with self._turns.turn(self._networks.of(client_ip), TURN_SECONDS):
                answer = await self._request(hostname, client_ip)
        except TimeoutError:
            return _busy("Too many questions wait for the gate.")
        if answer.origin:
            try:
                await resolve_origin(answer.origin, self._config)
            except InvalidName as error:
                answer = _not_now(f"The gate named an origin that is not allowed: {error.detail}")
        self._answers[hostname] = (self._clock() + answer.lifetime, answer)
        self._answers.move_to_end(hostname)
        while len(self._answers) > REMEMBERED:
            self._answers.popitem(last=False)
        return answer

    async def _request(self, hostname: str, client_ip: str) -> GateAnswer:
        parameters = {"domain": hostname, "client_ip": client_ip}
        try:
            answer = await self._asker.get(self._config.issuance.allow.gate, parameters)
        except NoAnswer as error:
            return _not_now(str(error))
        return read_answer(answer.status, answer.headers, answer.body, self._config)


def _busy(detail: str) -> GateAnswer:
    return GateAnswer(GateVerdict.NOT_NOW, BUSY_LIFETIME, detail=detail)


def _not_now(detail: str) -> GateAnswer:
    return GateAnswer(GateVerdict.NOT_NOW, TROUBLE_LIFETIME, detail=detail[:DETAIL])
