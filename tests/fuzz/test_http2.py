"""HTTP/2: frames and HPACK as our server's side reads them over libnghttp2, and as h2 does."""

from __future__ import annotations

import re
from collections import Counter
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from edgeproxy.edge.headers import RequestHead
from tests.fuzz.amount import cases
from tests.fuzz.http1_streams import cuts
from tests.fuzz.http2_opinions import View, h2_view, our_view
from tests.fuzz.http2_streams import GOAWAY, one_thing_odd, sessions

THEY_ARE_STRICTER = re.compile(
    r"ProtocolError: Stream \d+ may not depend on itself|.*Stream ID must be non-zero for PriorityFrame"  # we ignore PRIORITY
    r"|ProtocolError: Invalid input ConnectionInputs\.\w+ in state ConnectionState\.CLOSED"  # open streams behind a GOAWAY
    r"|ProtocolError: Received frame with invalid padding"  # HEADERS of nothing but padding, with CONTINUATIONs behind
    r"|StreamIDTooLowError|StreamClosedError"  # frames for streams that are over: libnghttp2 ignores them
).match
"""Why h2 refuses what we take."""

_NONE: Any = "nothing"


def frames_of(data: bytes) -> list[bytes]:
    """The bytes cut behind each frame."""
    frames = []
    while data:
        size = 9 + int.from_bytes(data[:3], "big")
        frames.append(data[:size])
        data = data[size:]
    return frames


def check_alike(frames: list[bytes]) -> View:
    """Our view, once it has been seen that h2 does not have another one of what we hand on."""
    ours, theirs = our_view(frames), h2_view(frames)
    for stream in ours.requests.keys() | theirs.requests.keys():
        mine, other = ours.requests.get(stream, _NONE), theirs.requests.get(stream, _NONE)
        if not isinstance(mine, RequestHead):
            assert mine is not _NONE or other is None or ours.over or stream in ours.lost, f"{stream}: {other} is nothing to us"
        elif other is _NONE:
            # A malformed message ends a stream for us (RFC 9113 section 8.1.1), and the connection for h2.
            assert (theirs.over and ours.lost) or THEY_ARE_STRICTER(theirs.over), (
                f"{stream}: h2 refuses {mine}: {theirs.over or theirs}"
            )
        else:
            assert mine == other
            _check_rest(stream, ours, theirs)
    return ours


def _check_rest(stream: int, ours: View, theirs: View) -> None:
    """What comes behind a head that both have taken."""
    broken = ours.over or theirs.over or stream in ours.lost | theirs.lost
    mine, other = ours.bodies.get(stream, b""), theirs.bodies.get(stream, b"")
    assert mine == other or (broken and (mine.startswith(other) or other.startswith(mine))), stream
    if not broken:
        assert (stream in ours.ended) == (stream in theirs.ended), stream
        assert ours.trailers.get(stream) == theirs.trailers.get(stream), stream
    elif stream in ours.ended and not theirs.over:
        assert stream in theirs.ended, stream


def test_whatever_one_thing_is_odd_we_refuse_it_or_h2_takes_it_for_the_same() -> None:
    found = Counter[bool]()
    for frames in one_thing_odd():
        ours = check_alike([frame.serialize() for frame in frames])
        found[isinstance(ours.requests.get(1), RequestHead)] += 1
    assert found[True] > 200, "nearly nothing is taken: nothing is compared"
    assert found[False] > 200


@given(sessions())
@cases(60)
def test_what_we_take_h2_takes_for_the_same(frames: list[Any]) -> None:
    check_alike([frame.serialize() for frame in frames])


@given(st.data())
@cases(40)
def test_a_session_means_the_same_however_it_is_cut(data: st.DataObject) -> None:
    # Behind a client's GOAWAY its connection is over once no stream is open, whatever the next read would have brought.
    frames = [frame for frame in data.draw(sessions()) if frame.type != GOAWAY]
    stream = b"".join(frame.serialize() for frame in frames)
    assert our_view(data.draw(cuts(stream))).facts() == our_view([stream]).facts()
