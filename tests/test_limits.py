"""Bounds: each is held somewhere, and those that name a size of the kernel's fit into it."""

from __future__ import annotations

import re
from pathlib import Path

import msgspec
import pytest

import edgeproxy
from edgeproxy import limits
from edgeproxy.config import values
from edgeproxy.errors import LinkError
from edgeproxy.limits import CHANNEL_MESSAGE, LINK_MESSAGE, RELAY_BUFFER, Limits
from edgeproxy.link import frames
from edgeproxy.link.channel import Channel
from edgeproxy.link.messages import Refresh, Result
from edgeproxy.units import Size

PACKAGE = Path(edgeproxy.__file__).parent
SOURCE = {
    path.relative_to(PACKAGE).as_posix(): path.read_text()
    for path in sorted(PACKAGE.rglob("*.py"))
    if path.parent.name != "config" and path.name != "limits.py"
}


def constants() -> list[str]:
    return [name for name in vars(limits) if name.isupper() and not name.startswith("_")]


@pytest.mark.parametrize("name", [field.name for field in msgspec.structs.fields(Limits)])
def test_every_limit_that_can_be_set_is_looked_at(name: str) -> None:
    assert any(re.search(rf"\blimits\.{name}\b", text) for text in SOURCE.values()), f"nothing holds limits.{name}"


@pytest.mark.parametrize("name", constants())
def test_every_bound_is_looked_at(name: str) -> None:
    assert any(re.search(rf"\b{name}\b", text) for text in SOURCE.values()), f"nothing holds {name}"


def test_the_defaults_are_within_what_an_operator_may_set() -> None:
    for field in msgspec.structs.fields(Limits):
        values.in_range(f"limits.{field.name}", field.default)


def test_bounds_in_bytes_are_shown_with_their_unit() -> None:
    shown = {"client_hello", "client_rate", "request_body", "request_head", "request_line", "response_head"}
    assert {field.name for field in msgspec.structs.fields(Limits) if field.type is Size} == shown
    assert all(isinstance(getattr(Limits(), name), Size) for name in shown)


def test_a_channels_largest_message_fits_into_a_packet() -> None:
    supervisor, theirs = Channel.pair()
    child = Channel(theirs)
    room = CHANNEL_MESSAGE - len(frames.packet(Result(id=1, ok=True, detail="x" * 60_000)))
    result = Result(id=1, ok=True, detail="x" * (60_000 + room))
    assert len(frames.packet(result)) == CHANNEL_MESSAGE
    supervisor.send(result)
    assert [received.message for received in child.read()] == [result]
    assert not supervisor.waiting
    supervisor.close()
    child.close()


def test_a_links_largest_message_passes_and_one_byte_more_does_not() -> None:
    room = LINK_MESSAGE - len(frames.packet(Refresh(hostname="x" * 100_000)))
    message = Refresh(hostname="x" * (100_000 + room))
    assert frames.link_decoder().feed(frames.frame(message)) == [message]
    with pytest.raises(LinkError, match="over the bound"):
        frames.frame(Refresh(hostname=message.hostname + "x"))


def test_a_request_that_is_just_allowed_is_read_at_once() -> None:
    # A head over the buffer would be parsed again with each read: quadratic work for whoever sends it slowly.
    for bound in (Limits().request_head, Limits().client_hello, Limits().response_head):
        assert bound <= RELAY_BUFFER
