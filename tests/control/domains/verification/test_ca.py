"""What a CA's directory says of its names in CAA records."""

from __future__ import annotations

import asyncio
import json
import time

import pytest

from edgeproxy.config.issuance import Issuance
from edgeproxy.config.structs import Config
from edgeproxy.control.domains.verification import ca as module
from edgeproxy.control.domains.verification.ca import Directories
from edgeproxy.control.store import Store
from edgeproxy.published.seal import Sealer
from tests.control.store.making import put
from tests.integration.caexchange import Answer, Exchange
from tests.integration.caproxy import CaProxy
from tests.integration.servers import Pebble, require


@pytest.fixture
async def store(tmp_path):
    sealer = Sealer(b"s" * 32)
    put(tmp_path)
    store = await Store.open(Config(), tmp_path, sealer, account_sealer=sealer)
    yield store
    await store.close()


async def with_identities(exchange: Exchange) -> Answer:
    answer = await exchange.pass_on()
    directory = json.loads(answer.body)
    return answer.with_json({**directory, "meta": {**directory.get("meta", {}), "caaIdentities": ["ca.example"]}})


async def identities(settings: Config, store: Store):
    made = Directories(settings, store, time.time)
    try:
        return await made.identities()
    finally:
        await made.close()


async def test_the_names_are_those_of_the_directory_and_asked_for_once(store, tmp_path):
    require("pebble", "pebble-challtestsrv")
    async with Pebble(tmp_path) as pebble, CaProxy(tmp_path, pebble) as ca:
        ca.always("directory", with_identities)
        settings = Config(issuance=Issuance(directory=ca.directory, ca_bundle=str(ca.ca_bundle), agree_terms=True))
        made = Directories(settings, store, time.time)
        assert await made.identities() == (("ca.example",), "")
        await ca.go_down()
        assert await made.identities() == (("ca.example",), "")
        await made.close()
        assert await identities(settings, store) == ((), "")


async def test_a_ca_that_is_silent_is_not_known_in_time(store, tmp_path, monkeypatch):
    require("pebble", "pebble-challtestsrv")
    go = asyncio.Event()

    async def silent(exchange: Exchange) -> Answer:
        await go.wait()
        return await exchange.pass_on()

    async with Pebble(tmp_path) as pebble, CaProxy(tmp_path, pebble) as ca:
        ca.always("directory", silent)
        monkeypatch.setattr(module, "CA_SECONDS", 0.5)
        settings = Config(issuance=Issuance(directory=ca.directory, ca_bundle=str(ca.ca_bundle), agree_terms=True))
        assert await identities(settings, store) == ((), "")
        go.set()


async def test_the_built_in_ca_has_none(store):
    assert await identities(Config(issuance=Issuance(directory="internal")), store) == ((), "")
