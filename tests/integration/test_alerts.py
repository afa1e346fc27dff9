"""Alerts of the real program, through apprise: told once, though the controller is killed."""

from __future__ import annotations

import asyncio
import json
import sqlite3
import time
from pathlib import Path

import pytest

from tests.control.webhooks.receiver import receiving
from tests.integration.running import Running, wait_for

pytest.importorskip("apprise")


def happened(edge: Running, type_: str, number: int) -> None:
    """Puts an event into the outbox, as a transaction of the controller's would."""
    connection = sqlite3.connect(edge.state / "edgeproxy.db", timeout=30)
    with connection:
        connection.execute(
            "INSERT INTO outbox (id, type, subject, workspace_id, at, data) VALUES (?, ?, 'a.test', 'w', ?, ?)",
            (f"msg_{number}", type_, time.time(), json.dumps({"error": "The CA said no."}).encode()),
        )
    connection.close()


def stored(edge: Running) -> bool:
    """Whether the store knows that people were told."""
    connection = sqlite3.connect(edge.state / "edgeproxy.db", timeout=30)
    (count,) = connection.execute("SELECT count(*) FROM alerts").fetchone()
    connection.close()
    return bool(count)


def controller(edge: Running) -> int | None:
    return next((pid for pid, name in edge.children().items() if name == "edgeproxy ctl"), None)


@pytest.mark.slow
async def test_people_are_told_once_and_when_it_is_over(tmp_path: Path) -> None:
    async with receiving() as people:
        edge = Running(tmp_path, {"alerts": {"notify": [f"json://127.0.0.1:{people.port}/"]}})
        await asyncio.to_thread(edge.start)
        try:
            happened(edge, "certificate.failed", 1)
            (told,) = await people.has(1)
            assert "No certificate could be obtained for a.test" in str(told.payload["title"])
            assert "The CA said no." in str(told.payload["message"])
            victim = controller(edge)
            assert victim is not None
            # What was told is stored just after it was told.
            await asyncio.to_thread(wait_for, lambda: stored(edge), "that it is stored")
            edge.kill(victim)
            await asyncio.to_thread(wait_for, lambda: controller(edge) not in (None, victim), "a new controller")
            happened(edge, "certificate.failed", 2)
            happened(edge, "certificate.issued", 3)
            _, over = await people.has(2)
            assert "Over: no certificate could be obtained for a.test" in str(over.payload["title"])
            assert over.payload["type"] == "success"
        finally:
            await asyncio.to_thread(edge.stop)
    assert len(people.got) == 2
