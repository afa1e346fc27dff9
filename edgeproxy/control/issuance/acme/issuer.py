"""The issuer for ACME CAs: one order per name, kept in the store, by one challenge after another."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable

import httpx2
import structlog

from edgeproxy.config.structs import Config
from edgeproxy.control.issuance.acme import challenges
from edgeproxy.control.issuance.acme.account import Account, Accounts
from edgeproxy.control.issuance.acme.order import OrderGone, Ordering
from edgeproxy.control.issuance.acme.permission import Permission
from edgeproxy.control.issuance.acme.problems import CaRefused
from edgeproxy.control.issuance.acme.transport import Sleep, Transport
from edgeproxy.control.issuance.acme.wire import Challenge
from edgeproxy.control.issuance.acme.wire import Order as OrderState
from edgeproxy.control.issuance.certificates import Issued, PrivateKey, key_pem, load_key, new_key
from edgeproxy.control.issuance.issuer import Progress, Published, until_published
from edgeproxy.control.store import Order as OrderRow
from edgeproxy.control.store import Store
from edgeproxy.errors import EdgeError, Fault, IssuanceError
from edgeproxy.published.seal import Sealer

log = structlog.get_logger("issuance")


EARLY = 5.0
"""Seconds by which a renewed certificate may lie in the future and be served all the same: no two clocks are equal."""


class AcmeIssuer:
    """Issues through the ACME directory of the configuration. Fulfils `Issuer`."""

    wildcards = False  # they need DNS-01

    def __init__(
        self,
        config: Config,
        store: Store,
        publisher: Published,
        sealer: Sealer,
        clock: Callable[[], float],
        *,
        network: httpx2.AsyncBaseTransport | None = None,
        monotonic: Callable[[], float] | None = None,
        sleep: Sleep = asyncio.sleep,
    ) -> None:
        """`sealer` has the map's key, `clock` gives Unix time. The rest replaces network and time in tests."""
        self.directory = config.issuance.directory
        self._config = config
        self._store = store
        self._publisher = publisher
        self._sealer = sealer
        self._clock = clock
        self._sleep = sleep
        monotonic = monotonic or asyncio.get_running_loop().time
        self._transport = Transport(self.directory, config.issuance.ca_bundle, clock, monotonic, network, sleep)
        self._accounts = Accounts(config, store, self._transport, clock)
        self._permission = Permission(config.dns.resolvers)

    async def prepare(self) -> None:
        """Connects, and makes the account if there is none: the first visitor then waits less. Raises IssuanceError."""
        await self._permission.prepare()
        await self._transport.prepare()
        await self._accounts.get()

    async def issue(self, name: str, progress: Progress) -> Issued:
        """See `Issuer`. Every configured challenge is tried where the CA's complaint depends on the challenge."""
        self._refuse_impossible(name)
        kinds = challenges.preference(self._config.issuance.challenges)
        row = await self._unfinished(name)
        if row is not None and (begun := row.data.decode("ascii", "replace")) in kinds:
            kinds = kinds[kinds.index(begun) :]
        elif row is None:
            kinds = await self._permitted(name, kinds)
        known_gone = False
        try:
            while True:
                try:
                    async with self._accounts.in_use():
                        return await self._attempt(name, row, kinds, progress)
                except OrderGone:
                    if row is None or known_gone:
                        await self._store.delete_order(name)
                        raise
                    known_gone = True
                except CaRefused as error:
                    left = kinds[kinds.index(error.challenge) + 1 :] if error.challenge in kinds else ()
                    if not left or not error.another_challenge_may_help:
                        if not error.order_lives:
                            await self._store.delete_order(name)
                        raise
                    progress(f"{error.challenge} failed; trying {left[0]}")
                    kinds = left
                await self._store.delete_order(name)
                await self._hide(name)
                row = None
        except BaseException:
            # whatever happened, also when this process is being stopped
            with contextlib.suppress(asyncio.CancelledError):
                await asyncio.shield(self._hide_or_say(name))
            raise

    async def settled(self, name: str) -> None:
        """See `Issuer`."""
        await self._store.delete_order(name)
        await self._hide(name)

    async def unsettled(self) -> list[str]:
        """See `Issuer`."""
        names: list[str] = []
        after = ""
        while rows := await self._store.list_orders(after=after):
            names += [row.hostname for row in rows if row.directory == self.directory]
            after = rows[-1].hostname
        return names

    async def roll_over(self) -> None:
        """See `Issuer`."""
        await self._accounts.roll_over()

    async def close(self) -> None:
        """See `Issuer`."""
        await self._transport.close()

    def _refuse_impossible(self, name: str) -> None:
        if name.startswith("*."):
            raise IssuanceError(
                f"A wildcard certificate for {name} needs the DNS-01 challenge, which this version does not have for ACME. "
                'Register the names one by one, or use the built-in CA (issuance.directory = "internal").',
                code="wildcard_unsupported",
                fault=Fault.OPERATOR,
                retryable=False,
            )
        if name == "localhost" or name.endswith(".localhost"):
            raise IssuanceError(
                f'No public CA issues for {name} (RFC 6761). Use the built-in CA (issuance.directory = "internal").',
                fault=Fault.OPERATOR,
                retryable=False,
            )

    async def _permitted(self, name: str, kinds: tuple[str, ...]) -> tuple[str, ...]:
        """The challenges by which CAA records let the CA issue. Raises CaaForbids where there are none."""
        identities = (await self._transport.directory()).meta.caa_identities
        account = (await self._accounts.get()).kid if identities else ""
        return await self._permission.methods(name, kinds, identities, account)

    async def _unfinished(self, name: str) -> OrderRow | None:
        row = await self._store.order_for(name)
        if row is not None and (row.directory != self.directory or not row.key):
            await self._store.delete_order(name)
            return None
        return row

    async def _attempt(self, name: str, row: OrderRow | None, kinds: tuple[str, ...], progress: Progress) -> Issued:
        """One order from its beginning, or from where `row` says that it was left."""
        try:
            account = await self._accounts.get()
        except IssuanceError as error:
            if row is None and error.retryable:  # the CA is away: the order is made once it is back, without another visitor
                await self._want(name, kinds[0])
            raise
        try:
            return await self._order(account, name, row, kinds, progress)
        except CaRefused as error:
            if not error.about_the_account:
                raise
            account = await self._accounts.again(account, error)
        # an account that is gone took its orders with it
        return await self._order(account, name, None, kinds, progress)

    async def _order(
        self, account: Account, name: str, row: OrderRow | None, kinds: tuple[str, ...], progress: Progress
    ) -> Issued:
        ordering = Ordering(self._transport, account, name, profile=self._config.issuance.profile, sleep=self._sleep)
        found = None
        if row is None:
            key = await self._key()
            row = await self._save(name, "", "new", key, kinds[0])
        else:
            progress("Continuing the order that was begun before")
            key = load_key(row.key)
            if row.step != "wanted":
                found = await (ordering.find() if not row.url else self._known(ordering, row.url))
        if found is None:
            progress("Ordering the certificate")
            found = await ordering.create()
        if found[0] != row.url:
            await self._save(name, found[0], "ordered", key, kinds[0])
        return await self._complete(ordering, name, found, key, kinds, account, progress)

    async def _complete(
        self,
        ordering: Ordering,
        name: str,
        found: tuple[str, OrderState],
        key: PrivateKey,
        kinds: tuple[str, ...],
        account: Account,
        progress: Progress,
    ) -> Issued:
        url, order = found

        async def show(challenge: Challenge) -> None:
            await self._show(name, challenge, account)

        if order.status == "pending":
            await ordering.validate(order, kinds, show, progress)
            order = OrderState(status="ready", finalize=order.finalize)
        order = await ordering.finalize(url, order, key, progress)
        issued = await ordering.download(order, key, self._clock())
        await self._refuse_early(name, issued)
        return issued

    async def _refuse_early(self, name: str, issued: Issued) -> None:
        """Leaves a certificate that is not valid yet with the CA, while an older one serves the name well."""
        early = issued.not_before - self._clock()
        present = await self._store.current_certificate(name, issued.not_before) if early > EARLY else None
        if present is not None and present.not_before <= self._clock():
            raise CaRefused(
                f"The CA's new certificate for {name} is valid only in {round(early)} s, by this machine's clock; the present "
                "one is served until then. Look whether this machine's clock is right.",
                problem="early",
                retry_after=early,
                status=200,
            )

    async def _known(self, ordering: Ordering, url: str) -> tuple[str, OrderState]:
        order = await ordering.fetch(url)
        if order.status not in ("pending", "ready", "processing", "valid"):
            raise OrderGone(f"The CA's order is {order.status[:30]}.")
        return url, order

    async def _key(self) -> PrivateKey:
        kind = self._config.tls.key_type
        return await asyncio.to_thread(new_key, kind) if kind == "rsa2048" else new_key(kind)

    async def _want(self, name: str, challenge: str) -> None:
        """Notes a name for which nothing was asked of the CA yet."""
        now = self._clock()
        key, data = key_pem(await self._key()), challenge.encode("ascii")
        row = OrderRow(hostname=name, directory=self.directory, step="wanted", key=key, data=data, started_at=now)
        await self._store.save_order(row, now)

    async def _save(self, name: str, url: str, step: str, key: PrivateKey, challenge: str) -> OrderRow:
        now = self._clock()
        row = OrderRow(
            hostname=name,
            directory=self.directory,
            url=url,
            step=step,
            key=key_pem(key),
            data=challenge.encode("ascii"),
            started_at=now,
        )
        await self._store.save_order(row, now)
        return row

    async def _show(self, name: str, challenge: Challenge, account: Account) -> None:
        """Puts the answer where workers serve it. The CA is told only after every worker can see it."""
        authorization = account.key_authorization(challenge.token)
        key, record = challenges.answer(challenge, name, authorization, self._sealer, self._clock())
        await until_published(self._publisher, await self._store.put_challenge(key, record, self._clock()))

    async def _hide_or_say(self, name: str) -> None:
        """`_hide` where another error is on its way and must not be covered by one of the store's."""
        try:
            await self._hide(name)
        except EdgeError as error:
            log.error("the answer to a challenge could not be removed", hostname=name, detail=error.detail)

    async def _hide(self, name: str) -> None:
        """Removes the answers again, those of an earlier process too."""
        await self._store.delete_challenges(name, self._clock())
