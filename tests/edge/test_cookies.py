"""Cookies that would be sent to other tenants lose their Domain."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgeproxy.edge.beginning import Beginning
from edgeproxy.edge.cookies import host_only, shared_domains
from edgeproxy.edge.headers import ResponseLines
from edgeproxy.edge.http1 import parse_response
from edgeproxy.limits import Limits
from tests.edge.harness import Edge, Script
from tests.edge.visiting import visiting

SHARED = frozenset(("ve.ai", "customers.example"))


def test_shared_are_the_platform_and_what_patterns_admit() -> None:
    assert shared_domains("ve.ai", ("*.customers.example", "one.example")) == SHARED
    assert shared_domains("", ()) == frozenset()


@pytest.mark.parametrize(
    "domain",
    [
        b"ve.ai",
        b".ve.ai",
        b"VE.AI",
        b"ai",
        b".ai",
        b"ve.ai.",
        b'"ve.ai"',
        b" ve.ai ",
        b"\tve.ai",
        b"customers.example",
        b"example",
    ]
    + [b"..ve.ai", b"v\xc3\xa9.ai"]
    + [b"v%65.ai", b"%2eve%2Eai", b"ve.ai:443", b"ve.ai/", b"\\ve.ai", b"ve .ai", b"%61%69"],
)
@pytest.mark.parametrize("name", [b"Domain", b"domain", b" DOMAIN\t"])
def test_a_domain_that_covers_other_tenants_is_taken_away_and_the_rest_stays(name: bytes, domain: bytes) -> None:
    attribute = b";" + name + b"=" + domain
    assert host_only(b"sid=1; Path=/" + attribute + b"; Secure; HttpOnly", SHARED) == b"sid=1; Path=/; Secure; HttpOnly"
    assert host_only(b"sid=1" + attribute, SHARED) == b"sid=1"
    assert host_only(b"sid=1" + attribute * 3, SHARED) == b"sid=1"
    assert host_only(b"sid=1" + attribute + b"; Domain=a.ve.ai", SHARED) == b"sid=1; Domain=a.ve.ai"


@pytest.mark.parametrize(
    "cookie",
    [b"sid=1", b"sid=1; Domain=gallery.ve.ai", b"sid=1; Domain=shop.example.com", b"sid=1; Domain=", b"sid=1; Domain", b""]
    + [
        b"sid=ve.ai; Path=/ve.ai",
        b"Domain=ve.ai; Path=/",
        b"sid=1; X-Domain=ve.ai",
        b"sid=1; Domain=have.ai",
        b"sid=1; Domain=e.ai",
    ],
)
def test_what_covers_nobody_else_stays_as_it_is(cookie: bytes) -> None:
    assert host_only(cookie, SHARED) is cookie


def believed(cookie: bytes) -> bytes | None:
    """The Domain that a browser takes of it (RFC 6265 section 5.2): the last one that is not empty."""
    found = None
    for part in cookie.split(b";")[1:]:
        name, _, value = part.partition(b"=")
        if name.strip(b" \t").lower() == b"domain" and value.strip(b" \t"):
            found = value.strip(b" \t").removeprefix(b".").lower()
    return found


@given(
    st.lists(
        st.sampled_from([b";", b"=", b"domain", b"Domain", b" ", b"\t", b"ve.ai", b".ve.ai", b"ai", b"x", b".", b'"']),
        max_size=20,
    )
)
def test_however_it_is_written_no_browser_takes_it_for_all_tenants(parts: list[bytes]) -> None:
    assert believed(host_only(b"".join(parts), SHARED)) not in (b"ve.ai", b"ai")


def parse(*lines: bytes, shared: frozenset[str] = SHARED) -> tuple[list[bytes], list[tuple[bytes, bytes]]]:
    head = parse_response(
        b"\r\n".join((b"HTTP/1.1 200 OK", b"Content-Length: 0", *lines)),
        ResponseLines(shared=shared),
        Limits(),
        b"GET",
        Beginning(),
    )
    return head.lines[1:], head.fields[2:]


def test_both_protocols_are_given_the_changed_cookie() -> None:
    bad, good = b"Set-Cookie: a=1; Domain=ve.ai; Path=/", b"Set-Cookie: b=2; Path=/"
    lines, fields = parse(bad, good, bad, b"X: y")
    assert sorted(lines) == sorted([good, b"X: y", *[b"set-cookie: a=1; Path=/"] * 2])
    changed = (b"set-cookie", b"a=1; Path=/")
    assert fields == [changed, (b"set-cookie", b"b=2; Path=/"), changed, (b"x", b"y")]
    assert parse(bad, shared=frozenset())[0] == [bad]


def test_a_cookie_that_is_of_the_connection_alone_stays_there() -> None:
    assert parse(b"Set-Cookie: a=1; Domain=ve.ai", b"Connection: set-cookie") == ([], [])


async def test_a_tenants_origin_sets_no_cookie_for_the_platform(edge: Edge, script: Script, protocol: str) -> None:
    edge.add_site("*.ve.test", "")
    cookies = b"Set-Cookie: s=1; Domain=ve.test; Secure\r\nSet-Cookie: t=2; Domain=one.ve.test\r\n"
    script.response = b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n" + cookies + b"\r\nhello"
    async with visiting(edge, protocol, "one.ve.test") as ask:
        for _ in range(2):
            answer = await ask()
            found = sorted(value for name, value in answer.fields if name == b"set-cookie")
            assert (answer.status, found) == (200, [b"s=1; Secure", b"t=2; Domain=one.ve.test"])
