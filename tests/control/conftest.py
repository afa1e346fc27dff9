"""The store that tests of what works on one share, and the time that they give the machine."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from edgeproxy.control import controller
from edgeproxy.control.api import admin, infrastructure, observe, server
from edgeproxy.control.dns import pointing
from edgeproxy.control.dns import server as dns_server
from edgeproxy.control.doctor import examine
from edgeproxy.control.domains import probing, service
from edgeproxy.control.domains.verification import ca, looker, servers, webfile
from edgeproxy.control.issuance import issuer, origins
from edgeproxy.control.issuance.acme import dns01, permission, rfc2136, solving
from edgeproxy.control.store import Store
from edgeproxy.control.webhooks import sending
from tests.control.store.making import opened

_DEADLINES = (
    (admin, "STATUS_SECONDS"),
    (ca, "CA_SECONDS"),
    (controller, "MAP_SECONDS"),
    (dns01, "OWN_PATIENCE"),
    (dns_server, "IDLE_SECONDS"),
    (examine, "CONNECT_SECONDS"),
    (examine, "PATIENCE"),
    (infrastructure, "PUBLISH_SECONDS"),
    (issuer, "PUBLISH_TIME"),
    (looker, "LOOK_SECONDS"),
    (looker, "PATIENCE"),
    (observe, "SUPERVISOR_SECONDS"),
    (origins, "_RESOLVE_TIMEOUT"),
    (permission, "CAA_SECONDS"),
    (pointing, "PATIENCE"),
    (probing, "HANDSHAKE_SECONDS"),
    (sending, "CONNECT_SECONDS"),
    (sending, "SECONDS"),
    (rfc2136, "TRY_TIME"),
    (server, "GRACE_SECONDS"),
    (servers, "TRY_SECONDS"),
    (service, "COMPARE_SECONDS"),
    (service, "LIVE_SECONDS"),
    (service, "LOOK_SECONDS"),
    (solving, "HIDE_TIME"),
    (webfile, "FILE_SECONDS"),
)
"""What the program waits for at most: seconds for which a busy machine may stand still, threads and disk included."""


@pytest.fixture(autouse=True)
def patience(monkeypatch: pytest.MonkeyPatch) -> None:
    """A minute for everything that is to come in time; a test of what does not sets its own."""
    for module, name in _DEADLINES:
        monkeypatch.setattr(module, name, 60)


@pytest.fixture
async def store(tmp_path: Path) -> AsyncIterator[Store]:
    async with opened(tmp_path) as store:
        yield store
