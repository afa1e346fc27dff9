"""The built-in CA: for development, for closed networks, and for the demo. Its root is made once per state directory."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from edgeproxy import disk
from edgeproxy.config.structs import Config
from edgeproxy.control.issuance.certificates import (
    Issued,
    KeyType,
    PrivateKey,
    checked_chain,
    key_made,
    key_pem,
    load_key,
    make_root,
    sign_leaf,
)
from edgeproxy.control.issuance.issuer import Begin, Progress
from edgeproxy.control.store import InternalCa, Store
from edgeproxy.errors import Fault, IssuanceError, StateError

DIRECTORY = "internal"
"""`issuance.directory` for this CA."""

ROOT_FILE = "internal-ca.pem"
"""The root's certificate, in the state directory, for people to trust."""

ROOT_LIFE = timedelta(days=3650)

LEAF_LIFE = timedelta(days=90)
"""Browsers hold private roots to their usual bounds or a little more: 90 days are below all of them."""


class InternalIssuer:
    """Signs with its own root. Fulfils `Issuer`."""

    directory = DIRECTORY
    wildcards = True
    begin: Begin | None = None  # no order: nothing is limited here
    replaces = False

    def __init__(
        self,
        config: Config,
        store: Store,
        state_directory: Path,
        clock: Callable[[], float],
        *,
        leaf_life: timedelta = LEAF_LIFE,
    ) -> None:
        self._config = config
        self._store = store
        self._root_file = state_directory / ROOT_FILE
        self._clock = clock
        self._leaf_life = leaf_life
        self._lock = asyncio.Lock()
        self._root: tuple[x509.Certificate, PrivateKey] | None = None

    async def root(self) -> x509.Certificate:
        """The root's certificate; made, stored and exported at the first call ever."""
        return (await self._signer())[0]

    async def prepare(self) -> None:
        """Makes the root if there is none, so that people can trust it before the first visit."""
        await self._signer()

    async def issue(self, name: str, progress: Progress, key_type: KeyType | None = None) -> Issued:
        """See `Issuer`."""
        root, root_key = await self._signer()
        progress("The built-in CA signs the certificate")
        key = await key_made(key_type or self._config.tls.key_type)
        now = self._clock()
        if root.not_valid_after_utc.timestamp() <= now:
            raise IssuanceError(
                f"The built-in CA's root has expired on {root.not_valid_after_utc:%Y-%m-%d}.",
                fault=Fault.OPERATOR,
                retryable=False,
            )
        leaf = sign_leaf(root, root_key, key, (name,), now, self._leaf_life)
        return checked_chain(leaf.public_bytes(Encoding.PEM), key, name, now)

    async def settled(self, name: str) -> None:
        """See `Issuer`. Nothing is kept."""

    async def unsettled(self) -> list[str]:
        """See `Issuer`. Nothing is ever left unfinished."""
        return []

    async def suggests(self) -> bool:
        """See `Issuer`. It revokes nothing."""
        return False

    async def suggestion(self, _chain: bytes) -> None:
        """See `Issuer`."""

    async def roll_over(self) -> None:
        """See `Issuer`."""
        detail = "The built-in CA has no account, and so no account key."
        raise IssuanceError(detail, code="no_account", fault=Fault.CLIENT, retryable=False)

    async def account(self) -> tuple[str, tuple[str, ...]]:
        """See `Issuer`. There is none."""
        return "", ()

    async def close(self) -> None:
        """See `Issuer`."""

    async def _signer(self) -> tuple[x509.Certificate, PrivateKey]:
        if self._root is not None:
            return self._root
        async with self._lock:
            if self._root is None:
                now = self._clock()
                stored = await self._store.internal_ca()
                if stored is None:
                    certificate, key = make_root(now, ROOT_LIFE)
                    pem = certificate.public_bytes(Encoding.PEM)
                    await self._store.save_internal_ca(InternalCa(certificate=pem, key=key_pem(key)), now)
                else:
                    certificate, key = x509.load_pem_x509_certificate(stored.certificate), load_key(stored.key)
                await asyncio.to_thread(self._export, certificate.public_bytes(Encoding.PEM))
                self._root = certificate, key
            return self._root

    def _export(self, pem: bytes) -> None:
        """Writes the root's certificate where people find it. It is public: everyone may read it."""
        temporary = self._root_file.with_suffix(".new")
        try:
            if self._root_file.exists() and self._root_file.read_bytes() == pem:
                return
            temporary.write_bytes(pem)
            temporary.chmod(0o644)
            temporary.replace(self._root_file)
        except OSError as error:
            with contextlib.suppress(OSError):
                temporary.unlink()
            if disk.is_full(error):
                raise disk.full(StateError, self._root_file) from None
            raise StateError(f"{self._root_file} cannot be written: {error.strerror}.") from None
