"""What answers get beside what the origin says: the configured header set, and HSTS, on both protocols."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from edgeproxy.config.compression import Compression
from edgeproxy.config.machine import Admin
from edgeproxy.config.platform import Api
from edgeproxy.config.visitors import Http, Tls
from edgeproxy.edge.beginning import Beginning
from edgeproxy.edge.dressing import HSTS, Dressing, dressing
from edgeproxy.edge.headers import ResponseLines
from edgeproxy.edge.http1 import parse_response
from edgeproxy.limits import Limits
from edgeproxy.policies import Policies
from edgeproxy.published.records import Site
from edgeproxy.units import Duration
from tests.edge import client1
from tests.edge import test_plain as plain
from tests.edge.harness import Edge, MapProcess, Script, edge_with, fields
from tests.edge.visiting import gallery, visiting

HEADERS = ("x-content-type-options: nosniff", "content-security-policy: default-src 'self'", "x-frame-options: DENY")
DAY = 86_400.0


def dressed(found: Dressing, *lines: bytes, now: float = 0.0) -> tuple[list[bytes], list[tuple[bytes, bytes]]]:
    """What the two protocols are given of an answer."""
    raw = b"\r\n".join((b"HTTP/1.1 200 OK", b"Content-Length: 0", *lines))
    head = parse_response(raw, ResponseLines(), Limits(), b"GET", Beginning())
    found.dress(head, now)
    return head.lines[1:], head.fields[2:]


def test_nothing_configured_is_no_dressing() -> None:
    assert dressing(Http(), Tls(), None, 1.0) is None
    assert dressing(Http(), Tls(), Policies(deny=("10.0.0.0/8",)), 1.0) is None
    assert dressing(Http(), Tls(hsts="1d"), None, 0.0) is None
    assert dressing(Http(), Tls(hsts="1d"), Policies(hsts="off"), 1.0) is None
    assert dressing(Http(headers=("x-a: 1",)), Tls(), Policies(headers={"x-a": ""}), 1.0) is None


def test_the_origins_own_field_goes_first_and_a_sites_before_the_configurations() -> None:
    found = dressing(Http(headers=HEADERS), Tls(), Policies(headers={"x-frame-options": "SAMEORIGIN", "x-a": "1"}), 0.0)
    assert found is not None
    lines, fields = dressed(found, b"Content-Security-Policy: none", b"Connection: x-b", b"X-B: 1")
    expected = {b"x-content-type-options": b"nosniff", b"x-frame-options": b"SAMEORIGIN", b"x-a": b"1"}
    assert dict(fields) == expected | {b"content-security-policy": b"none"}
    assert sorted(lines) == sorted([b"Content-Security-Policy: none", *(b"%b: %b" % field for field in expected.items())])


def test_hsts_takes_the_place_of_the_origins_once_its_time_has_come() -> None:
    found = dressing(Http(), Tls(hsts="365d", hsts_after=Duration(7 * DAY)), None, 1_000.0)
    assert found is not None
    own = b"Strict-Transport-Security: max-age=1"
    early, due = 1_000.0 + 7 * DAY - 1, 1_000.0 + 7 * DAY
    assert dressed(found, now=early) == ([], [])
    assert dressed(found, own, now=early) == ([own], [(HSTS, b"max-age=1")])
    said = (HSTS, b"max-age=31536000")
    for lines in ((), (own,), (own, own)):
        assert dressed(found, *lines, now=due) == ([b"%b: %b" % said], [said])
    page = [(b"content-type", b"text/html")]
    assert (found.dressed(page, early), found.dressed(page, due)) == (page, [*page, said])


def test_what_is_said_anew_is_there_though_the_origin_said_the_same_to_the_letter() -> None:
    added = dressing(Http(headers=("x-frame-options: DENY",)), Tls(hsts="1d", hsts_after=Duration(1)), None, 1.0)
    assert added is not None
    hsts, frame = b"strict-transport-security: max-age=86400", b"x-frame-options: DENY"
    raw = (b"HTTP/1.1 200 OK", b"content-length: 0", b"connection: keep-alive", b"proxy-connection: x", hsts, frame)
    for removed in ((), ("x-frame-options",)):
        head = parse_response(b"\r\n".join(raw), ResponseLines(removed=removed), Limits(), b"GET", Beginning())
        added.dress(head, DAY)
        assert sorted(head.lines) == sorted([b"content-length: 0", hsts, frame])
        assert sorted(b"%b: %b" % field for field in head.fields[1:]) == sorted(head.lines)


@pytest.mark.parametrize(
    ("configured", "own", "value"),
    [
        ("1d", "", b"max-age=86400"),
        ("1d", "2d; includeSubDomains", b"max-age=172800; includeSubDomains"),
        ("", "365d; includeSubDomains; preload", b"max-age=31536000; includeSubDomains; preload"),
        ("1d", "off", None),
        ("", "", None),
    ],
)
def test_a_sites_own_hsts_counts_instead(configured: str, own: str, value: bytes | None) -> None:
    found = dressing(Http(headers=("x-a: 1",)), Tls(hsts=configured), Policies(hsts=own), 1.0)
    assert found is not None
    assert dict(dressed(found, now=100 * DAY)[1]).get(HSTS) == value


def test_a_name_that_is_not_in_good_order_gets_none_but_may_be_forgotten_at_once() -> None:
    never = dressing(Http(headers=("x-a: 1",)), Tls(hsts="1d"), None, 0.0)
    assert never is not None
    assert HSTS not in dict(dressed(never, now=1e12)[1])
    forget = dressing(Http(), Tls(hsts="1d"), Policies(hsts="0s"), 0.0)
    assert forget is not None
    assert dressed(forget, now=0.0)[1] == [(HSTS, b"max-age=0")]


# By the edge


def answering(*lines: bytes) -> bytes:
    return b"\r\n".join((b"HTTP/1.1 200 OK", b"Content-Length: 5", *lines, b"", b"hello"))


async def test_answers_are_dressed_as_their_site_says_now(edge: Edge, script: Script, protocol: str) -> None:
    script.response = answering(b"X-Frame-Options: SAMEORIGIN")
    own = Policies(headers={"x-frame-options": "DENY", "referrer-policy": "no-referrer"}, hsts="1d")
    edge.add_certificate("both", "plain.test", "gallery.test")
    for name in ("gallery.test", "plain.test"):
        edge.publish(("sites", name, Site(workspace="w", certificate="both")))
    async with visiting(edge, protocol) as ask:
        assert (await ask()).field(b"referrer-policy") is None  # by now the connection knows where to
        for _ in range(2):
            edge.publish(("sites", "gallery.test", Site(workspace="w", certificate="both", policies=own, stable_since=1.0)))
            for host in ("gallery.test", "plain.test", "gallery.test", "gallery.test"):
                answer = await ask(host=host)
                assert (answer.status, answer.body, answer.field(b"x-frame-options")) == (200, b"hello", b"SAMEORIGIN")
                told = (answer.field(b"referrer-policy"), answer.field(HSTS))
                assert told == ((b"no-referrer", b"max-age=86400") if host == "gallery.test" else (None, None))
            edge.publish(("sites", "gallery.test", Site(workspace="w", certificate="both")))
            assert (await ask()).field(b"referrer-policy") is None


async def test_answers_to_requests_with_a_body_are_dressed_and_those_that_follow(edge: Edge, script: Script) -> None:
    edge.publish(gallery(policies=Policies(headers={"x-a": "b"})))
    async with client1.connected(edge) as client:
        for sent in (client1.request(b"POST /", b"Content-Length: 3", body=b"abc"), client1.request(b"GET /")) * 2:
            client.send(sent)
            assert (await client.answer()).field(b"x-a") == b"b"


@pytest.mark.parametrize(
    "response", [b"HTTP/1.1 200 OK\r\n\r\n", b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"]
)
async def test_answers_of_unknown_length_are_dressed_too(edge: Edge, script: Script, protocol: str, response: bytes) -> None:
    async def answer(reader, writer) -> None:
        await script.read_head(reader)
        writer.write(response)
        writer.close()

    script.handler = answer
    edge.publish(gallery(policies=Policies(headers={"x-a": "1"})))
    async with visiting(edge, protocol) as ask:
        found = await ask()
        assert (found.status, found.complete, found.field(b"x-a")) == (200, True, b"1")


async def test_what_is_compressed_is_dressed_as_well(
    tmp_path: Path, maps: MapProcess, origin: tuple[Script, int], protocol: str
) -> None:
    edge = edge_with(tmp_path, maps, origin[1], compression=Compression(enabled=True), http=Http(headers=HEADERS))
    origin[0].response = b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: 4000\r\n\r\n" + b"a" * 4000
    async with edge.running(), visiting(edge, protocol) as ask:
        for _ in range(2):
            for coding in (b"gzip", b"identity"):
                answer = await ask(fields=((b"accept-encoding", coding),))
                assert (answer.status, answer.field(b"x-frame-options")) == (200, b"DENY")
                assert (answer.field(b"content-encoding") == b"gzip") == (coding == b"gzip")


async def test_hsts_is_said_when_its_time_has_come_and_with_the_edges_own_answers(
    tmp_path: Path, maps: MapProcess, origin: tuple[Script, int], protocol: str
) -> None:
    edge = edge_with(tmp_path, maps, origin[1], tls=Tls(hsts="1d", hsts_after=Duration(1_000)), http=Http(headers=HEADERS))
    edge.add_site("*.ve.test", "")
    wildcard = Site(certificate="cert-*.ve.test", source="edge", stable_since=1.0)
    async with edge.running():
        async with visiting(edge, protocol) as ask:
            for since, value in ((0.0, None), (time.time(), None), (time.time() - 1_000, b"max-age=86400")):
                edge.publish(gallery(stable_since=since))
                answer = await ask()
                assert (answer.field(HSTS), answer.field(b"x-content-type-options")) == (value, b"nosniff")
            for how, status in (({"maintenance": True}, 503), ({"redirect_to": "b.test"}, 308), ({"suspended": True}, 403)):
                edge.publish(gallery(stable_since=1.0, **how))
                answer = await ask()
                assert (answer.status, answer.field(HSTS), answer.field(b"x-frame-options")) == (
                    status,
                    b"max-age=86400",
                    b"DENY",
                )
                assert answer.field(b"content-security-policy") is not None
        async with visiting(edge, protocol, "one.ve.test") as ask:
            assert (await ask()).field(HSTS) is None
            edge.publish(("sites", "*.ve.test", wildcard))
            assert (await ask()).field(HSTS) == b"max-age=86400"


async def test_the_apis_answers_are_dressed_by_the_rules_for_sites(tmp_path: Path, maps: MapProcess, protocol: str) -> None:
    own = {"tls": Tls(hsts="1d", hsts_after=Duration(1_000)), "http": Http(headers=HEADERS)}
    edge = edge_with(tmp_path, maps, 9, api=Api(hostname="api.test"), admin=Admin(socket=str(tmp_path / "admin.sock")), **own)
    edge.add_site("api.test", "")
    controller = Script()
    controller.response = b"HTTP/1.1 200 OK\r\nX-Frame-Options: SAMEORIGIN\r\nContent-Length: 2\r\n\r\n{}"
    async with (
        edge.running(),
        controller.listening(unix=tmp_path / "api.sock"),
        visiting(edge, protocol, "api.test") as ask,
    ):
        for since, value in ((time.time(), None), (time.time() - 1_000, b"max-age=86400")):
            edge.publish(("sites", "api.test", Site(certificate="cert-api.test", source="edge", stable_since=since)))
            answer = await ask("/api/v1/tokens")
            assert (answer.status, answer.field(HSTS), answer.field(b"x-frame-options")) == (200, value, b"SAMEORIGIN")
            assert answer.field(b"x-content-type-options") == b"nosniff"


async def test_in_clear_nothing_is_said_of_hsts(tmp_path: Path, maps: MapProcess, origin: tuple[Script, int]) -> None:
    """RFC 6797 section 7.2."""
    edge = edge_with(tmp_path, maps, origin[1], tls=Tls(hsts="1d"))
    edge.publish(gallery(stable_since=1.0))
    async with edge.running():
        async with visiting(edge, "h1") as ask:
            assert (await ask()).field(HSTS) == b"max-age=86400"
        for host, status in ((b"gallery.test", 308), (b"nobody.test", 404)):
            found = fields(await plain.ask(edge, plain.get(b"/", host)))
            assert (found[0], found[1].get(HSTS)) == (status, None)


async def test_what_tells_of_the_origin_is_taken_out_and_may_be_said_anew(
    tmp_path: Path, maps: MapProcess, origin: tuple[Script, int], protocol: str
) -> None:
    http = Http(remove_headers=("server", "x-powered-by", "x-frame-options"), headers=("x-frame-options: DENY",))
    edge = edge_with(tmp_path, maps, origin[1], http=http)
    origin[0].response = answering(
        b"Server: nginx/1.2", b"x-powered-by: PHP/5", b"X-Powered-By: b", b"X-Frame-Options: ALLOWALL", b"X: y"
    )
    async with edge.running(), visiting(edge, protocol) as ask:
        for _ in range(4):  # also when it is known by heart how the answers begin
            answer = await ask()
            assert (answer.status, answer.body) == (200, b"hello")
            found = {name: value for name, value in answer.fields if name not in (b":status", b"content-length")}
            assert found == {b"x-frame-options": b"DENY", b"x": b"y"}
