"""What several integration tests share: nginx as the origin, and one running program in front of it."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from tests.integration.caproxy import CaProxy
from tests.integration.issuing import Issuing
from tests.integration.nginx import NAME, WORKSPACE, Nginx
from tests.integration.running import Running
from tests.integration.servers import Pebble, require
from tests.integration.visitors import PROTOCOLS
from tests.ports import free_port


@pytest.fixture(scope="session")
def nginx(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Nginx]:
    """An origin."""
    require("nginx")
    with Nginx(tmp_path_factory.mktemp("nginx")) as nginx:
        yield nginx


@pytest.fixture(scope="session")
def front_door(nginx: Nginx, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    """One running program for all tests that leave it as it is: a registered name, one whose origin is away, and a platform's
    names with their wildcard."""
    require("curl", "h2load", "openssl")
    tables = {"origin": {"url": nginx.url}, "platform": {"name": "platform.test", "cname_target": "target.platform.test"}}
    with Running(tmp_path_factory.mktemp("edge"), tables) as edge:
        edge.add_domain(NAME, WORKSPACE)
        edge.add_domain("away.test", "away", origin=f"http://127.0.0.1:{free_port()}")
        yield edge


@pytest.fixture(params=PROTOCOLS, ids=["h1", "h2"])
def protocol(request: pytest.FixtureRequest) -> str:
    """curl's option for each version of HTTP."""
    return str(request.param)


@pytest.fixture(scope="module")
async def ca_servers(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[CaProxy]:
    """Pebble behind the fault-injecting proxy, for all tests of a module, whose `anyio_backend` has to last as long. It
    believes every answer to a challenge."""
    require("pebble", "pebble-challtestsrv")
    folder = tmp_path_factory.mktemp("ca")
    async with Pebble(folder, environ={"PEBBLE_VA_ALWAYS_VALID": "1"}) as pebble, CaProxy(folder, pebble) as ca:
        yield ca


@pytest.fixture
async def ca(ca_servers: CaProxy) -> CaProxy:
    """The same, without what the test before did to it."""
    ca_servers.forget()
    return ca_servers


@pytest.fixture
async def issuing(tmp_path: Path, ca: CaProxy) -> AsyncIterator[Issuing]:
    """Issuance with an account, and a name that has its certificate: whatever happens to the CA, that name is served on."""
    async with Issuing(tmp_path, ca) as issuing:
        assert (await issuing.obtain("served.example.com")).ok
        served = await issuing.leaf("served.example.com")
        ca.requests.clear()
        yield issuing
        asked = len(ca.requests)
        assert (await issuing.issuance.obtain("served.example.com", "192.0.2.1")).ok
        assert len(ca.requests) == asked, "nobody was asked for it"
        assert await issuing.leaf("served.example.com") == served
