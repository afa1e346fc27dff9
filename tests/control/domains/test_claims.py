"""Looks for the record of who claims a name."""

from __future__ import annotations

import asyncio

import pytest

from edgeproxy.control.domains import claims as module
from edgeproxy.control.domains.claims import Claims
from edgeproxy.control.store import Domain
from edgeproxy.model import DomainState
from tests.control.domains.living import NOTHING, SILENT, TEXT, TEXT_HERE, Zone

NAME = "gallery.client-domain.com"


def wanted(workspace: str = "owner", name: str = NAME) -> Domain:
    return Domain(
        hostname=name,
        workspace_id=workspace,
        state=DomainState.PENDING_VALIDATION,
        created_at=0.0,
        updated_at=0.0,
        method="cname",
        proof="p",
    )


async def test_many_who_ask_share_a_look() -> None:
    zone = Zone()
    claims = Claims(zone)
    assert await asyncio.gather(*(claims.shown(wanted()) for _ in range(30))) == [False] * 30
    assert len(zone.asked) == 1
    assert (zone.asked[0].method, zone.urgent) == ("dns", [NAME])


async def test_who_asks_again_waits_for_a_look_that_begins_afterwards(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "PAUSE_SECONDS", 0.3)
    zone = Zone()
    claims = Claims(zone)
    assert not await claims.shown(wanted())
    began = asyncio.get_running_loop().time()
    zone.says[NAME] = TEXT
    assert await asyncio.gather(*(claims.shown(wanted()) for _ in range(30))) == [True] * 30
    assert len(zone.asked) == 2
    assert asyncio.get_running_loop().time() - began < 20
    zone.says[NAME] = NOTHING
    assert not await claims.shown(wanted()), "what was there is not there for good"


async def test_workspaces_and_names_are_looked_at_each_for_itself() -> None:
    zone = Zone()
    claims = Claims(zone)
    zone.says[NAME] = lambda domain: TEXT_HERE if domain.workspace_id == "owner" else NOTHING
    asked = [wanted(), wanted("thief"), wanted(name="other.client-domain.com")]
    assert await asyncio.gather(*(claims.shown(each) for each in asked)) == [True, False, False]


async def test_what_nobody_can_tell_is_not_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "PAUSE_SECONDS", 0.0)
    monkeypatch.setattr(module, "LOOK_SECONDS", 0.05)
    zone = Zone()
    claims = Claims(zone)
    zone.says[NAME] = SILENT
    assert not await claims.shown(wanted())
    zone.hold = asyncio.Event()
    assert not await claims.shown(wanted())


async def test_claims_are_forgotten_when_there_are_many(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "CLAIMS", 3)
    claims = Claims(Zone())
    for number in range(10):
        await claims.shown(wanted(f"w{number}"))
    assert len(claims._looks) == 3
