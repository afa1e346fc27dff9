"""What several integration tests share: nginx as the origin, and one running program in front of it."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.integration.nginx import NAME, WORKSPACE, Nginx
from tests.integration.running import Running
from tests.integration.servers import require
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
