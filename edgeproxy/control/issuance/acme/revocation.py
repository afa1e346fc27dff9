"""Revocation (RFC 8555 section 7.6): by the account that a certificate was ordered under, or by the certificate's own key."""

from __future__ import annotations

import base64
from collections.abc import Callable
from typing import get_args

import httpx2
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding
from josepy.jwk import JWK, JWKEC, JWKRSA

from edgeproxy.config.structs import Config
from edgeproxy.control.issuance.acme.account import Accounts
from edgeproxy.control.issuance.acme.problems import CaRefused
from edgeproxy.control.issuance.acme.transport import Transport
from edgeproxy.control.issuance.certificates import load_key
from edgeproxy.control.store import Store
from edgeproxy.errors import Fault, IssuanceError
from edgeproxy.model import RevocationReason

REASONS: tuple[RevocationReason, ...] = get_args(RevocationReason)

_NUMBERS: dict[RevocationReason, int] = {
    "unspecified": 0,
    "keyCompromise": 1,
    "affiliationChanged": 3,
    "superseded": 4,
    "cessationOfOperation": 5,
}

_NOT_BY_THIS_ACCOUNT = frozenset(("unauthorized", "accountDoesNotExist", "malformed"))


class Revoker:
    """Revokes certificates of any ACME directory, also of one that is no longer configured."""

    def __init__(
        self,
        config: Config,
        store: Store,
        clock: Callable[[], float],
        monotonic: Callable[[], float],
        *,
        network: httpx2.AsyncBaseTransport | None = None,
    ) -> None:
        self._config = config
        self._store = store
        self._clock = clock
        self._monotonic = monotonic
        self._network = network

    async def revoke(self, directory: str, chain: bytes, key: bytes, reason: RevocationReason) -> None:
        """Has the CA revoke a certificate (PEM, leaf first; its key as PKCS#8 PEM). That it is revoked already is as good.

        Signed by the account where we have it and the CA knows it, else by the certificate's key. Raises IssuanceError.
        """
        settings = self._config.issuance
        transport = Transport(directory, settings.ca_bundle, self._clock, self._monotonic, self._network)
        try:
            await self._revoke(transport, directory, chain, key, reason)
        finally:
            await transport.close()

    async def _revoke(self, transport: Transport, directory: str, chain: bytes, key: bytes, reason: RevocationReason) -> None:
        if not (await transport.directory()).revoke_cert:
            raise IssuanceError(
                "The CA offers no revocation by ACME. Ask it to revoke the certificate.", fault=Fault.CA, retryable=False
            )
        der = x509.load_pem_x509_certificate(chain).public_bytes(Encoding.DER)
        payload = {"certificate": base64.urlsafe_b64encode(der).rstrip(b"=").decode(), "reason": _NUMBERS[reason]}
        account = await Accounts(self._config, self._store, transport, self._clock).known()
        if account is not None:
            try:
                await _send(transport, payload, account.key, account.kid)
            except CaRefused as error:
                if error.problem not in _NOT_BY_THIS_ACCOUNT:
                    raise
            else:
                return
        await _send(transport, payload, _jwk(key), None)


async def _send(transport: Transport, payload: dict[str, object], key: JWK, kid: str | None) -> None:
    try:
        await transport.post_new("revoke_cert", payload, key, kid, about="the certificate")
    except CaRefused as error:
        if error.problem != "alreadyRevoked":
            raise


def _jwk(pem: bytes) -> JWK:
    key = load_key(pem)
    return JWKEC(key=key) if isinstance(key, ec.EllipticCurvePrivateKey) else JWKRSA(key=key)
