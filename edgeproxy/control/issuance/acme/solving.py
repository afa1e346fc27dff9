"""Answers challenges: where each is answered, whether it can be for a name, and that nothing of it stays behind."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence

import structlog

from edgeproxy.config.structs import Config
from edgeproxy.control.dns.lookup import DnsUnavailable, Lookup
from edgeproxy.control.issuance.acme import challenges, persist
from edgeproxy.control.issuance.acme.account import Account, Accounts
from edgeproxy.control.issuance.acme.challenges import NotApplicable, checked_token, hindrance
from edgeproxy.control.issuance.acme.dns01 import Dns01, TxtRecords, record_value
from edgeproxy.control.issuance.acme.problems import CaRefused
from edgeproxy.control.issuance.acme.transport import Sleep, Transport
from edgeproxy.control.issuance.acme.trials import NOT_OFFERED
from edgeproxy.control.issuance.acme.wire import Challenge
from edgeproxy.control.issuance.issuer import Published, until_published
from edgeproxy.control.store import Store
from edgeproxy.errors import EdgeError
from edgeproxy.published.seal import Sealer

log = structlog.get_logger("issuance")

HIDE_TIME = 5.0
"""Seconds that removing may take where somebody waits for its end; what is left then is removed later."""


SWEEP_SECONDS = 3_600.0
"""Between two looks for records that could not be removed when they should have been."""


class Solving:
    """For one CA. One issuance per name at a time."""

    def __init__(
        self,
        config: Config,
        store: Store,
        publisher: Published,
        sealer: Sealer,
        clock: Callable[[], float],
        transport: Transport,
        accounts: Accounts,
        sleep: Sleep,
    ) -> None:
        self._config = config
        self._store = store
        self._publisher = publisher
        self._sealer = sealer
        self._clock = clock
        self._transport = transport
        self._accounts = accounts
        self._dns = Dns01(config, store, publisher, clock, sleep=sleep)
        self._lookup = Lookup(config.dns.resolvers)
        self._places: dict[str, TxtRecords] = {}
        self._issuers: tuple[str, ...] = ()
        self._swept_at = clock()

    async def check(self, kind: str, name: str) -> None:
        """Raises NotApplicable where a challenge cannot be used for a name, before the CA is asked for an order."""
        if (reason := hindrance(kind, self._config)) is not None:
            raise reason
        if kind == "dns-01":
            self._places[name] = await self._dns.place_for(name)
        elif kind == "dns-persist-01":
            await self._seen(name, await self.issuers(), (await self._accounts.get()).kid)

    async def issuers(self) -> tuple[str, ...]:
        """The CA's issuer domain names, as far as it has told them: in a challenge, else in its directory."""
        if not self._issuers:
            self._issuers = (await self._transport.directory()).meta.caa_identities[: persist.ISSUERS]
        return self._issuers

    def known_issuers(self) -> tuple[str, ...]:
        """The same, as far as somebody has asked for them."""
        return self._issuers

    async def show(self, name: str, challenge: Challenge, account: Account) -> None:
        """Gives the answer to a challenge that `check` found usable. Returns when whoever the CA asks has it.

        Raises CaRefused for a malformed challenge, NotApplicable, or an error of the place where the answer is put."""
        if challenge.type == "dns-persist-01":
            issuers = persist.issuers_of(challenge, await self.issuers())
            if not issuers:
                raise CaRefused(
                    "The CA's challenge has no usable issuer domain name.", problem=NOT_OFFERED, challenge=challenge.type
                )
            self._issuers = issuers
            await self._seen(name, issuers, challenge.accounturi or account.kid)
            return
        authorization = account.key_authorization(checked_token(challenge))
        if challenge.type == "dns-01":
            place = self._places.get(name) or await self._dns.place_for(name)
            await self._dns.put(place, name, record_value(authorization))
            return
        key, record = challenges.answer(challenge, name, authorization, self._sealer, self._clock())
        await until_published(self._publisher, await self._store.put_challenge(key, record, self._clock()))

    async def hide(self, name: str) -> None:
        """Removes the answers for a name, those of an earlier process too."""
        self._places.pop(name, None)
        await self._store.delete_challenges(name, self._clock())
        await self._dns.clear(name)

    async def hide_or_say(self, name: str) -> None:
        """The same where another error is on its way and must not be covered by one of this."""
        try:
            async with asyncio.timeout(HIDE_TIME):
                await self.hide(name)
        except EdgeError as error:
            log.error("the answer to a challenge could not be removed", hostname=name, detail=error.detail)
        except TimeoutError:
            log.error("the answer to a challenge could not be removed yet", hostname=name, seconds=HIDE_TIME)

    async def sweep_at_times(self) -> None:
        """`sweep` where none was for SWEEP_SECONDS; what goes wrong is logged."""
        if self._clock() - self._swept_at < SWEEP_SECONDS:
            return
        try:
            await self.sweep()
        except EdgeError as error:
            log.warning("DNS records that are no longer needed could not be removed yet", detail=error.detail)

    async def sweep(self) -> None:
        """Removes what was left for names that have no order under way: by earlier processes, or because it could not be
        removed when it should have been."""
        self._swept_at = self._clock()

        async def under_way(name: str) -> bool:
            return await self._store.order_for(name) is not None

        await self._dns.sweep(under_way)

    async def _seen(self, name: str, issuers: Sequence[str], account: str) -> None:
        """Raises NotApplicable unless the name has its persistent record."""
        where, wildcard = persist.record_name(name), name.startswith("*.")
        wanted = persist.record_value(issuers[0] if issuers else "<the CA's domain>", account, wildcard=wildcard)
        cure = f'Its owner must set {where} to TXT "{wanted}".'
        try:
            records = await self._lookup.txt(where)
        except DnsUnavailable as error:
            raise NotApplicable(f"Whether {where} is set cannot be seen. {error.detail} {cure}", fault=error.fault) from None
        # the CA's own names come with its challenge, where its directory does not tell them
        names = issuers or tuple(record.partition(";")[0].strip() for record in records)
        faults = [persist.fault_of(record, names, account, wildcard=wildcard, now=self._clock()) for record in records]
        if None in faults:
            return
        # of several records the one that is meant for our account says most
        wrong = min((fault for fault in faults if fault), key=lambda fault: fault == persist.OTHER_ACCOUNT, default="")
        raise NotApplicable(f"{where} is there, but {wrong}. {cure}" if wrong else f"{where} is not set. {cure}")
