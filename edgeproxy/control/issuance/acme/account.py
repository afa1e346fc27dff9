"""The account at one CA: made once, kept in the store, its key sealed."""

from __future__ import annotations

import asyncio
import dataclasses
import math
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager

import msgspec
import structlog
from acme import messages
from cryptography.hazmat.primitives.asymmetric import ec
from josepy.b64 import b64encode
from josepy.errors import DeserializationError
from josepy.jwk import JWKEC

from edgeproxy.config.structs import Config
from edgeproxy.control.issuance.acme import rollover
from edgeproxy.control.issuance.acme.problems import CaRefused
from edgeproxy.control.issuance.acme.transport import Transport
from edgeproxy.control.issuance.acme.wire import Account as AccountAnswer
from edgeproxy.control.issuance.acme.wire import Directory, read
from edgeproxy.control.issuance.certificates import key_pem, load_key, new_key
from edgeproxy.control.store import Account as AccountRow
from edgeproxy.control.store import Store
from edgeproxy.errors import Fault, IssuanceError

REFUSED_SECONDS = 60.0
"""For how long nothing is asked of a CA that wants something of the account's owner first: terms to be agreed to."""

REPLACED_SECONDS = 86_400.0
"""Seconds between two accounts made because the CA had deactivated the one before."""

log = structlog.get_logger("issuance")


@dataclasses.dataclass(frozen=True, slots=True)
class Account:
    """An account that the CA knows."""

    kid: str
    """Its URL, by which requests name it."""
    key: JWKEC = dataclasses.field(repr=False)
    thumbprint: str
    """Base64url SHA-256 of the public key (RFC 7638)."""

    def key_authorization(self, token: str) -> str:
        """RFC 8555 section 8.1."""
        return f"{token}.{self.thumbprint}"


class Accounts:
    """Our account at the CA of `transport`."""

    def __init__(self, config: Config, store: Store, transport: Transport, clock: Callable[[], float]) -> None:
        self._config = config
        self._store = store
        self._transport = transport
        self._clock = clock
        self._lock = asyncio.Lock()
        self._in_use = rollover.InUse()
        self._account: Account | None = None
        self._refusal: CaRefused | None = None
        self._refused_at = 0.0
        self._replaced_at = -math.inf

    async def get(self) -> Account:
        """The account; made at the first call ever. Callers at the same time get the same one.

        Raises IssuanceError; where the CA wanted something of the account's owner a moment ago, its words again.
        """
        if self._refusal is not None:
            now = self._transport.monotonic()
            if now - self._refused_at < REFUSED_SECONDS:
                raise self._refusal.with_traceback(None)
            self._refused_at = now  # one asks, and the others wait for what it hears
        if self._account is not None:
            return self._account
        async with self._lock:
            if self._account is None:
                self._account = await self._known() or await self._register(await self._row())
            return self._account

    def in_use(self) -> AbstractAsyncContextManager[None]:
        """For an order's whole time: meanwhile the account's key does not change."""
        return self._in_use.shared()

    async def known(self) -> Account | None:
        """The account, if we have one; none is made. Raises IssuanceError."""
        async with self._lock:
            if self._account is None:
                self._account = await self._known()
            return self._account

    async def roll_over(self) -> Account:
        """Gives the account another key; returns when the CA has taken it. Raises IssuanceError.

        Both keys are stored until then, so that it does not matter when this process ends: whoever uses the account next
        finds out which of them counts, and finishes what was begun.
        """
        await self.get()
        async with self._in_use.alone(), self._lock:
            row = await self._row()
            if row is None or not row.url:
                raise IssuanceError("There is no account at this CA yet.", fault=Fault.CLIENT, retryable=False)
            if not (await self._transport.directory()).key_change:
                raise IssuanceError("The CA offers no change of an account's key.", fault=Fault.CA, retryable=False)
            if row.next_key is None:
                row = msgspec.structs.replace(row, next_key=key_pem(new_key("p256")))
                await self._store.save_account(row, self._clock())
            before, self._account = self._account, None  # until it is known which key counts
            try:
                self._account = await self._change_key(row)
            except CaRefused as error:
                if error.about_the_ca:
                    raise
                await self._store.save_account(msgspec.structs.replace(row, next_key=None), self._clock())
                self._account = before
                raise
            return self._account

    async def _known(self) -> Account | None:
        row = await self._row()
        if row is None or not row.url:
            return None
        if row.next_key is None:
            return _account(row.url, row.key)
        return await self._finish_change(row, row.next_key)

    async def _finish_change(self, row: AccountRow, coming: bytes) -> Account:
        """What an earlier process began: the CA tells which key it knows the account by."""
        try:
            key = _account("", coming).key
            answer = await self._transport.post_new("new_account", {"onlyReturnExisting": True}, key, None)
        except CaRefused as error:
            if error.problem != "accountDoesNotExist":
                raise
        else:
            return await self._changed(msgspec.structs.replace(row, url=answer.location or row.url), coming)
        try:
            return await self._change_key(row)
        except CaRefused as error:
            if error.about_the_ca:
                raise
            log.warning("the account keeps its key: the CA refuses another one", ca=self._transport.ca, detail=error.detail)
            await self._store.save_account(msgspec.structs.replace(row, next_key=None), self._clock())
            return _account(row.url, row.key)

    async def _change_key(self, row: AccountRow) -> Account:
        coming = row.next_key or b""
        old, new = _account(row.url, row.key), _account(row.url, coming)
        url = (await self._transport.directory()).key_change
        payload = rollover.change(row.url, old.key, new.key, url)
        await self._transport.post(url, payload, old.key, row.url, resend=False)
        return await self._changed(row, coming)

    async def _changed(self, row: AccountRow, key: bytes) -> Account:
        now = self._clock()
        row = msgspec.structs.replace(row, key=key, next_key=None, key_changed_at=now)
        await self._store.save_account(row, now)
        log.info("the account has another key", ca=self._transport.ca)
        return _account(row.url, key)

    async def _row(self) -> AccountRow | None:
        return await self._store.account(self._transport.directory_url)

    def accepted(self) -> None:
        """The CA wants nothing of the account's owner (any more)."""
        self._refusal = None

    async def again(self, account: Account, error: CaRefused) -> Account:
        """What to go on with after the CA complained of `account` (`error.about_the_account`).

        The same key registered anew where the CA does not know it (any more), a fresh one where it says that the account
        is deactivated: once in REPLACED_SECONDS, or a CA that does not want us would be sent one after another. Raises
        `error` where the account is as it should be, CaRefused where nothing helps.
        """
        async with self._lock:
            if self._account is not None and self._account is not account:
                return self._account
            if error.problem == "userActionRequired":
                self._refuse(error)
                raise error
            row = await self._store.account(self._transport.directory_url)
            if row is None:
                self._account = await self._register(None)
            elif error.problem == "accountDoesNotExist":
                self._account = await self._register_again(row)
            else:
                self._account = await self._looked_up(account, row, error)
            return self._account

    async def _register_again(self, row: AccountRow) -> Account:
        """Registers the same key: its account, an old or a new one. A CA that deactivated it says so now."""
        try:
            return await self._register(row)
        except CaRefused as error:
            if error.problem != "unauthorized":
                raise
            return await self._replace(error)

    async def _looked_up(self, account: Account, row: AccountRow, error: CaRefused) -> Account:
        """Asks the CA what became of an account that may not do what it always did (RFC 8555 sections 7.3.1 and 7.3.6)."""
        try:
            answer = await self._transport.post_new("new_account", {"onlyReturnExisting": True}, account.key, None)
        except CaRefused as refused:
            if refused.problem == "accountDoesNotExist":
                return await self._register_again(row)
            if refused.problem == "unauthorized":
                return await self._replace(refused)
            raise
        if read(answer.body, AccountAnswer).status != "valid":
            return await self._replace(error)
        if answer.location in ("", account.kid):
            raise error
        await self._save(row.key, answer.location)
        return _account(answer.location, row.key)

    async def _replace(self, error: CaRefused) -> Account:
        now = self._transport.monotonic()
        if now - self._replaced_at < REPLACED_SECONDS:
            deactivated = CaRefused(
                "The CA has deactivated our account again, after a new one was made. Ask the CA why; a further account is made "
                f"in {round((self._replaced_at + REPLACED_SECONDS - now) / 3600)} hours. {error.detail}",
                problem="deactivated",
                fault=Fault.OPERATOR,
                status=error.status,
            )
            self._refuse(deactivated)
            raise deactivated
        log.warning("the CA has deactivated our account; a new one is made", ca=self._transport.ca, detail=error.detail)
        # Noted before it is tried: what the CA says to the new key may be the same.
        self._replaced_at = now
        return await self._register(None)

    def _refuse(self, error: CaRefused) -> None:
        self._refusal, self._refused_at = error, self._transport.monotonic()

    async def _register(self, row: AccountRow | None) -> Account:
        directory = await self._transport.directory()
        settings = self._config.issuance
        if directory.meta.terms_of_service and not settings.agree_terms:
            raise IssuanceError(
                f"The CA wants you to agree to its terms of service ({directory.meta.terms_of_service[:200]}). Read them and "
                "set issuance.agree_terms = true.",
                fault=Fault.OPERATOR,
                retryable=False,
            )
        if directory.meta.external_account_required and not settings.eab.key_id:
            raise IssuanceError(
                "The CA wants an external account. Set issuance.eab.key_id and issuance.eab.hmac_key as the CA gave them to "
                "you.",
                fault=Fault.OPERATOR,
                retryable=False,
            )
        # The key is stored before the CA hears of it: whenever this process ends, the next one registers the same key,
        # and the CA answers with the same account (RFC 8555 section 7.3.1).
        pem = row.key if row is not None else key_pem(new_key("p256"))
        if row is None:
            await self._save(pem, "")
        account = _account("", pem)
        answer = await self._transport.post_new("new_account", self._request(account, directory), account.key, None)
        if not answer.location:
            raise CaRefused("The CA made an account but did not say where.", problem="malformed", status=answer.status)
        await self._save(pem, answer.location)
        return _account(answer.location, pem)

    async def _save(self, pem: bytes, url: str) -> None:
        row = AccountRow(directory=self._transport.directory_url, url=url, key=pem, contact=self._config.issuance.email)
        await self._store.save_account(row, self._clock())

    def _request(self, account: Account, directory: Directory) -> dict[str, object]:
        settings = self._config.issuance
        binding = None
        if settings.eab.key_id:
            try:
                binding = messages.ExternalAccountBinding.from_data(
                    account.key.public_key(),
                    settings.eab.key_id,
                    settings.eab.hmac_key.rstrip("="),
                    messages.Directory({"newAccount": directory.new_account}),
                )
            except (ValueError, TypeError, DeserializationError):
                raise IssuanceError(
                    "issuance.eab.hmac_key is not base64url. Copy it exactly as the CA gave it to you.",
                    fault=Fault.OPERATOR,
                    retryable=False,
                ) from None
        registration = messages.NewRegistration.from_data(
            email=settings.email or None, terms_of_service_agreed=settings.agree_terms or None, external_account_binding=binding
        )
        request: dict[str, object] = registration.to_json()
        return request


def _account(kid: str, pem: bytes) -> Account:
    private = load_key(pem)
    if not isinstance(private, ec.EllipticCurvePrivateKey):
        raise IssuanceError("The stored ACME account key is of the wrong kind.", fault=Fault.EDGE, retryable=False)
    key = JWKEC(key=private)
    return Account(kid, key, b64encode(key.thumbprint()).decode())
