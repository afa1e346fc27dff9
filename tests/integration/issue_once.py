"""A controller's part in miniature: opens the store of a state directory, publishes, obtains one certificate, ends.

`issue_once(state, config.json, name[, kind, number, when])`, in a process of its own. With the last three that kills itself
(SIGKILL) at the number-th request of a kind: `when` is "before" it is sent, or "after" its answer came.
"""

from __future__ import annotations

import asyncio
import os
import signal
import time
from pathlib import Path

import httpx2
import msgspec

from edgeproxy.config.structs import Config
from edgeproxy.control.issuance.acme.issuer import AcmeIssuer
from edgeproxy.control.issuance.acme.transport import _trust
from edgeproxy.control.issuance.service import Issuance
from edgeproxy.control.publish import Publisher
from edgeproxy.control.store import Store
from edgeproxy.published.seal import Sealer
from edgeproxy.published.writer import MapWriter
from edgeproxy.units import decode_hook

MAP_KEY, STORE_KEY, ACCOUNT_KEY = b"m" * 32, b"s" * 32, b"a" * 32

PATHS = {
    "account": "/sign-me-up",
    "new": "/order-plz",
    "authz": "/authZ/",
    "challenge": "/chalZ/",
    "finalize": "/finalize-order/",
    "order": "/my-order/",
    "cert": "/certZ/",
}
"""Pebble's paths."""


class Deadly(httpx2.AsyncHTTPTransport):
    """Ends the process at a certain request."""

    def __init__(self, ca_bundle: str, kind: str, number: int, when: str) -> None:
        super().__init__(verify=_trust(ca_bundle))
        self._path, self._left, self._when = PATHS[kind], number, when

    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        hit = request.url.path.startswith(self._path)
        self._left -= hit
        if hit and self._left == 0 and self._when == "before":
            os.kill(os.getpid(), signal.SIGKILL)
        response = await super().handle_async_request(request)
        if hit and self._left == 0:
            os.kill(os.getpid(), signal.SIGKILL)
        return response


def issue_once(*arguments: str) -> int:
    """Exit status 0 with a certificate, 1 without."""
    return asyncio.run(_main(*arguments))


async def _main(state: str, config_file: str, name: str, *deadly: str) -> int:
    directory = Path(state)
    config = msgspec.json.decode(Path(config_file).read_bytes(), type=Config, dec_hook=decode_hook)
    store = await Store.open(config, directory, Sealer(STORE_KEY), account_sealer=Sealer(ACCOUNT_KEY))
    publisher = Publisher(store, MapWriter(directory), ())
    publishing = asyncio.create_task(publisher.run())
    network = Deadly(config.issuance.ca_bundle, deadly[0], int(deadly[1]), deadly[2]) if deadly else None
    sealer = Sealer(MAP_KEY)
    issuer = AcmeIssuer(config, store, publisher, sealer, time.time, network=network)
    issuance = Issuance(config, store, publisher, sealer, issuer=issuer)
    outcome = await issuance.obtain(name, "192.0.2.1")
    print(outcome.detail)
    while issuance.pending:
        await asyncio.sleep(0.01)
    await issuance.close()
    publishing.cancel()
    await asyncio.gather(publishing, return_exceptions=True)
    await store.close()
    return 0 if outcome.ok else 1
