"""Answers to a CA's TLS-ALPN-01 challenges (RFC 8737): a certificate of its own for each, given by any worker."""

from __future__ import annotations

import ssl
from collections import OrderedDict
from typing import Final, Protocol

from edgeproxy.edge.context import server_context
from edgeproxy.edge.hello import ACME_TLS
from edgeproxy.published.records import Challenge

CHALLENGES: Final = 64
"""Contexts for pending TLS-ALPN-01 challenges that are kept. A CA comes several times from several places; more names than
that at once cost it the making of a context each time."""


class Map(Protocol):
    """What is asked of the published map. Raises MapError."""

    def challenge(self, key: str) -> Challenge | None: ...


class Opener(Protocol):
    """What is asked of the sealer (`published.seal.Sealer`). Raises MapError where the secret does not open."""

    def open(self, sealed: bytes, context: bytes) -> bytes: ...


class Challenges:
    """The contexts of pending challenges."""

    def __init__(self, reader: Map, sealer: Opener) -> None:
        self._map, self._sealer = reader, sealer
        self._contexts: OrderedDict[str, ssl.SSLContext] = OrderedDict()

    def context(self, hostname: str) -> ssl.SSLContext | None:
        """The context that answers a pending challenge; None where there is none.

        Only for a ClientHello with `acme_challenge`: the handshake is all there is, nothing may be said over it.
        Raises MapError.
        """
        context = self._contexts.get(hostname)
        if context is not None:
            return context
        challenge = self._map.challenge("alpn:" + hostname)
        if challenge is None or not challenge.chain:
            return None
        key = self._sealer.open(challenge.sealed_key, b"alpn:" + hostname.encode())
        what = f"the answer to the challenge for {hostname}"
        context = server_context(challenge.chain, key, [ACME_TLS.decode()], ssl.TLSVersion.TLSv1_2, what)
        self._contexts[hostname] = context
        if len(self._contexts) > CHALLENGES:
            self._contexts.popitem(last=False)
        return context

    def drop(self, key: str | None) -> None:
        """The challenge with this key of the map has changed; None: any may have."""
        if key is None:
            self._contexts.clear()
        else:
            self._contexts.pop(key.removeprefix("alpn:"), None)

    def __len__(self) -> int:
        """How many contexts are held."""
        return len(self._contexts)
