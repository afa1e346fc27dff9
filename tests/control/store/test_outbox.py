"""Events are kept with what they tell, or not at all."""

from __future__ import annotations

import math
import subprocess
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path

import msgspec
import pytest
from sqlalchemy import select

from edgeproxy.control.events import Event
from edgeproxy.control.store import Failure, Store
from edgeproxy.control.store.outbox import emitted, shown
from edgeproxy.control.store.schema import outbox
from tests.control.store.making import NOW, certificate, made_companion, opened


async def broken_off(store: Store) -> None:
    async with store.database.write() as write:
        await emitted(write, 6.0, "domain.verified", "a.test", "w", {})
        raise ZeroDivisionError


async def test_an_event_is_kept_with_its_transaction(store: Store):
    async with store.database.write() as write:
        event_id = await emitted(write, 5.0, "domain.registered", "a.test", "w", {"domain": "a.test"})
    with pytest.raises(ZeroDivisionError):
        await broken_off(store)
    async with store.database.read() as connection:
        rows = (await connection.execute(select(outbox))).all()
    assert [(row.id, row.type, row.subject, row.workspace_id, row.at) for row in rows] == [
        (event_id, "domain.registered", "a.test", "w", 5.0)
    ]
    assert msgspec.json.decode(rows[0].data) == {"domain": "a.test"}


EVENT = Event("certificate.issued", {"hostname": "a.example.com", "certificate_id": "c2", "not_after": NOW}, kept=True)
FAILURE = Failure(name="a.example.com", count=1, next_try=NOW, detail="no", fault="ca", updated_at=NOW)

STEPS: dict[str, Callable[[Store], Awaitable[object]]] = {
    "issued": lambda store: store.add_certificate(certificate("c2", "a.example.com"), NOW, event=EVENT),
    "removed": lambda store: store.remove_certificate("c1", NOW, event=EVENT),
    "revoked": lambda store: store.revoked("c1", "superseded", actor="t", now=NOW, event=EVENT),
    "warned": lambda store: store.set_warned("c1", 7, NOW, event=EVENT),
    "parked": lambda store: store.went_astray("c1", NOW, NOW, NOW, NOW, event=EVENT),
    "accompanied": lambda store: store.set_companion("c1", made_companion("r1"), NOW, NOW, event=EVENT),
    "failed": lambda store: store.save_failure(FAILURE, NOW, event=EVENT),
}


@pytest.mark.parametrize("step", STEPS)
async def test_what_becomes_of_a_certificate_is_kept_with_it(tmp_path: Path, step: str, monkeypatch: pytest.MonkeyPatch):
    async with opened(tmp_path) as store:
        await store.add_certificate(certificate("c1", "a.example.com", renew=math.inf), NOW)
        before = (await store.get_certificate("c1"), await store.current_certificate("a.example.com"))

        async def fails(*_: object) -> None:
            raise ZeroDivisionError

        with monkeypatch.context() as patch:
            patch.setattr("edgeproxy.control.store.outbox.emitted", fails)
            with pytest.raises(ZeroDivisionError):
                await STEPS[step](store)
        assert (await store.get_certificate("c1"), await store.current_certificate("a.example.com")) == before
        assert await store.failure("a.example.com") is None
        await STEPS[step](store)
        [event] = await store.events_after(0, 10)
        data = {
            "domain": "a.example.com",
            "certificate_id": "c2",
            "not_after": "2027-01-15T08:00:00.000Z",
            "workspace_id": None,
        }
        assert (event.type, event.subject, msgspec.json.decode(event.data)) == (EVENT.name, "a.example.com", data)


KILLED = """
import asyncio, os, sys
from pathlib import Path
import sqlalchemy
from sqlalchemy import event
from tests.control.store.making import NOW, certificate, opened
from tests.control.store.test_outbox import EVENT

def kill(connection, cursor, statement, parameters, context, many):
    if sys.argv[2] in statement:
        os.kill(os.getpid(), 9)

async def main():
    async with opened(Path(sys.argv[1])) as store:
        event.listen(sqlalchemy.Engine, "after_cursor_execute", kill)
        await store.add_certificate(certificate("c2", "a.example.com"), NOW, event=EVENT)

asyncio.run(main())
"""


@pytest.mark.parametrize("statement", ["INSERT INTO certificates", "INSERT INTO outbox"])
async def test_a_process_that_is_killed_between_the_two_leaves_neither(tmp_path: Path, statement: str):
    process = subprocess.run(
        [sys.executable, "-c", KILLED, str(tmp_path), statement], check=False, cwd=Path(__file__).parents[3]
    )
    assert process.returncode == -9
    async with opened(tmp_path) as store:
        assert await store.current_certificate("a.example.com") is None
        assert await store.events_after(0, 10) == []


def test_an_error_is_shown_as_a_domain_has_it() -> None:
    failed = {"error": "The CA said no.", "code": "ca_refused", "fault": "ca", "retryable": False, "serial": "1f"}
    error = {"code": "ca_refused", "detail": "The CA said no.", "fault": "ca", "retryable": False}
    assert shown(failed) == {"serial": "1f", "error": error}
    late = {"code": "", "detail": "The CA said no.", "fault": "", "retryable": True}
    assert shown({"error": "The CA said no.", "seconds_left": 5}) == {"seconds_left": 5, "error": late}
    assert shown({"error": "", "seconds_left": 5}) == {"seconds_left": 5}
