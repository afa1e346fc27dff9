"""A change of the account's key in a process of its own, which may be killed on the way.

`roll_over_once(state, config.json[, what, number, when])`, in a process of its own. With the last three that kills itself
(SIGKILL): `what` is "request" (of the change) or "save" (of the account), `number` counts them, `when` is "before" or "after".
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
from edgeproxy.control.issuance.acme.account import Accounts
from edgeproxy.control.issuance.acme.transport import Transport, _trust
from edgeproxy.control.store import Account, Store
from edgeproxy.published.seal import Sealer
from edgeproxy.units import decode_hook
from tests.integration.issue_once import ACCOUNT_KEY, STORE_KEY


class Death:
    """Comes at a certain moment."""

    def __init__(self, what: str = "", number: str = "0", when: str = "") -> None:
        self._what, self._left, self._when = what, int(number), when

    def near(self, what: str) -> bool:
        self._left -= what == self._what
        return what == self._what and self._left == 0

    def come(self, when: str) -> None:
        if when == self._when:
            os.kill(os.getpid(), signal.SIGKILL)


class Network(httpx2.AsyncHTTPTransport):
    def __init__(self, ca_bundle: str, death: Death) -> None:
        super().__init__(verify=_trust(ca_bundle))
        self._death = death

    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        near = request.url.path.startswith("/rollover-account-key") and self._death.near("request")
        if near:
            self._death.come("before")
        response = await super().handle_async_request(request)
        if near:
            self._death.come("after")
        return response


def roll_over_once(*arguments: str) -> None:
    asyncio.run(_main(*arguments))


async def _main(state: str, config_file: str, *death: str) -> None:
    config = msgspec.json.decode(Path(config_file).read_bytes(), type=Config, dec_hook=decode_hook)
    store = await Store.open(config, Path(state), Sealer(STORE_KEY), account_sealer=Sealer(ACCOUNT_KEY))
    end, save = Death(*death), store.save_account

    async def saving(account: Account, now: float) -> None:
        near = end.near("save")
        if near:
            end.come("before")
        await save(account, now)
        if near:
            end.come("after")

    store.save_account = saving  # type: ignore[method-assign]
    settings = config.issuance
    network = Network(settings.ca_bundle, end)
    transport = Transport(settings.directory, settings.ca_bundle, time.time, asyncio.get_running_loop().time, network)
    await Accounts(config, store, transport, time.time).roll_over()
    await transport.close()
    await store.close()
