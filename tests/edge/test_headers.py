"""Field lines: meanings, likenesses, authorities, trailers and the memo's bounds."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgeproxy.edge.headers import (
    DROP,
    FORWARDED,
    HOST,
    KEEP,
    REFUSE,
    UNINDEXED_VALUE,
    VALUES,
    RequestHead,
    RequestLines,
    ResponseLines,
    likeness,
    parse_authority,
    trailer_lines,
)
from edgeproxy.limits import HEADER_MEMO_ENTRIES, HEADER_MEMO_LINE


def meaning(line: bytes, header: str = "workspace-id") -> int:
    result = RequestLines(header).classify(line)
    return result if isinstance(result, int) else result[0]


def test_meanings_of_request_fields():
    assert meaning(b"Host: a") == HOST
    assert meaning(b"X-Forwarded-For: 1.2.3.4") == FORWARDED
    assert meaning(b"Forwarded: for=a") == FORWARDED
    assert meaning(b"Accept-Language: de") == KEEP
    assert meaning(b"TE: trailers") == DROP
    assert meaning(b"bad line") == REFUSE


@pytest.mark.parametrize(
    "name", [b"Workspace-Id", b"WORKSPACE_ID", b"workspace.id", b"workspace~id", b"Via", b"X_Real-IP", b"X_Forwarded_For"]
)
def test_whatever_an_origin_could_read_as_one_of_the_edges_names_is_dropped(name: bytes):
    assert meaning(name + b": evil") == DROP


def test_the_workspace_header_can_have_another_name():
    assert meaning(b"x-tenant: evil", "X-Tenant") == DROP
    assert meaning(b"workspace-id: mine", "X-Tenant") == KEEP


@given(st.binary(min_size=1, max_size=30))
def test_likeness_is_blind_to_case_and_punctuation(name: bytes):
    assert likeness(name) == likeness(name.upper()) == likeness(likeness(name))


@pytest.mark.parametrize(
    ("value", "host"),
    [
        (b"A.Example.", "a.example"),
        (b"a.example:8443", "a.example"),
        (b"a.example:", "a.example"),
        (b"127.0.0.1", ""),
        (b"[::1]:443", ""),
        (b"single", ""),
        (b"", None),
        (b"a.example:99999", None),
        (b"a.example:-1", None),
        (b"a b", None),
        (b"user@a.example", None),
        (b"a.example/path", None),
        (b"a.example,b.example", ""),
        (b"\xc3\xa4.example", None),
    ],
)
def test_authorities(value: bytes, host: str | None):
    assert parse_authority(value) == host


def test_trailers_lose_what_frames_or_routes():
    lines = [
        b"X-Sum: 1",
        b"Content-Length: 5",
        b"Transfer-Encoding: chunked",
        b"Host: b",
        b"Authorization: x",
        b"Workspace-Id: e",
    ]
    assert trailer_lines(lines, RequestLines("workspace-id")) == [b"X-Sum: 1"]
    assert trailer_lines([b"Grpc-Status: 0", b"Set-Cookie: a"]) == [b"Grpc-Status: 0"]
    assert trailer_lines([b"broken"]) is None


def kind_of(lines: RequestLines | ResponseLines, line: bytes) -> int:
    found = lines.memo.get(line) or lines.classify(line)
    return found if isinstance(found, int) else found[0]


@pytest.mark.parametrize("kind", [lambda: RequestLines("workspace-id"), ResponseLines])
def test_the_memo_has_a_bound_and_an_answer_does_not_depend_on_it(kind):
    lines = kind()
    for number in range(HEADER_MEMO_ENTRIES + 10):
        assert kind_of(lines, b"x-a%d: 1" % number) == KEEP
        assert len(lines.memo) <= HEADER_MEMO_ENTRIES
    assert kind_of(lines, b"x-a: " + b"a" * HEADER_MEMO_LINE) == KEEP
    assert b"x-a: " + b"a" * HEADER_MEMO_LINE not in lines.memo
    lines.classify(b"no colon")
    assert b"no colon" not in lines.memo


@pytest.mark.parametrize("kind", [lambda: RequestLines("workspace-id"), ResponseLines])
def test_a_name_whose_value_is_always_another_drives_nothing_out(kind):
    lines = kind()
    kind_of(lines, b"Server: nginx")
    for number in range(10 * VALUES):
        assert kind_of(lines, b"X-Request-Id: %d" % number) in (KEEP, FORWARDED)
        kind_of(lines, b"Set-Cookie: secret=%d" % number)
    assert b"Server: nginx" in lines.memo
    assert len(lines.memo) == 1 + VALUES
    assert not any(line.startswith(b"Set-Cookie") for line in lines.memo)


def test_todays_date_is_remembered_however_many_there_were():
    lines = ResponseLines()
    for number in range(VALUES + 2):
        lines.classify(b"Date: %d" % number)
    assert b"Date: %d" % (VALUES + 1) in lines.memo


def test_a_short_field_whose_value_is_always_another_is_marked_for_no_table():
    class Marked(tuple[bytes, bytes]):
        __slots__ = ()

    lines = ResponseLines(Marked)
    for number in range(VALUES):
        assert type(lines.classify(b"X-Run-Time: %d" % number)[1]) is tuple
    assert lines.classify(b"X-Run-Time: 999")[1] == (b"x-run-time", b"999")
    assert type(lines.classify(b"X-Run-Time: 999")[1]) is Marked
    assert type(lines.classify(b"X-Run-Time: " + b"9" * (UNINDEXED_VALUE + 1))[1]) is tuple


def test_an_origins_lines_become_lower_case_fields():
    answers = ResponseLines()
    lines = [b"Content-Type: text/html", b"X-Empty:", b"Set-Cookie:  a=b ", b"Set-Cookie: c=d"]
    expected = [(b"content-type", b"text/html"), (b"x-empty", b""), (b"set-cookie", b"a=b"), (b"set-cookie", b"c=d")]
    assert answers.fields(lines) == expected
    assert answers.fields(lines) == expected


@pytest.mark.parametrize(
    ("line", "value"),
    [
        (b"Accept: text/html", b"text/html"),
        (b"accept:a/b ", b"a/b "),
        (b"ACCEPT:\t", b""),
        (b"X-Accept: no", b""),
        (b"A: accept: no", b""),
    ],
)
def test_what_a_client_accepts_is_found_in_its_head(line: bytes, value: bytes):
    assert (
        RequestHead(b"GET", b"/accept: no", "a.example", b"GET /accept: no HTTP/1.1\r\nHost: a\r\n" + line + b"\r\n").accept
        == value
    )
