"""The account at one CA: made once, kept in the store, its key sealed."""

from __future__ import annotations

import asyncio
import dataclasses
from collections.abc import Callable

from acme import messages
from cryptography.hazmat.primitives.asymmetric import ec
from josepy.b64 import b64encode
from josepy.errors import DeserializationError
from josepy.jwk import JWKEC

from edgeproxy.config.structs import Config
from edgeproxy.control.issuance.acme.problems import CaRefused
from edgeproxy.control.issuance.acme.transport import Transport
from edgeproxy.control.issuance.acme.wire import Directory
from edgeproxy.control.issuance.certificates import key_pem, load_key, new_key
from edgeproxy.control.store import Account as AccountRow
from edgeproxy.control.store import Store
from edgeproxy.errors import Fault, IssuanceError


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
        self._account: Account | None = None

    async def get(self) -> Account:
        """The account; made at the first call ever. Callers at the same time get the same one. Raises IssuanceError."""
        if self._account is not None:
            return self._account
        async with self._lock:
            if self._account is None:
                row = await self._store.account(self._transport.directory_url)
                if row is not None and row.url:
                    self._account = _account(row.url, row.key)
                else:
                    self._account = await self._register(row)
            return self._account

    async def again(self, unknown: Account) -> Account:
        """Registers the same key anew: the CA said that it does not know `unknown` (any more)."""
        async with self._lock:
            if self._account is unknown or self._account is None:
                row = await self._store.account(self._transport.directory_url)
                self._account = await self._register(row)
            return self._account

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
            await self._store.save_account(
                AccountRow(directory=self._transport.directory_url, key=pem, contact=self._config.issuance.email, url=""),
                self._clock(),
            )
        account = _account("", pem)
        answer = await self._transport.post(directory.new_account, self._request(account, directory), account.key, None)
        if not answer.location:
            raise CaRefused("The CA made an account but did not say where.", problem="malformed", status=answer.status)
        await self._store.save_account(
            AccountRow(
                directory=self._transport.directory_url, key=pem, contact=self._config.issuance.email, url=answer.location
            ),
            self._clock(),
        )
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
