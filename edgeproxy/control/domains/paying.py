"""Whether workspaces pay: the API's word, the configuration's list or the platform is asked; and what follows is done."""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Callable
from typing import Literal

import anyio
import msgspec
import structlog

from edgeproxy.config.structs import Config
from edgeproxy.control import events
from edgeproxy.control.asking import Asker, NoAnswer
from edgeproxy.control.domains.entitlement import (
    STALE_SECONDS,
    UNPAID,
    Source,
    Standing,
    Terms,
    counts,
    follows,
    read_answer,
    without_asking,
)
from edgeproxy.control.domains.lifecycle import Event, next_move
from edgeproxy.control.domains.reconciler import moved
from edgeproxy.control.flights import Flights
from edgeproxy.control.issuance.policy import served_unregistered
from edgeproxy.control.store import Domain, Store, Workspace
from edgeproxy.errors import EntitlementDenied, EntitlementUnknown

log = structlog.get_logger("entitlement")

ACTOR = "edge"
"""Who suspends, for the audit log."""

CONNECTIONS = 8
"""Connections to the platform at once."""

QUESTIONS = 1_000
"""Questions under way at once. Above it a further workspace is not asked about: trouble."""

TROUBLE_LIFETIME = 5.0
"""Seconds for which the platform is not asked again about a workspace after an attempt that failed."""

TROUBLES = 10_000
"""Such workspaces that are remembered."""

AFRESH_SECONDS = 5.0
"""A workspace that wants to register a domain and does not pay is asked about anew, if the answer is older than this: somebody
may just have paid."""

REVIEW_SECONDS = 3600.0
"""Between two questions about a workspace that pays, where nobody needs to know. One that does not is asked about as soon as
its answer no longer counts."""

PAGE = 100
"""Workspaces that are looked at, and domains that are changed, in one round."""

PAUSE_SECONDS = 1.0
"""Between two rounds while there is more to do."""

LOOK_SECONDS = 30.0
"""Between two rounds otherwise, unless a grace time ends before."""

LEAST_SECONDS = 0.05
"""Between two rounds in any case."""


class Entitlements:
    """One per controller. `clock` gives Unix time, and `wake` is called when there are domains to be looked at."""

    def __init__(self, config: Config, store: Store, clock: Callable[[], float], *, wake: Callable[[], None]) -> None:
        self._config = config
        self._settings = config.entitlement
        self._terms = Terms(float(self._settings.grace), float(self._settings.remove_after))
        self._store = store
        self._clock = clock
        self._flights = Flights[Workspace | str]()
        self._troubles: OrderedDict[str, tuple[float, str]] = OrderedDict()
        self._asker = Asker("The platform", "entitlement.url", self._settings.timeout, CONNECTIONS)
        self._wake_looks = wake
        self._deciding = asyncio.Lock()
        self._wake = asyncio.Event()
        self._after = ""

    @property
    def terms(self) -> Terms:
        """When what follows."""
        return self._terms

    @property
    def asked(self) -> int:
        """Questions sent to the platform so far."""
        return self._asker.asked

    async def close(self) -> None:
        """Ends questions and connections."""
        await self._flights.close()
        await self._asker.close()

    # What a workspace may

    async def allowance(self, workspace_id: str) -> int:
        """How many domains a workspace may have. Raises EntitlementDenied where it does not pay, and EntitlementUnknown where
        nobody knows and `entitlement.on_error` denies then."""
        standing = await self.standing(workspace_id, unless_paid=AFRESH_SECONDS)
        if standing.paid:
            return standing.max_domains
        if standing.source == "default":
            raise EntitlementUnknown(
                f"Whether the workspace {workspace_id} has paid for domains of its own cannot be found out just now: "
                f"{standing.trouble} Try again in a moment."
            )
        raise EntitlementDenied(f"{UNPAID}, and the workspace {workspace_id} has none{_SAYS[standing.source]}")

    async def standing(self, workspace_id: str, *, unless_paid: float | None = None) -> Standing:
        """How it stands with a workspace, by what is known or by asking. An answer that it does not pay is asked for anew where
        it is older than `unless_paid` seconds."""
        now, row = self._clock(), await self._store.workspace(workspace_id)
        known = without_asking(workspace_id, row, self._config)
        if known is not None:
            await self._settle(workspace_id, row, known)
            return known
        trouble = ""
        outdated = row is not None and not row.paid and unless_paid is not None and now - row.checked_at >= unless_paid
        if outdated or not counts(row, now):
            try:
                row = await self._ask(workspace_id)
            except NoAnswer as error:
                trouble = str(error)
        return self._by_platform(row, trouble)

    def known(self, workspace_id: str, row: Workspace | None) -> Standing:
        """How it stands with a workspace by what was said of it last (`row`), however long ago. Asks nobody."""
        return without_asking(workspace_id, row, self._config) or self._by_platform(row, "")

    def _by_platform(self, row: Workspace | None, trouble: str) -> Standing:
        most = self._config.limits.domains_per_workspace
        if row is None:
            return Standing(self._settings.on_error == "allow", most, "default", trouble)
        return Standing(row.paid, most if row.max_domains is None else row.max_domains, "platform", trouble)

    async def say(self, workspace_id: str, *, paid: bool, max_domains: int | None, actor: str) -> None:
        """Takes the API's word for a workspace, and does at once what follows for a page of its domains."""
        now = self._clock()
        await self._put(workspace_id, "api", paid, max_domains, now, now, actor)
        await self.apply()
        self._wake.set()

    async def unsay(self, workspace_id: str, *, actor: str) -> bool:
        """Takes the API's word back: the configuration or the platform decides again. Whether there was one."""
        now = self._clock()
        async with self._deciding:
            row = await self._store.workspace(workspace_id)
            if row is None or row.source != "api":
                return False
            if self._settings.url and not row.paid:
                # it counts until the platform was asked, so that trouble does not look like payment
                kept = msgspec.structs.replace(row, source="platform", fresh_until=now)
                await self._store.put_workspace(kept, actor=actor, now=now)
            else:
                await self._store.delete_workspace(workspace_id, actor=actor, now=now)
        await self.standing(workspace_id)
        await self.apply()
        self._wake.set()
        return True

    async def _ask(self, workspace_id: str) -> Workspace:
        until, trouble = self._troubles.get(workspace_id, (0.0, ""))
        if 0 < until - self._clock() <= TROUBLE_LIFETIME:
            raise NoAnswer(trouble)
        if workspace_id not in self._flights and len(self._flights) >= QUESTIONS:
            raise NoAnswer(f"{QUESTIONS} questions wait for the platform already.")
        found = await self._flights.join(workspace_id, lambda: self._request(workspace_id))
        if isinstance(found, str):
            raise NoAnswer(found)
        return found

    async def _request(self, workspace_id: str) -> Workspace | str:
        """What the platform says, noted; or the trouble."""
        try:
            answer = await self._asker.get(self._settings.url, {"workspace_id": workspace_id})
            said = read_answer(answer, self._settings.ttl)
        except NoAnswer as error:
            self._troubles[workspace_id] = (self._clock() + TROUBLE_LIFETIME, str(error))
            self._troubles.move_to_end(workspace_id)
            while len(self._troubles) > TROUBLES:
                self._troubles.popitem(last=False)
            log.warning("whether a workspace pays cannot be found out", workspace=workspace_id, detail=str(error))
            return str(error)
        self._troubles.pop(workspace_id, None)
        now = self._clock()
        return await self._put(workspace_id, "platform", said.paid, said.max_domains, now, now + said.lifetime, ACTOR)

    async def _settle(self, workspace_id: str, row: Workspace | None, known: Standing) -> None:
        """Has the store say what the configuration says, where something follows from it."""
        if known.source == "api" or known.paid == (row is None or row.paid):
            return
        now = self._clock()
        if known.source == "default":
            await self._store.delete_workspace(workspace_id, actor=ACTOR, now=now)
        else:
            await self._put(workspace_id, "config", known.paid, None, now, now, ACTOR)

    async def _put(
        self,
        workspace_id: str,
        source: Literal["platform", "api", "config"],
        paid: bool,
        max_domains: int | None,
        now: float,
        fresh_until: float,
        actor: str,
    ) -> Workspace:
        said = Workspace(
            workspace_id=workspace_id,
            paid=paid,
            max_domains=max_domains,
            source=source,
            fresh_until=fresh_until,
            checked_at=now,
        )
        async with self._deciding:
            before = await self._store.workspace(workspace_id)
            if before is not None and before.source == "api" and source != "api":
                return before  # it came while the platform was being asked
            row = await self._store.put_workspace(said, actor=actor, now=now)
        if (before is None or before.paid) and not paid:
            log.warning("a workspace does not pay", workspace=workspace_id, says=source)
        elif before is not None and paid and not before.paid:
            log.info("a workspace pays again", workspace=workspace_id, says=source)
            self._wake.set()
        return row

    # What follows

    async def run(self) -> None:
        """Until cancelled. Raises StateError."""
        while True:
            self._wake.clear()
            more = await self.review()
            more = await self.apply() or more
            with anyio.move_on_after(PAUSE_SECONDS if more else await self._until_next()):
                await self._wake.wait()

    async def _until_next(self) -> float:
        """Seconds until the next grace time ends, LOOK_SECONDS at most."""
        now, grace = self._clock(), self._terms.grace
        since = await self._store.next_unpaid(now - grace)
        return LOOK_SECONDS if since is None else min(max(since + grace - now, LEAST_SECONDS), LOOK_SECONDS)

    async def review(self) -> bool:
        """Looks at a page of the workspaces that have domains, and asks about those where it is time to; whether there are
        more. While the platform is in trouble nobody else is asked about."""
        found = await self._store.workspaces_with_domains(PAGE, self._after)
        due = [workspace_id for workspace_id, row in found if self._is_due(workspace_id, row)]
        for at in range(0, len(due), CONNECTIONS):
            some = due[at : at + CONNECTIONS]
            standings = await asyncio.gather(*(self.standing(each) for each in some))
            if any(standing.trouble for standing in standings):
                self._after = some[-1]  # the next round begins behind them: one that always fails keeps nobody waiting
                return False
        self._after = found[-1][0] if len(found) == PAGE else ""
        return len(found) == PAGE

    def _is_due(self, workspace_id: str, row: Workspace | None) -> bool:
        known = without_asking(workspace_id, row, self._config)
        if known is not None:
            return known.source != "api" and known.paid != (row is None or row.paid)
        now = self._clock()
        if row is None or not row.paid or row.source != "platform":
            return not counts(row, now)
        return not counts(row, now) and not row.checked_at <= now < row.checked_at + REVIEW_SECONDS

    async def apply(self) -> bool:
        """Does what follows, for a page of domains of each kind; whether there may be more."""
        async with self._deciding:
            now, grace = self._clock(), self._terms.grace
            certain_at, never = now - STALE_SECONDS, now - self._terms.remove_after
            back = await self._store.suspended_domains_of_paid(PAGE, since=now - grace)
            for domain in back:
                await self._apply(None, domain, now)
            if back:
                self._wake_looks()
            pages = [len(back)]
            for suspended in (False, True):
                found = await self._store.domains_of_unpaid(
                    PAGE, suspended=suspended, since=now - grace, suspended_before=never, certain_at=certain_at
                )
                for domain, workspace in found:
                    await self._apply(workspace, domain, now)
                pages.append(len(found))
        return PAGE in pages

    async def _apply(self, workspace: Workspace | None, domain: Domain, now: float) -> None:
        event = follows(workspace, domain, now, self._terms)
        if event is None:
            return
        if event is Event.REMOVED:
            await self._remove(domain, now)
            return
        after, emits = moved(domain, event, now), next_move(domain.state, event).emits
        detail = f"{domain.state.value} to {after.state.value}"
        done = await self._store.advance_domain(
            domain, after, emits=emits, action="domain.state", detail=detail, actor=ACTOR, now=now
        )
        if done is not None:
            log.info("domain", domain=domain.hostname, state=after.state.value, was=domain.state.value)
            if emits:
                events.publish(emits, hostname=domain.hostname, workspace_id=domain.workspace_id)

    async def _remove(self, domain: Domain, now: float) -> None:
        """For good: it could have been brought back all the time that it was suspended."""
        if await self._store.withdraw_domain(domain, actor=ACTOR, now=now, final_at=now) is None:
            return
        keep_keys = served_unregistered(domain.hostname, self._config)
        for removal in await self._store.removals_of(domain.hostname):
            if removal.final_at <= now:
                await self._store.end_removal(removal, keep_keys=keep_keys, now=now)
        events.publish("domain.removed", hostname=domain.hostname, workspace_id=domain.workspace_id)


_SAYS: dict[Source, str] = {
    "api": ", as was set by the API: PUT /api/v1/infrastructure/workspaces/ID changes it.",
    "config": ": entitlement.static does not list it.",
    "platform": ", says the platform.",
    "default": ".",
}
