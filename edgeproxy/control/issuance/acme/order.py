"""One order at one CA, from newOrder to the certificate (RFC 8555 section 7.4).

What the CA says of the order decides what comes next, not what we remember of it. So an order is continued after a crash
exactly as it is gone through the first time; we only have to remember its URL and the certificate's key.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable

import structlog
from acme import messages

from edgeproxy.control.issuance.acme.account import Account
from edgeproxy.control.issuance.acme.chains import alternates, is_preferred, top_issuer
from edgeproxy.control.issuance.acme.challenges import choose
from edgeproxy.control.issuance.acme.polling import next_delay
from edgeproxy.control.issuance.acme.problems import CaRefused, refusal
from edgeproxy.control.issuance.acme.transport import Answer, Sleep, Transport
from edgeproxy.control.issuance.acme.wire import Account as AccountAnswer
from edgeproxy.control.issuance.acme.wire import AnswerType, Authorization, Challenge, Order, OrderList, read
from edgeproxy.control.issuance.certificates import Issued, PrivateKey, checked_chain, signing_request
from edgeproxy.control.issuance.issuer import Progress
from edgeproxy.errors import Fault, IssuanceError

log = structlog.get_logger("issuance")

VALIDATION_TIME = 120.0
"""Seconds that a CA may take to validate a name."""

FINALIZE_TIME = 120.0
"""Seconds that a CA may take to sign."""

AGAIN = 1.0
"""Seconds until a certificate that cannot be used is asked for once more."""

CHAIN_TYPE = "application/pem-certificate-chain"

_LISTED_ORDERS = 20
_LISTED_PAGES = 10
_OPEN = frozenset(("pending", "ready", "processing"))

Show = Callable[[Challenge], Awaitable[None]]
"""Serves the answer to a challenge; returns when every worker would give it."""


class OrderGone(IssuanceError):
    """The CA no longer has the order, or it failed before: a new one is needed."""


class Ordering:
    """Orders for one hostname under one account."""

    def __init__(self, transport: Transport, account: Account, name: str, *, profile: str, sleep: Sleep) -> None:
        self._transport = transport
        self._account = account
        self._name = name
        self._profile = profile
        self._sleep = sleep

    async def create(self, replaces: str = "") -> tuple[str, Order]:
        """Makes an order; its URL and first state. Raises CaRefused. `replaces` is the identifier of the certificate whose
        place the new one takes (RFC 9773 section 5).

        Where the answer gets lost, the order that the CA may have made is looked for before another one is asked for.
        """
        directory = await self._transport.directory()
        if self._profile and self._profile not in directory.meta.profiles:
            offered = ", ".join(sorted(directory.meta.profiles)[:10]) or "none"
            raise IssuanceError(
                f"The CA has no profile {self._profile!r}; it offers {offered}. Change issuance.profile.",
                fault=Fault.OPERATOR,
                retryable=False,
            )
        identifier = messages.Identifier(typ=messages.IDENTIFIER_FQDN, value=self._name)
        # a tuple: josepy compares and hashes messages
        request = messages.NewOrder(identifiers=(identifier,), profile=self._profile or None).to_json()
        if replaces:
            request["replaces"] = replaces
        try:
            answer = await self._new(request, resend=False)
        except CaRefused as error:
            if error.problem != "lost":
                raise
            found = await self.find()
            if found is not None:
                return found
            answer = await self._new(request)
        if not answer.location:
            raise CaRefused("The CA made an order but did not say where.", problem="malformed", status=answer.status)
        try:
            return answer.location, read(answer.body, Order)
        except IssuanceError:  # the order is there all the same
            return answer.location, await self.fetch(answer.location)

    async def find(self) -> tuple[str, Order] | None:
        """An unfinished order for this name, where the CA lists an account's orders (Let's Encrypt does not)."""
        account = read((await self._post(self._account.kid, None)).body, AccountAnswer)
        page, urls = account.orders, list[str]()
        for _ in range(_LISTED_PAGES):
            if not page:
                break
            answer = await self._post(page, None)
            urls += read(answer.body, OrderList).orders
            page = answer.next
        for url in reversed(urls[-_LISTED_ORDERS:]):
            order = read((await self._post(url, None)).body, Order)
            if order.status in _OPEN and [identifier.value for identifier in order.identifiers] == [self._name]:
                return url, order
        return None

    async def fetch(self, url: str) -> Order:
        """The state of an order made earlier; OrderGone where the CA does not have it any more."""
        try:
            return await self._get(url, Order)
        except CaRefused as error:
            if error.about_the_ca or error.problem in ("rateLimited", "accountDoesNotExist", "userActionRequired"):
                raise
            raise OrderGone(f"The CA does not have the order for {self._name} any more.") from None

    async def validate(self, order: Order, preferred: tuple[str, ...], show: Show, progress: Progress) -> bool:
        """Has every pending authorization of the order validated. False where none was pending. Raises CaRefused with the
        CA's reason; its problem is "unsupportedChallenge" where it offers none of `preferred`, and the order is as it was.

        `preferred` are the challenges to use, best first.
        """
        asked = False
        for url in order.authorizations:
            authorization = await self._get(url, Authorization)
            if authorization.status == "valid":
                continue
            challenge = choose(authorization, preferred)
            if authorization.status != "pending":
                raise self._failed(authorization)
            if challenge is None:
                offered = ", ".join(sorted({challenge.type for challenge in authorization.challenges})[:10])
                raise CaRefused(
                    f"The CA does not offer {' or '.join(preferred)} for {self._name}, but {offered or 'nothing'}.",
                    problem="unsupportedChallenge",
                    fault=Fault.OPERATOR,
                    retryable=False,
                    challenge=preferred[0],
                )
            asked = True
            if challenge.type == "dns-01":  # until resolvers see the record minutes may pass
                progress(f"The record of {self._name} for dns-01 is put into the DNS")
            await show(challenge)
            progress(f"The CA checks {self._name} by {challenge.type}")
            if challenge.status == "pending":
                await self._tell(url, challenge)
            await self._validated(url)
        return asked

    async def finalize(self, url: str, order: Order, key: PrivateKey, progress: Progress) -> Order:
        """Sends the certificate request where that is still to be done, and waits until the certificate is there."""
        began, pause, lost = self._transport.monotonic(), 0.0, False
        while order.status != "valid" or not order.certificate:
            if order.status == "ready":
                progress("The CA signs the certificate")
                try:
                    order = await self._send_request(order, key)
                except CaRefused as error:
                    # It may have been taken all the same; the order itself will tell.
                    if error.problem != "lost" or lost:
                        raise
                    order, lost = Order(status="processing"), True
                if order.status == "valid" and order.certificate:
                    break
            elif order.status not in _OPEN | {"valid"}:
                raise self._invalid(order)
            delay = next_delay(self._transport.monotonic() - began, pause, FINALIZE_TIME)
            if delay is None:
                raise self._too_slow("sign the certificate for", FINALIZE_TIME)
            await self._sleep(delay)
            answer = await self._post(url, None)
            order, pause = read(answer.body, Order), answer.retry_after
        return order

    async def download(self, order: Order, key: PrivateKey, now: float, preferred: str = "") -> Issued:
        """The certificate of a valid order, checked, with the chain to the root `preferred` where the CA has that. One that
        cannot be used is asked for once more: the answer may have been damaged on its way, and a further order would count
        against the CA's limits."""
        try:
            return await self._checked(order, key, now, preferred)
        except CaRefused:
            raise
        except IssuanceError:
            await self._sleep(AGAIN)
        try:
            return await self._checked(order, key, now, preferred)
        except CaRefused:
            raise
        except IssuanceError as error:
            raise CaRefused(error.detail, problem="unusable", status=200) from None

    async def _checked(self, order: Order, key: PrivateKey, now: float, preferred: str) -> Issued:
        answer = await self._chain(order.certificate)
        issued = checked_chain(answer.body, key, self._name, now)
        if not preferred or is_preferred(issued.chain, preferred):
            return issued
        offered = [top_issuer(issued.chain)]
        for url in alternates(answer.headers.get("link", "")):
            try:
                other = checked_chain((await self._chain(url)).body, key, self._name, now)
            except IssuanceError as error:  # the first chain is there, and good
                log.warning("a further chain of a certificate cannot be used", hostname=self._name, detail=error.detail)
                continue
            if is_preferred(other.chain, preferred):
                return other
            offered.append(top_issuer(other.chain))
        log.warning(
            "the CA has no chain to the root of issuance.preferred_chain; its usual chain is served",
            hostname=self._name,
            preferred_chain=preferred,
            offered=offered,
        )
        return issued

    async def _chain(self, url: str) -> Answer:
        return await self._post(url, None, accept=CHAIN_TYPE)

    async def _send_request(self, order: Order, key: PrivateKey) -> Order:
        csr = messages.CertificateRequest(csr=signing_request(key, (self._name,)))
        try:
            answer = await self._post(order.finalize, csr.to_json(), resend=False)
        except CaRefused as error:
            if error.problem != "orderNotReady":  # taken already, or not ready yet
                raise
            return Order(status="processing")
        try:
            return read(answer.body, Order)
        except IssuanceError:  # taken; the order itself will tell
            return Order(status="processing")

    async def _tell(self, url: str, challenge: Challenge) -> None:
        """Tells the CA to look. Where its answer gets lost, the authorization shows whether it was told."""
        try:
            await self._post(challenge.url, {}, resend=False)
        except CaRefused as error:
            if error.problem != "lost":
                raise
            seen = choose(await self._get(url, Authorization), (challenge.type,))
            if seen is not None and seen.status == "pending":
                await self._post(challenge.url, {})

    async def _validated(self, url: str) -> None:
        began, pause = self._transport.monotonic(), 0.0
        while (delay := next_delay(self._transport.monotonic() - began, pause, VALIDATION_TIME)) is not None:
            await self._sleep(delay)
            answer = await self._post(url, None)
            authorization, pause = read(answer.body, Authorization), answer.retry_after
            if authorization.status == "valid":
                return
            if authorization.status != "pending":
                raise self._failed(authorization)
        raise self._too_slow("validate", VALIDATION_TIME)

    async def _get(self, url: str, kind: type[AnswerType]) -> AnswerType:
        return read((await self._post(url, None)).body, kind)

    async def _post(self, url: str, payload: dict[str, object] | None, *, accept: str = "", resend: bool = True) -> Answer:
        return await self._transport.post(
            url, payload, self._account.key, self._account.kid, about=self._name, accept=accept, resend=resend
        )

    async def _new(self, request: dict[str, object], *, resend: bool = True) -> Answer:
        return await self._transport.post_new(
            "new_order", request, self._account.key, self._account.kid, about=self._name, resend=resend
        )

    def _failed(self, authorization: Authorization) -> CaRefused:
        for challenge in authorization.challenges:
            if challenge.error is not None:
                return refusal(challenge.error, name=self._name, challenge=challenge.type)
        return CaRefused(
            f"The CA's authorization for {self._name} is {authorization.status[:30]}.", problem="authorization", status=400
        )

    def _invalid(self, order: Order) -> IssuanceError:
        if order.error is not None:
            return refusal(order.error, name=self._name)
        return OrderGone(f"The CA's order for {self._name} is {order.status[:30]}; another one is made when it is tried again.")

    def _too_slow(self, what: str, limit: float) -> CaRefused:
        return CaRefused(
            f"The CA did not {what} {self._name} within {round(limit)} s; it is tried again.", problem="slow", status=200
        )
