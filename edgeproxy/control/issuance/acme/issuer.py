"""The issuer for ACME CAs: one order per name, kept in the store, by one challenge after another."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
from collections.abc import Callable

import httpx2
import msgspec
import structlog

from edgeproxy.config.structs import Config
from edgeproxy.control.issuance.acme import challenges
from edgeproxy.control.issuance.acme.account import Account, Accounts
from edgeproxy.control.issuance.acme.challenges import AnswerFailed, NotApplicable
from edgeproxy.control.issuance.acme.order import OrderGone, Ordering
from edgeproxy.control.issuance.acme.permission import Permission
from edgeproxy.control.issuance.acme.problems import CaRefused
from edgeproxy.control.issuance.acme.renewalinfo import identifier, read_suggestion, refuses_to_replace
from edgeproxy.control.issuance.acme.solving import Solving
from edgeproxy.control.issuance.acme.transport import Sleep, Transport
from edgeproxy.control.issuance.acme.trials import NOT_OFFERED, Trail, Trials, read_trail
from edgeproxy.control.issuance.acme.wire import Challenge
from edgeproxy.control.issuance.acme.wire import Order as OrderState
from edgeproxy.control.issuance.ahead import awaits_cutover
from edgeproxy.control.issuance.certificates import Issued, KeyType, PrivateKey, key_made, key_pem, kind_of, load_key
from edgeproxy.control.issuance.issuer import Begin, NotNow, Progress, Published
from edgeproxy.control.issuance.renewal import Suggestion
from edgeproxy.control.store import Order as OrderRow
from edgeproxy.control.store import Store
from edgeproxy.errors import EdgeError, Fault, IssuanceError
from edgeproxy.published.seal import Sealer

EARLY = 5.0
"""Seconds by which a renewed certificate may lie in the future and be served all the same: no two clocks are equal."""

log = structlog.get_logger("issuance")


class AcmeIssuer:
    """Issues through the ACME directory of the configuration. Fulfils `Issuer`."""

    begin: Begin | None = None

    def __init__(
        self,
        config: Config,
        store: Store,
        publisher: Published,
        sealer: Sealer,
        clock: Callable[[], float],
        *,
        fallback: bool = False,
        network: httpx2.AsyncBaseTransport | None = None,
        monotonic: Callable[[], float] | None = None,
        sleep: Sleep = asyncio.sleep,
    ) -> None:
        """`sealer` has the map's key, `clock` gives Unix time. A `fallback` need not offer the profile that is configured. The
        rest replaces network and time in tests."""
        self._fallback = fallback
        self.directory = config.issuance.directory
        self.wildcards = challenges.proves_wildcards(config)
        self._config = config
        self._store = store
        self._clock = clock
        self._sleep = sleep
        monotonic = monotonic or asyncio.get_running_loop().time
        self._transport = Transport(self.directory, config.issuance.ca_bundle, clock, monotonic, network, sleep)
        self._accounts = Accounts(config, store, self._transport, clock)
        self._permission = Permission(config.dns.resolvers)
        self._solving = Solving(config, store, publisher, sealer, clock, self._transport, self._accounts, sleep)

    @property
    def replaces(self) -> bool:
        """See `Issuer`."""
        directory = self._transport.known_directory
        return directory is not None and bool(directory.renewal_info)

    async def suggests(self) -> bool:
        """See `Issuer`."""
        return bool((await self._transport.directory()).renewal_info)

    async def suggestion(self, chain: bytes) -> Suggestion | None:
        """See `Issuer`."""
        base, known = (await self._transport.directory()).renewal_info, identifier(chain)
        if not base or not known:
            return None
        answer = await self._transport.get(f"{base.rstrip('/')}/{known}")
        return read_suggestion(answer.body, answer.retry_after)

    async def prepare(self) -> None:
        """Connects, and makes the account if there is none: the first visitor then waits less. Removes DNS records that an
        earlier process left. Raises IssuanceError."""
        await self._permission.prepare()
        await self._transport.prepare()
        await self._accounts.get()
        await self._solving.sweep()

    async def issue(self, name: str, progress: Progress, key_type: KeyType | None = None) -> Issued:
        """See `Issuer`. Challenges are tried in the order of preference until one works; those that cannot be used for the
        name, as things stand, are passed over. When none is left, the error tells each with its reason."""
        self._refuse_impossible(name)
        key_type = key_type or self._config.tls.key_type
        row = await self._unfinished(name, key_type)
        worked = await self._worked(name)
        kinds = challenges.preference(self._config.issuance.challenges, name, worked)
        trials = Trials(name, kinds, read_trail(row.data) if row is not None else Trail())
        if await awaits_cutover(self._store, name):
            for kind in challenges.BY_ADDRESS:
                trials.bar(kind, NotApplicable("The name does not lead here yet."))
        try:
            if row is None or row.step == "wanted":
                for kind in set(kinds) - set(await self._permitted(name, kinds)):
                    trials.bar(kind, NotApplicable("A CAA record of the name does not allow it (validationmethods)."))
            issued = await self._try(name, row, trials, progress, key_type)
        except BaseException as error:
            if isinstance(error, IssuanceError):
                await self._keep_wish(name, error, trials, key_type)
            # whatever happened, also when this process is being stopped
            with contextlib.suppress(asyncio.CancelledError):
                await asyncio.shield(self._solving.hide_or_say(name))
            raise
        return issued if issued.challenge else dataclasses.replace(issued, challenge=worked)

    async def _keep_wish(self, name: str, error: IssuanceError, trials: Trials, key_type: KeyType) -> None:
        """Where the CA itself is in the way, the name gets its certificate once it is well again, without another visitor."""
        if not (error.order_lives if isinstance(error, CaRefused) else error.code == "ca_malformed"):
            return
        try:
            if await self._store.order_for(name) is None:
                await self._save(name, "", "wanted", await key_made(key_type), trials.trail())
        except EdgeError as trouble:  # what is on its way must not be covered by this
            log.error("a name that waits for the CA could not be noted", hostname=name, detail=trouble.detail)

    async def _try(self, name: str, row: OrderRow | None, trials: Trials, progress: Progress, key_type: KeyType) -> Issued:
        """One challenge after the other. An order goes on with the next one where the CA has not looked yet; once a
        challenge has failed there, the order is over (RFC 8555 section 7.1.6) and another one is needed."""
        known_gone = False
        while (kind := trials.next) is not None:
            over, said = True, "failed"
            try:
                await self._solving.check(kind, name)
                async with self._accounts.in_use():
                    return await self._attempt(name, row, trials, progress, key_type)
            except OrderGone:
                if row is None or known_gone:
                    await self._store.delete_order(name)
                    raise
                known_gone = True
            except (NotApplicable, AnswerFailed) as error:
                trials.failed(error)
                over, said = False, "cannot be used"
            except CaRefused as error:
                if not trials.failed(error):
                    if not error.order_lives:
                        await self._store.delete_order(name)
                    raise
                over = error.problem != NOT_OFFERED
            if over:
                await self._store.delete_order(name)
            if trials.next not in (None, kind):
                progress(f"{kind} {said}; trying {trials.next}")
                await self._solving.hide_or_say(name)
            row = await self._unfinished(name, key_type)
        if row is not None:  # still good: the next try begins with all challenges again
            await self._store.save_order(msgspec.structs.replace(row, data=b""), self._clock())
        raise trials.error()

    async def settled(self, name: str) -> None:
        """See `Issuer`."""
        await self._store.delete_order(name)
        await self._solving.hide(name)
        await self._solving.sweep_at_times()

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

    async def account(self) -> tuple[str, tuple[str, ...]]:
        """See `Issuer`."""
        row = await self._store.account(self.directory)
        return "" if row is None else row.url, self._solving.known_issuers()

    async def close(self) -> None:
        """See `Issuer`."""
        await self._transport.close()

    def _refuse_impossible(self, name: str) -> None:
        if name.startswith("*.") and not self.wildcards:
            raise IssuanceError(
                f'A wildcard certificate for {name} needs the DNS-01 challenge. Have "dns-01" in issuance.challenges and set '
                "dns.zone or dns.rfc2136; or register the names one by one, or use the built-in CA "
                '(issuance.directory = "internal").',
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

    async def _unfinished(self, name: str, key_type: KeyType) -> OrderRow | None:
        row = await self._store.order_for(name)
        if row is None:
            return None
        # one of the other kind was for the certificate beside this one, or for a setting that has changed
        if row.directory != self.directory or not row.key or kind_of(load_key(row.key)) != key_type:
            await self._store.delete_order(name)
            return None
        return row

    async def _worked(self, name: str) -> str:
        """The challenge by which the name's last certificate was obtained; empty where there is none or nobody knows."""
        known = await self._store.current_certificate(name)
        return known.challenge if known is not None and name in known.names else ""

    async def _attempt(self, name: str, row: OrderRow | None, trials: Trials, progress: Progress, key_type: KeyType) -> Issued:
        """One order from its beginning, or from where `row` says that it was left, by the challenge that is next."""
        account = await self._accounts.get()
        try:
            issued = await self._order(account, name, row, trials, progress, key_type)
        except CaRefused as error:
            if not error.about_the_account:
                raise
            account = await self._accounts.again(account, error)
        else:
            self._accounts.accepted()
            return issued
        # an account that is gone took its orders with it
        return await self._order(account, name, None, trials, progress, key_type)

    async def _order(
        self, account: Account, name: str, row: OrderRow | None, trials: Trials, progress: Progress, key_type: KeyType
    ) -> Issued:
        ordering = Ordering(self._transport, account, name, profile=await self._profile(), sleep=self._sleep)
        trail, found = trials.trail(), None
        if row is None:
            key = await key_made(key_type)
        else:
            progress("Continuing the order that was begun before")
            key = load_key(row.key)
            if row.step != "wanted":
                found = await (ordering.find() if not row.url else self._known(ordering, row.url))
        if found is None:
            progress("Ordering the certificate")
            try:
                row, found = await self._place(ordering, name, key, trail)
            except NotNow:
                if trail.failed:  # so that the next try goes on with this challenge
                    await self._save(name, "", "wanted", key, trail)
                raise
            except CaRefused as error:
                if not error.may_have_been_taken:  # so that the next try need not look for it
                    await self._save(name, "", "wanted", key, trail)
                raise
        if row is None or found[0] != row.url or trail.pack() != row.data:
            await self._save(name, found[0], "ordered", key, trail)
        return await self._complete(ordering, name, found, key, trail.kind, account, progress)

    async def _place(
        self, ordering: Ordering, name: str, key: PrivateKey, trail: Trail
    ) -> tuple[OrderRow, tuple[str, OrderState]]:
        """A new order; it says which certificate it replaces where the CA wants to know, and takes that."""
        replaces = await self._replaced(name, kind_of(key))
        row = await self._save(name, "", "new", key, trail, replaces=bool(replaces))
        try:
            return row, await ordering.create(replaces)
        except CaRefused as error:
            if not replaces or not refuses_to_replace(error):
                raise
            log.info("the CA does not let an order replace a certificate; it is asked again without", hostname=name)
        await self._save(name, "", "wanted", key, trail)
        row = await self._save(name, "", "new", key, trail)
        return row, await ordering.create()

    async def _replaced(self, name: str, kind: str) -> str:
        """The identifier of the certificate whose place an order for a name takes; empty where there is none, or the CA does
        not ask."""
        if not (await self._transport.directory()).renewal_info:
            return ""
        known = await self._store.current_certificate(name)
        if known is None or known.names != (name,):
            return ""
        # of the two that stand beside each other the one with the same kind of key
        replaced = known.companion if kind.startswith("rsa") and known.key_type.startswith("p") else known
        return identifier(replaced.chain) if replaced is not None and replaced.issuer == self.directory else ""

    async def _complete(
        self,
        ordering: Ordering,
        name: str,
        found: tuple[str, OrderState],
        key: PrivateKey,
        kind: str,
        account: Account,
        progress: Progress,
    ) -> Issued:
        url, order = found

        async def show(challenge: Challenge) -> None:
            await self._solving.show(name, challenge, account)

        if order.status == "pending":
            if not await ordering.validate(order, (kind,), show, progress):
                kind = ""  # the CA knew from before that the name is ours
            order = OrderState(status="ready", finalize=order.finalize)
        order = await ordering.finalize(url, order, key, progress)
        issued = await ordering.download(order, key, self._clock(), self._config.issuance.preferred_chain)
        await self._refuse_early(name, issued)
        return dataclasses.replace(issued, challenge=kind)

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

    async def _profile(self) -> str:
        """The profile to order by; a fallback that does not offer the one that is configured is asked without."""
        profile = self._config.issuance.profile
        if profile and self._fallback and profile not in (await self._transport.directory()).meta.profiles:
            return ""
        return profile

    async def _known(self, ordering: Ordering, url: str) -> tuple[str, OrderState]:
        order = await ordering.fetch(url)
        if order.status not in ("pending", "ready", "processing", "valid"):
            raise OrderGone(f"The CA's order is {order.status[:30]}.")
        return url, order

    async def _save(self, name: str, url: str, step: str, key: PrivateKey, trail: Trail, *, replaces: bool = False) -> OrderRow:
        now = self._clock()
        row = OrderRow(
            hostname=name,
            directory=self.directory,
            url=url,
            step=step,
            key=key_pem(key),
            data=trail.pack(),
            started_at=now,
        )
        if step == "new" and self.begin is not None:
            await self.begin(row, replaces)
        else:
            await self._store.save_order(row, now)
        return row
