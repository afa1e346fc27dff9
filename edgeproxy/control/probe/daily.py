"""Each name's certificate, looked at once a day as a visitor would: over TLS, at our own listener."""

from __future__ import annotations

import asyncio
import dataclasses
import ssl
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable

import anyio
import structlog

from edgeproxy.config.structs import Config
from edgeproxy.control import events
from edgeproxy.control.issuance import telling
from edgeproxy.control.issuance.policy import Registration, Verdict, admit
from edgeproxy.control.probe.grading import SEVERITY, Grade, Graded, Served, grade
from edgeproxy.control.probe.look import asked_name, look, own_address
from edgeproxy.control.probe.trust import Trust
from edgeproxy.control.store import Store, StoredCertificate

log = structlog.get_logger("probe")

DAY = 86_400.0

START_SECONDS = 5.0
"""After a start: workers and waiting visitors come first."""

FIRST_PACE = 1.0
"""Seconds between two names of the first round at most, so that a start knows soon how it serves."""

AGAIN_SECONDS = 3_600.0
"""After which names that are not served well are looked at again."""

AT_ONCE = 4
"""Handshakes at once. One is over in milliseconds; only servers in trouble keep some waiting."""

REMEMBERED = 1_000
"""Names that are not served well and are remembered, the worst first. All are counted."""

PAGE = 500


@dataclasses.dataclass(frozen=True, slots=True)
class Seen:
    """What the last look at a name brought."""

    name: str
    graded: Graded
    at: float
    """Unix time."""
    expected: str
    """The id of the certificate that it was to be served under."""


class Probe:
    """The loop, and what it found."""

    def __init__(
        self,
        config: Config,
        store: Store,
        clock: Callable[[], float],
        sleep: Callable[[float], Awaitable[None]] = anyio.sleep,
    ) -> None:
        self._config = config
        self._store = store
        self._clock = clock
        self._sleep = sleep
        self._last: Counter[Grade] | None = None
        self._running: Counter[Grade] = Counter()
        self._bad: dict[str, Seen] = {}
        self._trust = Trust(config, store, clock)
        self._turns = asyncio.Semaphore(AT_ONCE)

    @property
    def counts(self) -> dict[str, int]:
        """Names by grade, of the last whole round; of the running one where it is the first."""
        counted = self._running if self._last is None else self._last
        return {grade.value: counted[grade] for grade in Grade if counted[grade] > 0}

    def worst(self, limit: int) -> list[Seen]:
        """The names that are served worst."""
        return sorted(self._bad.values(), key=lambda seen: (-SEVERITY[seen.graded.grade], seen.name))[:limit]

    async def run(self) -> None:
        """Round after round, one a day, until cancelled. Raises EdgeError where the store fails."""
        await self._sleep(START_SECONDS)
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(self._look_again)
            while True:
                began = self._clock()
                await self.round()
                await self._sleep(max(began + DAY - self._clock(), FIRST_PACE))

    async def round(self) -> None:
        """Looks at every name once, spread over a day."""
        pace = DAY / max(await self._store.count_certificates(), 1)
        if self._last is None:
            pace = min(pace, FIRST_PACE)
        began, self._running = self._clock(), Counter()
        async with anyio.create_task_group() as tasks:
            async for stored, name in self._names():
                await self._turns.acquire()
                tasks.start_soon(self._count, stored, name)
                await self._sleep(pace)
        for gone in [name for name, seen in self._bad.items() if seen.at < began]:
            del self._bad[gone]  # it is no longer ours
        self._last = self._running

    async def look(self, stored: StoredCertificate, name: str) -> Graded:
        """Looks at one name now; `stored` is the certificate that it must be served under."""
        now = self._clock()
        if stored.not_after <= now:
            # workers do not serve it, and a handshake would have them ask for another one
            served = Served(at="the store", leaf=_der(stored))
        else:
            host, port = own_address(self._config)
            served = await look(host, port, asked_name(name), await self._trust.get(), own=self._config)
        return grade(served, asked_name(name), now, expected=stored.id)

    async def _count(self, stored: StoredCertificate, name: str) -> None:
        try:
            graded = await self.look(stored, name)
            if graded.grade is not Grade.GOOD:
                # a renewal between the look into the store and the handshake is no fault: what is newest now counts
                newest = await self._store.current_certificate(name)
                if newest is not None and newest.id != stored.id:
                    stored, graded = newest, await self.look(newest, name)
        finally:
            self._turns.release()
        self._running[graded.grade] += 1
        await self._note(stored, name, graded)

    async def _note(self, stored: StoredCertificate, name: str, graded: Graded) -> None:
        before = self._bad.pop(name, None)
        if graded.grade is Grade.GOOD:
            return
        self._bad[name] = Seen(name, graded, self._clock(), stored.id)
        if len(self._bad) > REMEMBERED:
            del self._bad[self.worst(REMEMBERED + 1)[-1].name]
        if before is None or before.graded.grade is not graded.grade:
            log.warning("a name is not served well", hostname=name, grade=graded.grade.value, detail=graded.detail)
        late = graded.grade in (Grade.EXPIRING, Grade.EXPIRED) and not stored.custom
        if late and (before is None or before.at < self._clock() - DAY / 2 or before.graded.grade is not graded.grade):
            failure = await self._store.failure(name)
            error = "" if failure is None else failure.detail
            events.tell(telling.expiring(name, stored, self._clock(), error=error))

    async def _look_again(self) -> None:
        """What was bad an hour ago may be well by now."""
        while True:
            await self._sleep(AGAIN_SECONDS)
            await self.again()

    async def again(self) -> None:
        """Looks again at the names that were not served well."""
        for seen in self.worst(REMEMBERED):
            await self._once_more(seen, await self._present(seen))

    async def worst_now(self, limit: int) -> list[Seen]:
        """`worst`, without what was cured since: a name that was removed, or has a certificate that was not looked at yet.
        Raises EdgeError where the store fails."""
        for seen in self.worst(limit):
            stored = await self._present(seen)
            if stored is None or seen.expected != stored.id:
                await self._once_more(seen, stored)
        return self.worst(limit)

    async def _present(self, seen: Seen) -> StoredCertificate | None:
        """What the name must be served under by now; None where it is not ours any more."""
        stored = await self._store.current_certificate(seen.name)
        return stored if stored is not None and await self._is_ours(seen.name) else None

    async def _once_more(self, seen: Seen, stored: StoredCertificate | None) -> None:
        graded = None if stored is None else await self.look(stored, seen.name)
        if self._bad.get(seen.name) is not seen:
            return  # somebody else looked meanwhile
        self._recount(seen.graded.grade, None if graded is None else graded.grade)
        if stored is None or graded is None:
            del self._bad[seen.name]
        elif graded.grade is Grade.GOOD:
            del self._bad[seen.name]
            log.info("a name is served well again", hostname=seen.name)
        else:
            self._bad[seen.name] = dataclasses.replace(seen, graded=graded, expected=stored.id)

    def _recount(self, old: Grade, new: Grade | None) -> None:
        if self._last is None:
            return
        self._last[old] = max(0, self._last[old] - 1)
        if new is not None:
            self._last[new] += 1

    async def _names(self) -> AsyncIterator[tuple[StoredCertificate, str]]:
        """Every name that we serve, with the certificate that it is to be served under."""
        after = ""
        while page := await self._store.list_certificates(PAGE, after):
            for stored in page:
                for name in stored.names if stored.superseded_at is None else ():
                    current = await self._store.current_certificate(name)
                    if current is not None and current.id == stored.id and await self._is_ours(name):
                        yield stored, name
            after = page[-1].id

    async def _is_ours(self, name: str) -> bool:
        """Whether the edge serves the name: a certificate may be left over from a domain that was removed."""
        domain = await self._store.registration_of(name)
        registration = None if domain is None else Registration(domain.hostname, domain.state)
        verdict = admit(name, self._config, registration).verdict
        if verdict is Verdict.ASK_GATE:
            return await self._store.get_gate_route(name) is not None
        return verdict is Verdict.ALLOWED


def _der(stored: StoredCertificate) -> bytes:
    return ssl.PEM_cert_to_DER_cert(stored.chain.decode("ascii").partition("-----END CERTIFICATE-----")[0] + _END)


_END = "-----END CERTIFICATE-----\n"
