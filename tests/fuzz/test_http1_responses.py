"""Origins' answers over HTTP/1.1: what the edge takes, and what it makes of it for the client, others understand alike."""

from __future__ import annotations

import re
from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from edgeproxy.edge.beginning import Beginning
from edgeproxy.edge.headers import LENGTH_UNTIL_CLOSE, ResponseHead, ResponseLines, trailer_lines
from edgeproxy.edge.http1 import chunk, last_chunk
from tests.fuzz.amount import cases
from tests.fuzz.http1_opinions import (
    REFUSED,
    WAITS,
    Message,
    Reading,
    disagreement,
    h11_responses,
    llhttp_responses,
    our_responses,
    stricter,
)
from tests.fuzz.http1_streams import cuts, one_thing_wrong, response_streams

THEY_ARE_STRICTER = re.compile(
    # h11
    r"Received server _SWITCH_UPGRADE event without a pending proposal"  # the connection refuses a 101 that is unasked
    r"|illegal chunk header: bytearray\(b'[0-9a-f]+([ \\t]|\\\\t)+[\\r;]"  # blanks between size and extension
    # llhttp
    r"|Invalid character in chunk (extensions|size)"  # which we drop; a blank before them (RFC 9112 section 7.1.1: BWS)
).match
"""What others refuse of what we take. None of it reaches a client."""
WARM, KNOWN = ResponseLines(), Beginning()
"""What a worker knows of field lines, and of an origin's answers, from all cases before."""
methods = st.sampled_from([b"GET", b"GET", b"GET", b"HEAD", b"POST"])


def sent(message: Message) -> bytes:
    """What a client of HTTP/1.1 gets of an answer that came whole."""
    head: ResponseHead = message.head
    parts = [head.whole] if head.whole else [head.start_line, *head.lines]
    if head.length >= 0:
        return b"\r\n".join((*parts, b"", message.body))
    lines = trailer_lines([name + b": " + value for name, value in message.trailers])
    assert lines is not None
    return b"\r\n".join((*parts, b"transfer-encoding: chunked", b"", chunk(message.body) + last_chunk(lines)))


def check_understood(data: bytes, method: bytes) -> Reading:
    """Ours of an origin's stream, once it has been seen that nobody takes it for anything else."""
    ours = our_responses([data], method, WARM, KNOWN)
    others = {"h11": h11_responses(data, method)}
    if method != b"HEAD":
        others["llhttp"] = llhttp_responses(data)
    for name, theirs in others.items():
        difference = disagreement(ours, theirs)
        assert not difference, f"{name}: {difference}"
        why = stricter(ours, theirs)
        assert not why or THEY_ARE_STRICTER(why), f"{name} refuses what we take: {why}"
    return ours


def check_sent(ours: Reading, method: bytes) -> None:
    """Each answer that came whole is exactly one at the client, with the same status and body."""
    for message in ours.messages:
        if message.end is None or message.head.status < 200:  # h11 wants the final answer too
            continue
        text = sent(message)
        theirs = h11_responses(text, method)
        assert theirs.how != REFUSED, theirs.why
        (one,) = theirs.messages
        assert (one.start, one.body, one.end) == (message.start, message.body, len(text))
        names = [name for name, _ in one.fields]
        assert names.count(b"content-length") + names.count(b"transfer-encoding") <= 1


def test_whatever_one_thing_is_wrong_we_refuse_it_or_others_take_it_for_the_same() -> None:
    found = Counter[str]()
    for data in one_thing_wrong(answers=True):
        ours = check_understood(data, b"GET")
        check_sent(ours, b"GET")
        found[ours.how] += 1
    assert found[REFUSED] > 500
    assert found[WAITS] > 60, "nearly nothing is taken: nothing is compared"


@given(response_streams, methods)
@cases(80)
def test_what_we_take_others_take_for_the_same(data: bytes, method: bytes) -> None:
    check_sent(check_understood(data, method), method)


@given(st.data(), methods)
@cases(80)
def test_a_stream_means_the_same_however_it_is_cut(data: st.DataObject, method: bytes) -> None:
    stream = data.draw(response_streams)
    assert our_responses(data.draw(cuts(stream)), method, WARM, KNOWN).facts() == our_responses([stream], method).facts()


def test_an_answer_without_a_length_lasts_until_the_end() -> None:
    ours = our_responses([b"HTTP/1.1 200 OK\r\n\r\nabc", b"def"], b"GET")
    (one,) = ours.messages
    assert (one.head.length, one.body, one.end) == (LENGTH_UNTIL_CLOSE, b"abcdef", 25)
