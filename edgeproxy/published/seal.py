"""Encryption of secrets at rest: what is sealed under a key and a context opens under these two alone."""

from __future__ import annotations

import os

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from edgeproxy.errors import MapError

_VERSION = b"\x01"
_NONCE = 12
_TAG = 16
OVERHEAD = len(_VERSION) + _NONCE + _TAG
"""Bytes by which a sealed secret is longer."""


class Sealer:
    """AES-256-GCM with a random nonce. One key seals far fewer than the 2^32 messages that random nonces allow
    (NIST SP 800-38D section 8.3)."""

    __slots__ = ("_cipher",)

    def __init__(self, key: bytes) -> None:
        """`key`: 32 bytes, from `keys.derive`. Raises ValueError on another length."""
        if len(key) != 32:
            raise ValueError(f"a sealing key is 32 bytes long, not {len(key)}")
        self._cipher = AESGCM(key)

    def seal(self, plaintext: bytes, context: bytes) -> bytes:
        """The secret, encrypted: version, nonce, ciphertext, tag. `context` says what it is (b"key:" + id) and is not
        stored: a sealed secret moved to another place does not open there."""
        nonce = os.urandom(_NONCE)
        return _VERSION + nonce + self._cipher.encrypt(nonce, plaintext, _VERSION + context)

    def open(self, sealed: bytes, context: bytes) -> bytes:
        """The secret. Raises MapError where it was sealed under another key or context, or is damaged."""
        if len(sealed) < OVERHEAD or sealed[:1] != _VERSION:
            raise MapError("A sealed secret is damaged: it does not have the form that this program writes.", retryable=False)
        try:
            return self._cipher.decrypt(sealed[1 : 1 + _NONCE], sealed[1 + _NONCE :], _VERSION + context)
        except InvalidTag:
            raise MapError(
                "A sealed secret does not open: it is damaged, or was sealed under another state key. "
                "Check that the state key is the one that this state directory was made with.",
                retryable=False,
            ) from None
