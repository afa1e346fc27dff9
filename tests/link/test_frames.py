import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgeproxy.errors import LinkError
from edgeproxy.limits import LINK_MESSAGE
from edgeproxy.link import frames
from edgeproxy.link.messages import (
    ChannelMessage,
    Greeting,
    LinkMessage,
    Obtain,
    Obtained,
    Ready,
    Refresh,
    Report,
    Result,
)

MESSAGES: list[LinkMessage] = [
    Greeting(worker=1, pid=2),
    Obtain(id=1, hostname="gallery.example.com", client_ip="192.0.2.1", deadline=1.5),
    Refresh(hostname="gallery.example.com"),
    Report(worker=0, pid=7, counters={"requests_total|2xx|h2": 17}, hosts={"a.example": 3}),
    Obtained(id=1, ok=False, detail="no", denied=True, remember=30.0),
]


def raw(value: object) -> bytes:
    data = msgspec.msgpack.encode(value)
    return len(data).to_bytes(4, "big") + data


def test_every_message_comes_back_as_it_was() -> None:
    decoder = frames.link_decoder()
    assert decoder.feed(b"".join(frames.frame(each) for each in MESSAGES)) == MESSAGES


@settings(deadline=None)
@given(st.lists(st.sampled_from(MESSAGES), max_size=8), st.lists(st.integers(1, 40), max_size=60))
def test_messages_survive_any_split_of_the_stream(messages: list[LinkMessage], sizes: list[int]) -> None:
    stream = b"".join(frames.frame(each) for each in messages)
    decoder = frames.link_decoder()
    came: list[LinkMessage] = []
    for size in sizes:
        came += decoder.feed(stream[:size])
        stream = stream[size:]
    came += decoder.feed(stream)
    assert came == messages


def test_unknown_fields_are_ignored() -> None:
    assert frames.link_decoder().feed(raw({"type": "refresh", "hostname": "a.example", "colour": "red"})) == [
        Refresh(hostname="a.example")
    ]


def test_unknown_types_are_skipped_and_the_stream_goes_on() -> None:
    stream = raw({"type": "from_the_future", "x": [1, 2]}) + frames.frame(MESSAGES[0])
    assert frames.link_decoder().feed(stream) == [MESSAGES[0]]


@pytest.mark.parametrize(
    "value",
    [
        {"type": "refresh"},
        {"type": "refresh", "hostname": 1},
        {"type": 5},
        {"hostname": "no type"},
        [1, 2, 3],
        None,
        "text",
    ],
)
def test_what_is_not_a_message_is_an_error(value: object) -> None:
    with pytest.raises(LinkError):
        frames.link_decoder().feed(raw(value))


@pytest.mark.parametrize("length", [0, LINK_MESSAGE + 1, 0xFFFFFFFF])
def test_a_frame_of_a_length_out_of_bounds_is_refused_before_its_bytes_come(length: int) -> None:
    with pytest.raises(LinkError):
        frames.link_decoder().feed(length.to_bytes(4, "big"))


def test_a_message_over_the_bound_is_not_sent() -> None:
    with pytest.raises(LinkError, match="over the bound"):
        frames.frame(Refresh(hostname="a" * LINK_MESSAGE))


@settings(deadline=None)
@given(st.binary(max_size=200))
def test_garbage_is_a_link_error_or_nothing(garbage: bytes) -> None:
    decoder = frames.channel_decoder()
    try:
        message = decoder.decode(garbage)
    except LinkError:
        return
    assert message is None or isinstance(message, ChannelMessage)


@settings(deadline=None)
@given(
    st.recursive(
        st.none() | st.booleans() | st.integers(-(2**63), 2**63) | st.text(),
        lambda x: st.lists(x) | st.dictionaries(st.text(), x),
    )
)
def test_any_msgpack_is_a_message_or_skipped_or_a_link_error(value: object) -> None:
    try:
        frames.link_decoder().feed(raw(value))
    except LinkError:
        return


def test_deep_nesting_is_a_link_error() -> None:
    with pytest.raises(LinkError):
        frames.channel_decoder().decode(b"\x91" * 100_000 + b"\x00")


def test_packets_have_no_length_before_them() -> None:
    decoder = frames.channel_decoder()
    assert decoder.decode(frames.packet(Ready())) == Ready()
    result = Result(id=3, ok=True, data={"workers": [1, 2]})
    assert decoder.decode(frames.packet(result)) == result
