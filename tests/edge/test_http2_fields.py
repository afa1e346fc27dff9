"""Fields of requests to heads for the origin, and the origin's lines to fields."""

from typing import Any

import ngh2
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from edgeproxy.edge.headers import Field
from edgeproxy.edge.http1 import Refusal
from edgeproxy.edge.http2_fields import Malformed, Repeated
from edgeproxy.limits import HEADER_MEMO_ENTRIES, HEADER_MEMO_LINE, Limits
from edgeproxy.units import Size
from tests.http2_peer import GET, POST, WEBSOCKET, fields_for


def without(fields: list[Field], name: bytes) -> list[Field]:
    return [field for field in fields if field[0] != name]


def instead(fields: list[Field], name: bytes, value: bytes) -> list[Field]:
    return [(n, value if n == name else v) for n, v in fields]


def test_a_request_becomes_the_head_that_an_http1_origin_understands() -> None:
    head = fields_for().head([*GET, (b"user-agent", b"x"), (b"accept", b"text/html"), (b"cookie", b"a=b")], True)
    assert (
        head.head
        == b"GET /a?b=c HTTP/1.1\r\nhost: gallery.example.com\r\nuser-agent: x\r\naccept: text/html\r\ncookie: a=b\r\n"
    )
    assert (head.method, head.target, head.host, head.accept) == (b"GET", b"/a?b=c", "gallery.example.com", b"text/html")
    assert (head.length, head.expect, head.upgrade, head.close, head.version) == (0, False, False, False, 2)


def test_cookie_crumbs_are_joined_into_one_line() -> None:
    head = fields_for().head([*GET, (b"cookie", b"a=b"), (b"x", b"y"), (b"cookie", b"c=d"), (b"cookie", b"e=f")], True)
    assert head.head.endswith(b"cookie: a=b; c=d; e=f\r\nx: y\r\n")


def test_a_repeated_field_that_is_not_a_cookie_stays_repeated() -> None:
    head = fields_for().head([*GET, (b"accept", b"text/html"), (b"x", b"1"), (b"x", b"2")], True)
    assert head.head.endswith(b"accept: text/html\r\nx: 1\r\nx: 2\r\n")


@pytest.mark.parametrize(
    "name",
    [b"workspace-id", b"workspace_id", b"workspace.id", b"via", b"x-real-ip", b"x_forwarded_for", b"proxy", b"te", b"trailer"],
)
def test_what_is_the_edges_own_to_say_is_left_out(name: bytes) -> None:
    head = fields_for().head([*GET, (b"a", b"b"), (name, b"trailers"), (b"c", b"d")], True)
    assert head.head == b"GET /a?b=c HTTP/1.1\r\nhost: gallery.example.com\r\na: b\r\nc: d\r\n"


def test_forwarding_fields_are_kept_aside() -> None:
    head = fields_for().head(
        [*GET, (b"x-forwarded-for", b"192.0.2.1"), (b"forwarded", b"for=a"), (b"x-request-id", b"7")], True
    )
    assert head.forwarded == ((b"x-forwarded-for", b"192.0.2.1"), (b"forwarded", b"for=a"), (b"x-request-id", b"7"))
    assert head.head.count(b"\r\n") == 2


@pytest.mark.parametrize(
    ("fields", "end", "length", "expect"),
    [
        (POST, False, -1, False),
        ([*POST, (b"content-length", b"12")], False, 12, False),
        ([*POST, (b"content-length", b"0")], True, 0, False),
        ([*POST, (b"expect", b"100-Continue")], False, -1, True),
        ([*POST, (b"expect", b"100-continue")], True, 0, False),
    ],
)
def test_the_bodys_length_is_known_or_not(fields: list[Field], end: bool, length: int, expect: bool) -> None:
    head = fields_for().head(fields, end)
    assert (head.length, head.expect) == (length, expect)
    assert b"content-length" not in head.head
    assert b"expect" not in head.head


def test_an_extended_connect_becomes_a_get_that_asks_for_an_upgrade() -> None:
    head = fields_for().head([*WEBSOCKET, (b"sec-websocket-version", b"13"), (b"sec-websocket-key", b"x")], False)
    assert head.upgrade
    assert head.length == 0
    assert head.head == b"GET /a?b=c HTTP/1.1\r\nhost: gallery.example.com\r\nsec-websocket-version: 13\r\n"


def test_options_of_the_whole_server_is_served() -> None:
    head = fields_for().head(instead(instead(GET, b":method", b"OPTIONS"), b":path", b"*"), True)
    assert (head.target, head.head[:21]) == (b"*", b"OPTIONS * HTTP/1.1\r\nh")


def test_host_stands_in_for_authority() -> None:
    head = fields_for().head([*without(GET, b":authority"), (b"host", b"Shop.example.com:443")], True)
    assert head.host == "shop.example.com"
    assert head.head == b"GET /a?b=c HTTP/1.1\r\nhost: Shop.example.com:443\r\n"


def test_host_beside_the_same_authority_is_said_once() -> None:
    head = fields_for().head([*GET, (b"host", b"Gallery.example.com"), (b"a", b"b")], True)
    assert head.head == b"GET /a?b=c HTTP/1.1\r\nhost: gallery.example.com\r\na: b\r\n"


def test_an_authority_that_can_name_no_site_leaves_the_host_empty() -> None:
    assert fields_for().head(instead(GET, b":authority", b"192.0.2.7:443"), True).host == ""


MALFORMED: dict[str, list[Field]] = {
    "no method": without(GET, b":method"),
    "no scheme": without(GET, b":scheme"),
    "no path": without(GET, b":path"),
    "no authority": without(GET, b":authority"),
    "empty path": instead(GET, b":path", b""),
    "path without a slash": instead(GET, b":path", b"a"),
    "path with a blank": instead(GET, b":path", b"/a b"),
    "path with a line end": instead(GET, b":path", b"/a\r\nworkspace-id: evil"),
    "path with a fragment": instead(GET, b":path", b"/a#b"),
    "path beyond ASCII": instead(GET, b":path", b"/\xff"),
    "absolute path": instead(GET, b":path", b"https://gallery.example.com/"),
    "asterisk with GET": instead(GET, b":path", b"*"),
    "invalid method": instead(GET, b":method", b"GE T"),
    "empty authority": instead(GET, b":authority", b""),
    "userinfo": instead(GET, b":authority", b"u:p@gallery.example.com"),
    "authority with a line end": instead(GET, b":authority", b"gallery.example.com\r\nx: y"),
    "port out of range": instead(GET, b":authority", b"gallery.example.com:99999"),
    "host differs": [*GET, (b"host", b"other.example.com")],
    "host differs by port": [*GET, (b"host", b"gallery.example.com:8443")],
    "two hosts": [*without(GET, b":authority"), (b"host", b"a.example"), (b"host", b"a.example")],
    "repeated pseudo-field": [*GET, (b":path", b"/b")],
    "pseudo-field behind fields": [*GET[:3], (b"a", b"b"), GET[3]],
    "pseudo-field behind host": [*GET[:3], (b"host", b"gallery.example.com"), GET[3]],
    "pseudo-field behind a cookie": [*GET[:3], (b"cookie", b"a=b"), GET[3]],
    "unknown pseudo-field": [*GET, (b":status", b"200")],
    "protocol without CONNECT": [*GET, (b":protocol", b"websocket")],
    "CONNECT with a path": instead(GET, b":method", b"CONNECT"),
    "upper case": [*GET, (b"X-A", b"b")],
    "empty name": [*GET, (b"", b"b")],
    "blank in a name": [*GET, (b"a b", b"c")],
    "colon in a name": [*GET, (b"a:b", b"c")],
    "line end in a value": [*GET, (b"a", b"b\r\nworkspace-id: evil")],
    "line feed in a cookie": [*GET, (b"cookie", b"a=b\nx: y"), (b"cookie", b"c")],
    "NUL in a value": [*GET, (b"a", b"b\0")],
    "blank before a value": [*GET, (b"a", b" b")],
    "blank behind a value": [*GET, (b"a", b"b\t")],
    "connection": [*GET, (b"connection", b"close")],
    "keep-alive": [*GET, (b"keep-alive", b"5")],
    "proxy-connection": [*GET, (b"proxy-connection", b"close")],
    "transfer-encoding": [*GET, (b"transfer-encoding", b"chunked")],
    "upgrade": [*GET, (b"upgrade", b"websocket")],
    "te with another value": [*GET, (b"te", b"trailers, deflate")],
    "content-length twice": [*GET, (b"content-length", b"0"), (b"content-length", b"0")],
    "content-length of no digits": [*GET, (b"content-length", b"+0")],
    "content-length without content": [*GET, (b"content-length", b"1")],
    "nothing": [],
}


@pytest.mark.parametrize("fields", MALFORMED.values(), ids=MALFORMED)
def test_a_malformed_request_is_never_made_a_head(fields: list[Field]) -> None:
    with pytest.raises(Malformed):
        fields_for().head(fields, True)


@pytest.mark.parametrize(
    ("fields", "status"),
    [
        ([(b":method", b"CONNECT"), (b":authority", b"gallery.example.com:443")], 405),
        (instead(GET, b":method", b"TRACE"), 405),
        (instead(WEBSOCKET, b":protocol", b"connect-udp"), 501),
        (WEBSOCKET, 400),
        (instead(GET, b":scheme", b"ftp"), 400),
        (instead(GET, b":path", b"/" + b"x" * 16 * 1024), 414),
        ([*GET, *[(b"a%d" % n, b"b") for n in range(128)]], 431),
        ([*GET, *[(b"a", b"b" * 8000)] * 4, (b"c", b"d" * 1000)], 431),
        ([*POST, (b"expect", b"200-ok")], 417),
    ],
)
def test_what_is_well_formed_but_not_served_has_a_status(fields: list[Field], status: int) -> None:
    with pytest.raises(Refusal) as caught:
        fields_for().head(fields, True)
    assert caught.value.status == status
    assert ("(limits." in caught.value.reason) == (status in (414, 431))  # an operator finds what may be raised


def test_cookie_crumbs_count_as_one_field() -> None:
    fields = fields_for(Limits(header_count=8))
    assert fields.head([*GET, *[(b"cookie", b"a=%d" % n) for n in range(50)]], True).host == "gallery.example.com"


def test_the_memos_are_bounded() -> None:
    fields = fields_for()
    for n in range(2 * HEADER_MEMO_ENTRIES + 5):
        fields.head([*instead(GET, b":authority", b"h%d.example" % n), (b"a", b"%d" % n)], True)
    assert len(fields) <= HEADER_MEMO_ENTRIES
    assert len(fields.hosts) <= HEADER_MEMO_ENTRIES
    fields.head([*GET, (b"long", b"x" * HEADER_MEMO_LINE)], True)
    assert not any(name == b"long" for name, _ in fields)


names = st.sampled_from(
    [b"a", b"cookie", b"accept", b"host", b"content-length", b"te", b"x-forwarded-for", b"workspace_id", b"A", b"c:"]
)
values = st.sampled_from(
    [b"", b"0", b"a=b", b"trailers", b"gallery.example.com", b" x", b"x\r\ny: z", b"\xff", b"100-continue"]
)
pseudo_fields = st.lists(
    st.tuples(
        st.sampled_from([b":method", b":scheme", b":authority", b":path", b":protocol"]),
        st.sampled_from([b"GET", b"CONNECT", b"https", b"gallery.example.com", b"/", b"*", b"", b"/ ", b"websocket"]),
    ),
    max_size=6,
)


@example(GET, [(b"cookie", b""), (b"a", b"")])
@given(st.one_of(st.permutations(GET), pseudo_fields), st.lists(st.tuples(names, values), max_size=6))
def test_the_quick_way_never_disagrees_with_the_one_that_decides(first: list[Field], rest: list[Field]) -> None:
    fields = fields_for()
    request = [*first, *rest]
    try:
        quick = fields.plain(request)
    except Malformed:
        quick = None
        with pytest.raises((Malformed, Refusal)):
            fields.head(request, True)
    if quick is not None:
        assert quick == fields.head(request, True)


@given(st.lists(st.tuples(st.binary(max_size=12), st.binary(max_size=12)), max_size=4))
def test_no_field_can_bring_a_line_of_its_own(rest: list[Field]) -> None:
    try:
        head = fields_for().head([*GET, *rest], True).head
    except (Malformed, Refusal):
        return
    lines = head.split(b"\r\n")
    assert lines.pop() == b""
    assert len(lines) <= 2 + len(rest)
    assert not any(b"\n" in line or b"\r" in line or b"\0" in line for line in lines)


def test_what_a_client_marks_as_secret_is_not_remembered() -> None:
    fields = fields_for()
    secret = ngh2.NeverIndexedHeader(b"x-key", b"secret")
    for _ in range(2):
        assert b"x-key: secret\r\n" in fields.head([*GET, secret, (b"a", b"b")], True).head
    assert list(fields) == [(b"a", b"b")]


@given(
    st.lists(
        st.tuples(
            st.sampled_from([b"/a", b"/b?c=d", b"/ ", b"*", b"/" + b"x" * 70, b"/" + b"y" * 40]),
            st.sampled_from([b"GET", b"HEAD", b"POST", b"CONNECT"]),
            st.sampled_from([b"gallery.example.com", b"b.example", b"bad host"]),
            st.lists(st.tuples(names, values), max_size=3),
            st.permutations(range(4)),
        ),
        max_size=8,
    )
)
def test_what_is_known_of_the_request_before_changes_nothing(requests: list[Any]) -> None:
    limits = Limits(request_line=Size(60), request_head=Size(160))
    fields, repeated = fields_for(limits), Repeated(fields_for(limits))
    for target, method, authority, rest, order in requests:
        pseudo = [(b":method", method), (b":scheme", b"https"), (b":authority", authority), (b":path", target)]
        request = (*(pseudo[n] for n in order), *rest)
        outcomes = []
        for head in (fields.plain, repeated.head):
            try:
                outcomes.append(head(request))
            except Malformed:
                outcomes.append(None)
        assert outcomes[0] == outcomes[1]


def test_a_request_like_the_one_before_but_for_its_path_is_the_same_but_for_its_path() -> None:
    repeated = Repeated(fields_for())
    for path in (b"/", b"/a", b"/a/b?c"):
        head = repeated.head((*instead(GET, b":path", path), (b"a", b"b")))
        assert head is not None
        assert head.head == b"GET " + path + b" HTTP/1.1\r\nhost: gallery.example.com\r\na: b\r\n"
        assert (head.target, head.host) == (path, "gallery.example.com")


def test_connections_have_the_fields_in_common_that_many_send() -> None:
    known, long = fields_for(), b"x" * 200

    def fresh() -> list[Field]:
        return [(bytes(bytearray(name)), bytes(bytearray(value))) for name, value in [*GET, (b"a", b"b"), (b"cookie", long)]]

    first, second = known.shared(fresh()), known.shared(fresh())
    assert first == second == tuple(fresh())
    assert [one is other for one, other in zip(first, second, strict=True)] == [*[True] * (len(first) - 1), False]
    for number in range(HEADER_MEMO_ENTRIES):
        known.shared([(b"a", b"%d" % number)])
    assert len(known._shared) <= HEADER_MEMO_ENTRIES
    assert known.shared(fresh())[0] is not first[0]


@pytest.mark.parametrize("size", [1, 500])
def test_what_is_too_large_is_refused_before_each_field_is_looked_at(size: int) -> None:
    fields = fields_for(Limits(header_count=128 if size == 1 else 1000))
    with pytest.raises(Refusal) as caught:
        fields.head([*GET, *[(b"x%d" % n, b"y" * size) for n in range(900)]], True)
    assert caught.value.status == 431
    assert len(fields) < 70


@pytest.mark.parametrize("value", [b"%b", b"%b\xff\t ~", b"a %b"])
@pytest.mark.parametrize("inside", [b"", b"\n", b"\r", b"\0", b"\x1f", b"\x7f"])
def test_long_values_are_held_to_the_same_bytes(value: bytes, inside: bytes) -> None:
    long = value % (b"x" * HEADER_MEMO_LINE + inside + b"x" * HEADER_MEMO_LINE)
    for field in ((b"a", long), (b"cookie", long)):
        if inside:
            with pytest.raises(Malformed):
                fields_for().head([*GET, field], True)
        else:
            assert long in fields_for().head([*GET, field], True).head


@pytest.mark.parametrize("blank", [b" ", b"\t"])
def test_long_values_have_no_blanks_at_their_ends(blank: bytes) -> None:
    for value in (blank + b"x" * 1000, b"x" * 1000 + blank):
        with pytest.raises(Malformed):
            fields_for().head([*GET, (b"a", value)], True)
