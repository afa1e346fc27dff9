"""Messages between processes of two versions: what was ever said is understood for good."""

from __future__ import annotations

import inspect
from typing import Any, get_args

import msgspec
import pytest

from edgeproxy.link import frames, messages
from edgeproxy.link.messages import VERSION, ChannelMessage, Greeting, LinkMessage, Message, Obtained, Ready, Report

FIRST: dict[str, dict[str, Any]] = {
    "greeting": {"worker": 1, "pid": 2},
    "obtain": {"id": 1, "hostname": "a.example", "client_ip": "192.0.2.1", "deadline": 1.5},
    "refresh": {"hostname": "a.example"},
    "slow": {"names": {}},
    "report": {"worker": 1, "pid": 2, "counters": {"requests_total|2xx|h2": 3.0}},
    "obtained": {"id": 1, "ok": True},
    "ready": {},
    "alive": {},
    "failed": {"detail": "no store"},
    "request": {"id": 1, "action": "stop"},
    "link_end": {"worker": 1},
    "drain": {},
    "result": {"id": 1, "ok": False},
}
"""Each message with the least that the first version says. A process of that version must be understood by every later one,
so nothing is ever to be added here but new messages."""


def family_of(kind: type[Message]) -> Any:
    return LinkMessage if kind in get_args(LinkMessage) else ChannelMessage


def kinds() -> list[type[Message]]:
    return [
        kind for _, kind in inspect.getmembers(messages, inspect.isclass) if issubclass(kind, Message) and kind is not Message
    ]


def tag(kind: type[Message]) -> str:
    return str(kind.__struct_config__.tag)


def test_every_message_belongs_to_one_family_under_a_name_of_its_own() -> None:
    families = [*get_args(LinkMessage), *get_args(ChannelMessage)]
    assert sorted(map(tag, families)) == sorted(map(tag, kinds()))  # one that is in none is skipped as of a later version
    assert len({tag(kind) for kind in families}) == len(families)
    assert set(FIRST) <= {tag(kind) for kind in families}


@pytest.mark.parametrize("kind", kinds(), ids=tag)
def test_what_the_first_version_says_is_understood(kind: type[Message]) -> None:
    said = FIRST[tag(kind)]
    decoder: frames.PacketDecoder[Message] = frames.PacketDecoder(family_of(kind))
    message = decoder.decode(msgspec.msgpack.encode({"type": tag(kind), **said}))
    assert type(message) is kind
    assert {name: getattr(message, name) for name in said} == said


@pytest.mark.parametrize("kind", kinds(), ids=tag)
def test_what_a_later_version_says_beside_it_is_left_aside(kind: type[Message]) -> None:
    decoder: frames.PacketDecoder[Message] = frames.PacketDecoder(family_of(kind))
    said = {"type": tag(kind), **FIRST[tag(kind)]}
    assert decoder.decode(msgspec.msgpack.encode({**said, "colour": ["red"]})) == decoder.decode(msgspec.msgpack.encode(said))


@pytest.mark.parametrize("kind", kinds(), ids=tag)
def test_what_goes_without_saying_is_not_sent(kind: type[Message]) -> None:
    message = kind(**FIRST[tag(kind)])
    assert msgspec.msgpack.decode(frames.packet(message)) == {"type": tag(kind), **FIRST[tag(kind)]}


def test_a_worker_says_which_version_it_speaks() -> None:
    assert Greeting(worker=1, pid=2).version == VERSION
    later = msgspec.msgpack.encode({"type": "greeting", "worker": 1, "pid": 2, "version": VERSION + 1})
    (greeting,) = frames.link_decoder().feed(len(later).to_bytes(4, "big") + later)
    assert greeting == Greeting(worker=1, pid=2, version=VERSION + 1)


def test_an_answer_that_says_no_more_is_a_failure_that_is_not_remembered() -> None:
    # The careful reading: not a denial, which would be told to visitors as one, and asked again at once.
    answer = Obtained(id=1, ok=False)
    assert (answer.denied, answer.remember) == (False, 0.0)


def test_messages_share_nothing_and_cannot_be_changed() -> None:
    one, other = Report(worker=1, pid=2, counters={}), Report(worker=1, pid=2, counters={})
    assert one.hosts is not other.hosts
    with pytest.raises(AttributeError):
        one.worker = 3  # type: ignore[misc]
    with pytest.raises(TypeError):
        Ready("positional")
