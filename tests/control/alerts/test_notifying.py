"""Messages get through apprise to a real server."""

from __future__ import annotations

import sys

import pytest

from edgeproxy.control.alerts.notifying import Notifier, NotNotified
from edgeproxy.errors import ConfigError
from tests.control.webhooks.receiver import receiving, says
from tests.ports import free_port

OLD = pytest.mark.filterwarnings("ignore::DeprecationWarning")
"""apprise looks for modules that Python has given up."""


@OLD
async def test_everybody_is_told() -> None:
    pytest.importorskip("apprise")
    async with receiving() as one, receiving() as two:
        urls = [f"json://127.0.0.1:{each.port}/hush-{number}" for number, each in enumerate((one, two))]
        notifier = Notifier(urls)
        await notifier.send("A title", "What to do: nothing.", over=False)
        await notifier.send("Over: a title", "Over.", over=True)
    for receiver in (one, two):
        first, second = (got.payload for got in receiver.got)
        assert (first["title"], first["message"], first["type"]) == ("A title", "What to do: nothing.", "failure")
        assert second["type"] == "success"


@OLD
async def test_one_that_fails_is_enough_of_a_reason_to_go_on_and_all_are_not() -> None:
    pytest.importorskip("apprise")
    async with receiving() as receiver:
        away = f"json://127.0.0.1:{free_port()}/hush"
        await Notifier([away, f"json://127.0.0.1:{receiver.port}/"]).send("A", "B", over=False)
        assert len(receiver.got) == 1
        receiver.usual = says(500)
        with pytest.raises(NotNotified) as caught:
            await Notifier([away, f"json://127.0.0.1:{receiver.port}/"]).send("A", "B", over=False)
    assert "hush" not in caught.value.detail


@OLD
async def test_a_url_that_nobody_knows_is_a_fault_of_the_configuration() -> None:
    pytest.importorskip("apprise")
    with pytest.raises(ConfigError, match="URL number 1 is none that apprise knows") as caught:
        await Notifier(["nonsense://hush"]).send("A", "B", over=False)
    assert "hush" not in caught.value.detail


async def test_without_apprise_it_is_said_how_to_get_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "apprise", None)
    with pytest.raises(ConfigError, match="pip install apprise"):
        await Notifier(["json://127.0.0.1/"]).send("A", "B", over=False)
