"""Which answers are compressed, with what, and what their heads say."""

from __future__ import annotations

import msgspec
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from edgeproxy.config.compression import Compression
from edgeproxy.edge.encoding import (
    Rules,
    Wishes,
    accepted,
    compressible,
    encoded_head,
    hidden,
    refreshed_head,
    rules,
    weak,
    wishes,
    with_vary,
)
from edgeproxy.edge.headers import LENGTH_CHUNKED, LENGTH_UNTIL_CLOSE, RequestHead, ResponseHead, parse_line
from edgeproxy.policies import Policies

OFFERED = ("zstd", "br", "gzip")
KNOWN = rules(
    Compression(enabled=True, types=("text/html", "application/json", "font/*"), never=("/Account", "/a/b"))
) or Rules((), frozenset(), (), 0, ())
CODINGS = st.sampled_from([b"zstd", b"br", b"gzip", b"x-gzip", b"identity", b"*", b"deflate", b"GZIP"])
QUALITIES = st.sampled_from([b"", b";q=0", b"; q=0.5", b";Q=1.000", b" ;q=0.001", b";q=0.50"])
BLANKS = st.sampled_from([b"", b" ", b"\t "])


def request(*lines: bytes, target: bytes = b"/") -> RequestHead:
    head = b"\r\n".join((b"GET " + target + b" HTTP/1.1", b"host: a.test", *lines, b""))
    return RequestHead(b"GET", target, "a.test", head)


def response(*lines: bytes, status: int = 200, length: int | None = None, kind: bytes = b"text/html") -> ResponseHead:
    raw = [b"Content-Type: " + kind] if kind else []
    raw += lines
    if length is not None:
        raw.append(b"Content-Length: %d" % length)
    fields = [(b":status", b"%d" % status)]
    for line in raw:
        name, value = parse_line(line)  # type: ignore[misc]
        fields.append((name.lower(), value))
    raw.append(b"Connection: keep-alive")
    return ResponseHead(status, b"", raw, raw[-1:], fields, LENGTH_CHUNKED if length is None else length, True)


# Accept-Encoding


@pytest.mark.parametrize(
    ("value", "coding"),
    [
        (b"gzip, deflate, br, zstd", "zstd"),  # what browsers say
        (b"gzip, deflate, br", "br"),
        (b"gzip, deflate", "gzip"),
        (b"GZip", "gzip"),
        (b"x-gzip", "gzip"),
        (b"deflate", ""),
        (b"", ""),
        (b"identity", ""),
        (b"zstd;q=0.5, br;q=0.9, gzip;q=0.9", "br"),
        (b"zstd;q=0, br;q=0.001", "br"),
        (b"zstd;q=0,br;q=0,gzip;q=0", ""),
        (b"*", "zstd"),
        (b"*;q=0.1, gzip;q=0.2", "gzip"),
        (b"*, zstd;q=0", "br"),
        (b"*;q=0", ""),
        (b"*;q=0, gzip", "gzip"),
        (b"gzip;q=0.5, identity", ""),
        (b"gzip;q=0.5, identity;q=0.5", "gzip"),
        (b"gzip;q=0.5, identity;q=0", "gzip"),
        (b"identity;q=0", ""),
        (b"identity;q=0.5, *;q=0.4", ""),
        (b"gzip;q=1.5", ""),  # no quality: the element counts for nothing
        (b"gzip;q=0.1234", ""),
        (b"gzip;q=, br", "br"),
        (b"gzip q=1, br;level=3", ""),
        (b"gzip;q=0, gzip", ""),
        (b" ,, gzip ; q=0.3 ,", "gzip"),
        (b"a," * 64 + b"gzip", ""),
        (b"gzip," + b"x" * 1024, ""),
    ],
)
def test_the_client_s_word_decides(value: bytes, coding: str) -> None:
    assert accepted(value, OFFERED) == coding


def test_the_order_of_what_is_offered_decides_between_equals() -> None:
    assert accepted(b"gzip, br, zstd", ("gzip", "br")) == "gzip"
    assert accepted(b"zstd", ("gzip", "br")) == ""


@given(st.lists(st.tuples(BLANKS, CODINGS, QUALITIES, BLANKS), max_size=8), st.permutations(OFFERED))
@example([(b"", b"identity", b";q=0", b"")], OFFERED)
def test_nothing_is_sent_that_was_not_accepted_or_is_liked_less(
    elements: list[tuple[bytes, bytes, bytes, bytes]], offered: list[str]
) -> None:
    said: dict[str, float] = {}
    for _, name, quality, _ in elements:
        said.setdefault(
            {"x-gzip": "gzip"}.get(name.decode().lower(), name.decode().lower()),
            float(quality.lower().partition(b"q=")[2] or 1),
        )
    coding = accepted(b",".join(b"".join(element) for element in elements), tuple(offered))
    qualities = {each: said.get(each, said.get("*", 0.0)) for each in offered}
    if coding:
        assert qualities[coding] > 0
        assert qualities[coding] == max(qualities.values())
        assert qualities[coding] >= said.get("identity", 0.0)
        assert coding == next(each for each in offered if qualities[each] == qualities[coding])
    else:
        assert max(qualities.values()) == 0 or said.get("identity", 0.0) > max(qualities.values())


@given(st.binary(max_size=60))
def test_any_bytes_have_an_answer(value: bytes) -> None:
    coding = accepted(value, OFFERED)
    assert coding in ("", *OFFERED)
    if coding:
        names = value.lower()
        assert coding.encode() in names or b"*" in names


# What requests say


def test_fields_of_one_name_are_one_list_and_others_are_not_it() -> None:
    assert wishes(request(b"Accept-Encoding: gzip;q=0.5", b"ACCEPT-ENCODING: br"), KNOWN) == Wishes(True, "br")
    assert wishes(request(b"accept_encoding: br", b"x-accept-encoding: br"), KNOWN) == Wishes(True, "")
    assert wishes(request(b'if-none-match: W/"a"', b'if-none-match: "b"'), KNOWN) == Wishes(True, "", b'W/"a","b"')


@pytest.mark.parametrize("line", [b"Range: bytes=0-9", b"range:bytes=0-", b"Cache-Control: max-age=0, No-Transform"])
def test_who_asks_for_a_part_or_forbids_it_gets_the_answer_as_it_is(line: bytes) -> None:
    assert wishes(request(b"Accept-Encoding: gzip", line), KNOWN) == Wishes(False, "")


@pytest.mark.parametrize(
    "target",
    [
        b"/account",
        b"/ACCOUNT/x?y",
        b"/accounts",
        b"//account",
        b"/./account",
        b"/x/../account",
        b"/%61ccount",
        b"/%2561ccount",
        b"/%25252525252561ccount",
        b"/x%2f..%2faccount",
        b"/x\\..\\account",
        b"/;a=1/account",
        b"/account;a=1",
        b"/account/../public",
        b"/account%2f..%2fpublic",
        b"/a//b",
        b"/a/%2e/b",
        b"/a;x/b/c",
    ],
)
def test_a_path_that_an_origin_may_read_as_a_hidden_one_is_one(target: bytes) -> None:
    assert hidden(target, KNOWN.never)
    assert wishes(request(b"Accept-Encoding: gzip", target=target), KNOWN) == Wishes(False, "")


@pytest.mark.parametrize("target", [b"/", b"/public/account", b"/?/account", b"/acc%20ount", b"/100%", b"*", b"/a/c", b"/%zz"])
def test_others_are_not(target: bytes) -> None:
    assert not hidden(target, KNOWN.never)


@given(st.lists(st.sampled_from([b"a", b"/", b"..", b".", b"%2f", b"%2e", b"%61", b";x", b"\\", b"%", b"b"]), max_size=12))
def test_no_way_of_writing_a_path_leads_past(parts: list[bytes]) -> None:
    for beginning in (b"/a/b", b"//a/./b", b"/%61/b", b"/a%2fb", b"/c/../a/b", b"/a;x/b"):
        assert hidden(beginning + b"".join(parts), KNOWN.never)


# What answers say


@pytest.mark.parametrize(
    ("head", "right"),
    [
        (response(), True),
        (response(length=1024), True),
        (response(length=1023), False),
        (response(status=404, length=5000), True),
        (response(kind=b"Application/JSON;charset=x"), True),
        (response(kind=b"font/woff"), True),
        (response(kind=b"text/htmlx"), False),
        (response(kind=b"image/png"), False),
        (response(kind=b""), False),
        (response(b"Content-Type: image/png"), False),
        (response(b"Content-Encoding: gzip"), False),
        (response(b"Content-Encoding: identity"), False),
        (response(b"Content-Range: bytes 0-1/2"), False),
        (response(b"Cache-Control: public", b"Cache-Control: x, NO-TRANSFORM"), False),
        (response(b"Cache-Control: no-store", b"Vary: *"), True),
        (response(b"Repr-Digest: sha-256=:x:"), False),
        (response(b"Content-Digest: sha-256=:x:"), False),
        (response(b"Content-MD5: x"), False),
        (response(b"Signature: sig=:x:"), False),
        (response(status=206), False),
        (response(status=204), False),
        (response(status=304), False),
        (response(status=103), False),
    ],
)
def test_what_may_be_compressed(head: ResponseHead, right: bool) -> None:
    assert compressible(head, KNOWN) is right


def test_nothing_is_compressed_where_it_is_off() -> None:
    assert rules(Compression()) is None
    assert rules(Compression(enabled=True, codings=())) is None
    assert rules(Compression(enabled=True), Policies(compression="off")) is None
    own = rules(Compression(never=("/A",)), Policies(compression="on", compression_never=("/B",)))
    assert own is not None
    assert own.never == (b"/a", b"/b")
    bare = rules(Compression(enabled=True, types=(), minimum=0))  # type: ignore[arg-type]
    assert isinstance(bare, Rules)
    assert not compressible(response(), bare)
    assert not compressible(response(length=0), msgspec.structs.replace(KNOWN, minimum=0))


def lines(head: ResponseHead) -> list[bytes]:
    """The head's lines, which say the same as its fields."""
    assert [(name.lower(), value) for name, value in map(parse_line, head.lines)] == head.fields[1:]  # type: ignore[misc]
    return head.lines


@pytest.mark.parametrize(
    ("said", "now"),
    [
        ([], [b"vary: Accept-Encoding"]),
        ([b"Vary: Origin"], [b"vary: Origin, Accept-Encoding"]),
        ([b"Vary: Origin,  Cookie,", b"vary: X"], [b"vary: Origin, Cookie, X, Accept-Encoding"]),
        ([b"Vary: origin, accept-encoding"], [b"Vary: origin, accept-encoding"]),
        ([b"Vary: *"], [b"Vary: *"]),
        ([b"Vary:"], [b"vary: Accept-Encoding"]),
    ],
)
def test_vary_is_merged(said: list[bytes], now: list[bytes]) -> None:
    head = with_vary(response(*said, length=9))
    assert [line for line in lines(head) if line.lower().startswith(b"vary")] == now
    assert head.length == 9


def test_the_head_of_a_compressed_answer_says_what_it_is() -> None:
    head = response(b'ETag: "v1"', b"Accept-Ranges: bytes", b"Set-Cookie: a=1", b"Set-Cookie: b=2", length=5000)
    rest = [b"Content-Type: text/html", b"Set-Cookie: a=1", b"Set-Cookie: b=2", b"vary: Accept-Encoding"]
    streamed = encoded_head(head, "br", None)
    assert lines(streamed) == [*rest, b"content-encoding: br", b'etag: W/"v1"']
    assert streamed.length == LENGTH_CHUNKED
    whole = encoded_head(head, "gzip", 99)
    assert lines(whole) == [*rest, b"content-encoding: gzip", b'etag: W/"v1"', b"content-length: 99"]
    assert whole.length == 99
    assert head.length == 5000
    assert len(head.lines) == 6  # the origin's is as it was
    until_close = response()
    until_close.length = LENGTH_UNTIL_CLOSE
    assert encoded_head(until_close, "br", None).length == LENGTH_CHUNKED


@pytest.mark.parametrize(
    ("tag", "now"), [(b'"a"', b'W/"a"'), (b'W/"a"', b'W/"a"'), (b'""', b'W/""'), (b"a", b""), (b'"a"b"', b""), (b"", b"")]
)
def test_tags_become_weak_and_what_is_none_goes(tag: bytes, now: bytes) -> None:
    assert weak(tag) == now
    found = dict(encoded_head(response(b"ETag: " + tag), "br", None).fields)
    assert found.get(b"etag", b"") == now


def test_a_304_has_the_tag_that_its_client_knows() -> None:
    head = response(b'ETag: "v1"', status=304, kind=b"")
    assert lines(refreshed_head(head, b'W/"v0", W/"v1"')) == [b'etag: W/"v1"', b"vary: Accept-Encoding"]
    assert refreshed_head(head, b'"v1"') is head
    assert refreshed_head(head, b"*") is head
    weak_one = response(b'ETag: W/"v1"', status=304, kind=b"")
    assert refreshed_head(weak_one, b'W/"v1"') is weak_one
