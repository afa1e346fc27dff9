"""What the origin gets of a request: what the edge says of a client, whom it believes, and the head that goes out."""

from __future__ import annotations

import ipaddress
import re
from pathlib import Path
from typing import Any

import msgspec
import pytest

from edgeproxy.config.platform import Origin
from edgeproxy.edge import forwarding
from edgeproxy.edge.forwarding import Destination, destination, origin_head
from edgeproxy.edge.headers import RequestHead
from edgeproxy.edge.route import Route
from edgeproxy.edge.upstream.target import parse_target
from tests.edge.client1 import request
from tests.edge.harness import Edge, MapProcess, Script, config_for, fields, pool_of
from tests.edge.visiting import visiting

GET = request(b"GET /path?q=1", close=True)
TRUSTED = [ipaddress.ip_network("10.0.0.0/8"), ipaddress.ip_network("2001:db8::/32")]


@pytest.mark.parametrize(
    ("address", "trusted"),
    [("10.1.2.3", True), ("11.1.2.3", False), ("2001:db8::1", True), ("::ffff:10.0.0.1", True), ("x", False)],
)
def test_trust_is_by_network(address: str, trusted: bool):
    assert forwarding.is_trusted(address, TRUSTED) is trusted
    assert not forwarding.is_trusted(address, [])


def test_lines_for_a_stranger():
    assert forwarding.lines("1.2.3.4", b"a.test:8443", b"1.1") == (
        b"x-forwarded-for: 1.2.3.4\r\nx-forwarded-proto: https\r\nx-forwarded-host: a.test:8443\r\n"
        b'forwarded: for=1.2.3.4;host="a.test:8443";proto=https\r\nvia: 1.1 edgeproxy\r\ncdn-loop: edgeproxy\r\n'
    )
    assert b'forwarded: for="[2001:db8::1]";host=a.test;' in forwarding.lines("2001:db8::1", b"a.test", b"2")


def test_a_trusted_proxy_is_believed_and_extended():
    sent = [
        (b"x-forwarded-for", b"6.6.6.6"),
        (b"x-forwarded-proto", b"http"),
        (b"forwarded", b"for=6.6.6.6"),
        (b"x-request-id", b"abc-1"),
        (b"x-forwarded-port", b"80"),
    ]
    lines, request_id = forwarding.trusted_lines("10.0.0.1", b"a.test", b"1.1", sent)
    assert b"x-forwarded-for: 6.6.6.6, 10.0.0.1\r\n" in lines
    assert b"forwarded: for=6.6.6.6, for=10.0.0.1;host=a.test;proto=https\r\n" in lines
    assert b"x-forwarded-proto: http\r\n" in lines
    assert b"x-forwarded-port: 80\r\n" in lines
    assert b"x-forwarded-host: a.test\r\n" in lines
    assert request_id == b"abc-1"


def test_what_a_trusted_proxy_sends_beside_is_not_passed_on():
    lines, _ = forwarding.trusted_lines("10.0.0.1", b"a", b"1.1", [(b"edgeproxy-exempt", b"a secret")])
    assert b"secret" not in lines


@pytest.mark.parametrize(
    ("chain", "client"),
    [
        ([b"6.6.6.6"], "6.6.6.6"),
        ([b"1.1.1.1, 6.6.6.6, 10.0.0.2"], "6.6.6.6"),
        ([b"1.1.1.1", b"6.6.6.6 ,10.0.0.2,\t10.0.0.3"], "6.6.6.6"),
        ([b"6.6.6.6, 2001:db8::1"], "6.6.6.6"),
        ([b"10.0.0.1"], ""),
        ([], ""),
        ([b"6.6.6.6, unknown"], ""),
        ([b"1.1.1.1, 6.6.6.6:1234, 10.0.0.2:80"], "6.6.6.6"),
        ([b"1.1.1.1, [2a00::1]:443"], "2a00::1"),
        ([b"1.1.1.1, [2a00::1]"], "2a00::1"),
        ([b"1.1.1.1,"], ""),  # what stands before it may be the client's own word
        ([b"6.6.6.6:1234:5"], ""),
        ([b"[6.6.6.6:80"], ""),
        ([b"1.1.1.1," * 10_000 + b"6.6.6.6"], "6.6.6.6"),
    ],
)
def test_the_client_is_the_last_address_that_is_no_trusted_proxys(chain: list[bytes], client: str):
    assert forwarding.client_of([(b"x-forwarded-for", value) for value in chain], TRUSTED) == client


def test_a_request_id_that_is_none_is_not_taken():
    assert forwarding.trusted_lines("10.0.0.1", b"a", b"1.1", [(b"x-request-id", b"a b")])[1] is None
    assert forwarding.trusted_lines("10.0.0.1", b"a", b"1.1", [(b"x-request-id", b"a"), (b"x-request-id", b"b")])[1] is None


def routed(url: str = "http://app.test:3000", workspace: str = "ws") -> Route:
    return Route(known=bool(workspace), workspace=workspace, target=parse_target(url), header="workspace-id")


def asked(method: bytes = b"GET", *, version: int = 1, **more: object) -> RequestHead:
    head = method + b" /p HTTP/1.1\r\nHost: a.test:8443\r\nX-A: b\r\n"
    return RequestHead(method, b"/p", "a.test", head, b"a.test:8443", version=version, **more)  # type: ignore[arg-type]


def test_a_destination_says_workspace_and_client_and_leaves_the_request_id_to_be_said():
    route = routed()
    found, request_id = destination("1.2.3.4", asked(), route, trusted=False, own_host=False)
    assert (found.authority, found.route, found.host, request_id) == (b"a.test:8443", route, b"", None)
    added = forwarding.lines("1.2.3.4", b"a.test:8443", b"1.1")
    assert found.lines == b"workspace-id: ws\r\n" + added + b"x-request-id: "


def test_without_a_workspace_none_is_said():
    found, _ = destination("1.2.3.4", asked(), routed(workspace=""), trusted=False, own_host=False)
    assert b"workspace-id" not in found.lines


@pytest.mark.parametrize(("version", "via"), [(0, b"via: 1.0 edgeproxy"), (1, b"via: 1.1 edgeproxy"), (2, b"via: 2 edgeproxy")])
def test_via_tells_the_version_that_the_client_spoke(version: int, via: bytes):
    found, _ = destination("1.2.3.4", asked(version=version), routed(), trusted=False, own_host=False)
    assert b"\r\n" + via + b"\r\n" in found.lines


@pytest.mark.parametrize("trusted", [True, False])
def test_only_a_trusted_proxy_brings_a_request_id_and_a_chain(trusted: bool):
    said = ((b"x-forwarded-for", b"6.6.6.6"), (b"x-request-id", b"theirs"))
    found, request_id = destination("10.0.0.1", asked(forwarded=said), routed(), trusted=trusted, own_host=False)
    assert request_id == (b"theirs" if trusted else None)
    assert (b"6.6.6.6, 10.0.0.1" in found.lines) is trusted
    assert found.lines.endswith(b"\r\nx-request-id: ")
    assert found.lines.count(b"x-request-id") == 1


@pytest.mark.parametrize(
    ("url", "host"),
    [
        ("http://app.test:3000", b"app.test:3000"),
        ("https://app.test", b"app.test"),
        ("http://[::1]:80", b"[::1]"),
        ("unix:/run/app", b"localhost"),
    ],
)
def test_an_origin_may_get_its_own_host(url: str, host: bytes):
    found, _ = destination("1.2.3.4", asked(), routed(url), trusted=False, own_host=True)
    assert found.host == host
    head = origin_head(asked(), found, b"id-1")
    assert head.startswith(b"GET /p HTTP/1.1\r\nhost: " + host + b"\r\nX-A: b\r\n")
    assert b"Host: a.test" not in head
    assert b"\r\nx-forwarded-host: a.test:8443\r\n" in head


TO = Destination(b"a.test:8443", routed(), b"workspace-id: ws\r\nx-request-id: ")
START = b" /p HTTP/1.1\r\nHost: a.test:8443\r\nX-A: b\r\n"
END = b"workspace-id: ws\r\nx-request-id: id-1\r\n\r\n"


@pytest.mark.parametrize(
    ("method", "more", "framing"),
    [
        (b"GET", {}, b""),
        (b"HEAD", {}, b""),
        (b"DELETE", {}, b""),
        (b"POST", {}, b"content-length: 0\r\n"),
        (b"PUT", {}, b"content-length: 0\r\n"),
        (b"PATCH", {}, b"content-length: 0\r\n"),
        (b"POST", {"length": 7}, b"content-length: 7\r\n"),
        (b"GET", {"length": 7}, b"content-length: 7\r\n"),
        (b"PUT", {"length": -1}, b"transfer-encoding: chunked\r\n"),
        (b"PUT", {"length": 7, "expect": True}, b"content-length: 7\r\nexpect: 100-continue\r\n"),
        (b"PUT", {"length": -1, "expect": True}, b"transfer-encoding: chunked\r\nexpect: 100-continue\r\n"),
        (b"GET", {"upgrade": True}, b"connection: upgrade\r\nupgrade: websocket\r\n"),
    ],
)
def test_the_head_for_the_origin_says_what_follows_it(method: bytes, more: dict[str, Any], framing: bytes):
    assert origin_head(asked(method, **more), TO, b"id-1") == method + START + framing + END


async def test_the_origin_learns_who_asked_and_how(edge: Edge, script: Script) -> None:
    await edge.exchange("gallery.test", GET)
    head = script.heads[0]
    for line in (
        b"x-forwarded-for: 127.0.0.1",
        b"x-forwarded-proto: https",
        b"x-forwarded-host: gallery.test",
        b"forwarded: for=127.0.0.1;host=gallery.test;proto=https",
        b"via: 1.1 edgeproxy",
        b"cdn-loop: edgeproxy",
    ):
        assert b"\r\n" + line + b"\r\n" in head
    assert re.search(rb"\r\nx-request-id: [0-9a-f]{12}-[0-9a-f]+\r\n", head)


@pytest.mark.parametrize(
    "line",
    [
        b"workspace-id: evil",
        b"Workspace-Id: evil",
        b"WORKSPACE_ID: evil",
        b"workspace.id: evil",
        b"X-Forwarded-For: 6.6.6.6, evil",
        b"x_forwarded_for: evil",
        b"X-Forwarded-Prefix: evil",
        b"Forwarded: for=evil",
        b"Via: 1.1 evil",
        b"X-Request-ID: evil",
        b"X-Real-IP: evil",
        b"Proxy: evil",
        b"Proxy-Connection: evil",
        b"Keep-Alive: evil",
        b"TE: evil",
    ],
)
async def test_what_only_the_edge_may_say_is_not_taken_from_a_client(edge: Edge, script: Script, line: bytes) -> None:
    status, _, _ = fields(await edge.exchange("gallery.test", request(b"GET /", line, close=True)))
    assert status == 200
    assert b"evil" not in script.heads[0]


async def test_fields_nominated_by_connection_end_here(edge: Edge, script: Script) -> None:
    lines = (b"X-Hop: secret", b"X-End: kept", b"Connection: close, x-hop, host, workspace-id")
    await edge.exchange("gallery.test", request(b"GET /", *lines))
    head = script.heads[0]
    assert b"secret" not in head
    assert b"X-End: kept" in head
    assert b"Host: gallery.test" in head
    assert b"workspace-id: spandantest" in head


@pytest.mark.parametrize(
    ("lines", "status"),
    [
        ((b"CDN-Loop: edgeproxy", b"cdn-loop: other, EdgeProxy ; a=b, edgeproxy"), 200),
        ((b"cdn-loop: edgeproxy", b"cdn-loop: edgeproxy,\tedgeproxy;x, other, edgeproxy"), 508),
        ((b"cdn-loop: edgeproxys, my-edgeproxy, other, edge, proxy", b"cdn_loop: " + b"edgeproxy," * 9), 200),
    ],
)
async def test_what_has_come_through_here_too_often_goes_no_further(
    edge: Edge, script: Script, protocol: str, lines: tuple[bytes, ...], status: int
) -> None:
    pairs = [(name.lower(), value) for name, _, value in (line.partition(b": ") for line in lines)]
    async with visiting(edge, protocol) as ask:
        assert (await ask(fields=tuple(pairs))).status == status
    if status == 200:  # the next one can count them too
        assert script.heads[0].count(b"\r\ncdn-loop: ") == sum(name == b"cdn-loop" for name, _ in pairs) + 1
    else:
        assert not script.heads


async def test_an_origin_that_is_this_edge_is_found_out(tmp_path: Path, maps: MapProcess) -> None:
    edge = Edge(tmp_path, config_for(9), maps)
    edge.add_site("loop.localhost", "w", origin=f"https://loop.localhost:{edge.port}")
    roots = tmp_path / "roots.pem"
    roots.write_text(edge.roots)
    edge.config = msgspec.structs.replace(edge.config, origin=Origin(url="http://127.0.0.1:9", ca_bundle=str(roots)))
    async with edge.running(), visiting(edge, "h2", "loop.localhost") as ask:
        assert (await ask()).status == 508
        assert len(pool_of(edge).open) <= 4
