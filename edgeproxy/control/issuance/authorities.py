"""Several certificate authorities in an order of preference, behind the port of one.

An order goes to the first that is well and that the name's CAA records allow. What fails by a CA's own fault is tried there
a few times, then at the next one; a CA that failed several times in a row is left alone (`breaker`), and tried again later.
"""

from __future__ import annotations

import asyncio
import dataclasses
from collections.abc import Awaitable, Callable, Sequence

import structlog

from edgeproxy.control import events
from edgeproxy.control.issuance import ratelimited
from edgeproxy.control.issuance.acme.permission import CaaForbids
from edgeproxy.control.issuance.acme.problems import CaRefused
from edgeproxy.control.issuance.breaker import Breaker, State
from edgeproxy.control.issuance.budget import Ask
from edgeproxy.control.issuance.certificates import Issued, KeyType
from edgeproxy.control.issuance.issuer import Begin, Issuer, NotNow, Progress, host_of
from edgeproxy.control.issuance.registered import registered_domain
from edgeproxy.control.issuance.renewal import Suggestion
from edgeproxy.control.store import Store
from edgeproxy.errors import Fault, IssuanceError

log = structlog.get_logger("issuance")

AGAIN_SECONDS = 1.0
"""Between two tries of one order at the same CA."""

LONG_SECONDS = 600.0
"""A CA whose rate limit for the whole account lasts longer than this is left alone until it is over."""

REMEMBERED = 10_000
"""Names of which it is remembered which CA issued last, until that is noted."""

_ITS_FAULT = frozenset(("slow", "unusable", "deactivated", "userActionRequired"))
_ITS_POLICY = frozenset(("rejectedIdentifier", "unsupportedIdentifier", "badCSR", "badPublicKey"))


@dataclasses.dataclass(frozen=True, slots=True)
class AuthorityState:
    """What `status` and the metrics show of one CA."""

    directory: str
    host: str
    state: State
    failures: int
    """In a row."""
    reason: str
    """Of the last failure; empty where it works."""
    since: float
    """Unix time since which it is left alone; 0: it is not."""
    next_trial: float
    """Unix time of the next trial; 0: there is none to come."""


@dataclasses.dataclass(frozen=True, slots=True)
class _Authority:
    issuer: Issuer
    breaker: Breaker

    @property
    def host(self) -> str:
        return host_of(self.issuer.directory)


class Authorities:
    """Fulfils `Issuer`. `issuers`: most preferred first, at least one."""

    def __init__(
        self,
        issuers: Sequence[Issuer],
        store: Store,
        clock: Callable[[], float],
        *,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self._authorities = [_Authority(issuer, Breaker()) for issuer in issuers]
        self._first = self._authorities[0]
        self._store = store
        self._clock = clock
        self._sleep = sleep
        self._issued_by: dict[str, _Authority] = {}
        self.directory = self._first.issuer.directory
        """Of the most preferred one."""
        self.wildcards = any(issuer.wildcards for issuer in issuers)

    @property
    def issuers(self) -> list[Issuer]:
        """All of them, most preferred first."""
        return [each.issuer for each in self._authorities]

    @property
    def replaces(self) -> bool:
        """See `Issuer`. Of the one that the next order is likely to go to."""
        return self._of(self.current).replaces

    async def suggests(self) -> bool:
        """See `Issuer`. Of the most preferred one."""
        return await self._first.issuer.suggests()

    async def suggestion(self, chain: bytes) -> Suggestion | None:
        """See `Issuer`. Of the most preferred one; others are asked by themselves (`issuers`)."""
        return await self._first.issuer.suggestion(chain)

    @property
    def directories(self) -> tuple[str, ...]:
        """All of them, most preferred first."""
        return tuple(each.issuer.directory for each in self._authorities)

    @property
    def current(self) -> str:
        """The directory that the next order is likely to go to."""
        now = self._clock()
        well = [each for each in self._authorities if each.breaker.state(now) == "closed"]
        return (well or [each for each in self._authorities if each.breaker.allows(now)] or [self._first])[0].issuer.directory

    def states(self) -> list[AuthorityState]:
        """How each of them stands, most preferred first."""
        now = self._clock()
        return [
            AuthorityState(
                directory=each.issuer.directory,
                host=each.host,
                state=each.breaker.state(now),
                failures=each.breaker.failures,
                reason=each.breaker.reason,
                since=each.breaker.since,
                next_trial=each.breaker.next_trial if each.breaker.state(now) == "open" else 0.0,
            )
            for each in self._authorities
        ]

    @property
    def begin(self) -> Begin | None:
        """See `Issuer`."""
        return self._first.issuer.begin

    @begin.setter
    def begin(self, begin: Begin | None) -> None:
        for each in self._authorities:
            each.issuer.begin = begin

    async def prepare(self) -> None:
        """See `Issuer`. Of the most preferred one alone: the others may never be needed."""
        await self._first.issuer.prepare()

    async def issue(self, name: str, progress: Progress, key_type: KeyType | None = None) -> Issued:
        """See `Issuer`. Raises the error of the most preferred one that was asked, with those of the others in words."""
        candidates = await self._candidates(name)
        if not candidates:
            raise self._all_away()
        errors: list[tuple[_Authority, IssuanceError]] = []
        for place, authority in enumerate(candidates):
            if errors:
                progress(f"{errors[-1][0].host} does not issue; trying {authority.host}")
            try:
                issued = await self._issue(authority, name, progress, key_type, last=place == len(candidates) - 1)
            except _TryNext as failed:
                log.warning("a CA does not issue", ca=authority.host, hostname=name, detail=failed.error.detail)
                errors.append((authority, failed.error))
                continue
            except IssuanceError as error:
                raise _with_others(error, errors) from None
            self._issued_by[name] = authority
            if len(self._issued_by) > REMEMBERED:
                del self._issued_by[next(iter(self._issued_by))]
            return dataclasses.replace(issued, directory=authority.issuer.directory)
        raise _with_others(errors[0][1], errors[1:])

    async def settled(self, name: str) -> None:
        """See `Issuer`."""
        await self._issued_by.pop(name, self._first).issuer.settled(name)

    async def unsettled(self) -> list[str]:
        """See `Issuer`."""
        names: set[str] = set()
        for each in self._authorities:
            names.update(await each.issuer.unsettled())
        return sorted(names)

    async def roll_over(self) -> None:
        """See `Issuer`. At each CA where there is an account."""
        known = [each for each in self._authorities if await self._has_account(each)]
        for each in known or [self._first]:
            await each.issuer.roll_over()

    async def account(self) -> tuple[str, tuple[str, ...]]:
        """See `Issuer`. At the most preferred one."""
        return await self._first.issuer.account()

    async def close(self) -> None:
        """See `Issuer`."""
        for each in self._authorities:
            await each.issuer.close()

    # Within

    def _of(self, directory: str) -> Issuer:
        return next(each.issuer for each in self._authorities if each.issuer.directory == directory)

    async def _candidates(self, name: str) -> list[_Authority]:
        """Who may be asked now, in the order to ask. A CA that has an order for the name goes first: it is not to be made
        twice."""
        now = self._clock()
        allowed = [each for each in self._authorities if each.breaker.allows(now)]
        row = await self._store.order_for(name)
        if row is not None and row.url:
            allowed.sort(key=lambda each: each.issuer.directory != row.directory)
        return allowed

    async def _issue(
        self, authority: _Authority, name: str, progress: Progress, key_type: KeyType | None, *, last: bool
    ) -> Issued:
        """Tries one CA, several times where it fails by its own fault and others are left. Raises _TryNext where another one
        may do better, else IssuanceError."""
        breaker = authority.breaker
        while True:
            was = breaker.state(self._clock())
            breaker.begin(self._clock())
            try:
                issued = await authority.issuer.issue(name, progress, key_type)
            except NotNow:
                breaker.left()
                raise
            except IssuanceError as error:
                if isinstance(error, CaRefused):
                    error.directory = authority.issuer.directory
                if not self._failed(authority, name, error):
                    if another_may_issue(error) and not last:
                        raise _TryNext(error) from None
                    raise
                if breaker.state(self._clock()) != "closed":
                    raise (error if last else _TryNext(error)) from None
                if last:
                    raise
            except BaseException:
                breaker.left()
                raise
            else:
                self._worked(authority, was)
                return issued
            await self._sleep(AGAIN_SECONDS)

    def _failed(self, authority: _Authority, name: str, error: IssuanceError) -> bool:
        """Takes notice of a failure; whether it is the CA's."""
        breaker, now = authority.breaker, self._clock()
        pause = _pause(error, name, now)
        if not pause and not is_its_fault(error):
            # it answered, and said why not: but for what was decided here without it
            if isinstance(error, CaRefused) and error.problem != "rateLimited":
                self._worked(authority, breaker.state(now))
            else:
                breaker.left()
            return False
        before = breaker.since
        if breaker.failed(now, error.detail, pause) and not before:
            log.error("a CA is left alone for a while", ca=authority.host, detail=error.detail)
            events.publish("ca.unavailable", ca=authority.host, error=error.detail, next_trial=breaker.next_trial)
        return True

    def _worked(self, authority: _Authority, was: State) -> None:
        if was != "closed" or authority.breaker.since:
            log.info("a CA is used again", ca=authority.host)
            events.publish("ca.available", ca=authority.host)
        authority.breaker.worked()

    def _all_away(self) -> CaRefused:
        now = self._clock()
        wait = max(1.0, min(each.breaker.next_trial for each in self._authorities) - now)
        said = " ".join(f"{each.host}: {each.breaker.reason}" for each in self._authorities)
        return CaRefused(
            f"No CA can be used now; they are tried again by themselves. {said}",
            problem="unreachable",
            fault=Fault.CA,
            retry_after=wait,
        )

    async def _has_account(self, authority: _Authority) -> bool:
        row = await self._store.account(authority.issuer.directory)
        return row is not None and bool(row.url)


class _TryNext(Exception):
    def __init__(self, error: IssuanceError) -> None:
        super().__init__(error.detail)
        self.error = error


def is_its_fault(error: IssuanceError) -> bool:
    """Whether an issuance failed by the CA's fault and not for the name's sake: others would fare the same there. Pure."""
    if error.code == "ca_malformed":
        return True
    return isinstance(error, CaRefused) and (error.about_the_ca or error.problem in _ITS_FAULT)


def another_may_issue(error: IssuanceError) -> bool:
    """Whether another CA may give what this one refuses, though this one is well: by its policy, or by what its account or the
    DNS allows it. Pure."""
    if isinstance(error, CaaForbids) or error.fault is Fault.OPERATOR:
        return True
    return isinstance(error, CaRefused) and error.problem in _ITS_POLICY | {"caa"}


def _pause(error: IssuanceError, name: str, now: float) -> float:
    """Seconds for which a CA takes no orders of our account at all; 0 where that is short, or it says no such thing."""
    if not isinstance(error, CaRefused) or error.problem != "rateLimited":
        return 0.0
    scope, _ = ratelimited.scope_of(error.said, Ask(name, registered_domain(name), "new"))
    pause = ratelimited.pause(error.said, error.retry_after, now)
    return pause if scope == "account" and pause > LONG_SECONDS else 0.0


def _with_others(error: IssuanceError, others: Sequence[tuple[_Authority, IssuanceError]]) -> IssuanceError:
    """The error, with the reasons of other CAs in words."""
    if not others or isinstance(error, NotNow):
        return error
    error.detail = f"{error.detail} " + " ".join(f"{each.host}: {other.detail}" for each, other in others)
    return error
