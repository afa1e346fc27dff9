"""The whole program between real clients and a real origin: curl and h2load in front, nginx behind."""

import asyncio
import contextlib
import gzip
import json
import re
import ssl

import pytest

from tests.edge.client2 import Client2
from tests.integration.nginx import NAME, SIZES, WORKSPACE, content
from tests.integration.visitors import HTTP1, HTTP2, TlsClient, curl, curl_all, curl_answered, curl_fails, h2load, logged, url

WAITING = ("--expect100-timeout", "60")
"""curl waits for a 100 as long as a slow machine takes for it, and not for one second."""


@pytest.fixture
def edge(front_door):
    return front_door


@pytest.fixture
def origin(nginx):
    return nginx


def test_the_origin_learns_the_workspace_and_where_the_request_came_from(edge, protocol):
    reply = curl(edge, protocol, "-H", "X-Custom: as it is", "-b", "a=1", url(edge, NAME, "/seen?a=b&c=%20d"))
    authority = f"{NAME}:{edge.https_port}"
    told = reply.seen
    assert reply.status == 200
    assert told["workspace-id"] == WORKSPACE
    assert (told["method"], told["target"], told["protocol"]) == ("GET", "/seen?a=b&c=%20d", "HTTP/1.1")
    assert (told["host"], told["x-forwarded-host"]) == (authority, authority)
    assert (told["x-forwarded-for"], told["x-forwarded-proto"]) == ("127.0.0.1", "https")
    assert told["forwarded"] == f'for=127.0.0.1;host="{authority}";proto=https'
    assert told["via"] == ("1.1 edgeproxy" if protocol == HTTP1 else "2 edgeproxy")
    assert re.fullmatch(r"[0-9a-f]{12}-[0-9a-f]+", told["x-request-id"])
    assert (told["x-custom"], told["cookie"]) == ("as it is", "a=1")
    assert told["user-agent"].startswith("curl/")


def test_what_a_client_says_under_the_edges_names_never_arrives(edge, protocol):
    forged = [
        *("workspace-id: evil", "Workspace-Id: evil", "workspace_id: evil", "WORKSPACE_ID: evil"),
        *("X-Forwarded-For: 6.6.6.6", "X_Forwarded_For: 6.6.6.6", "x-forwarded-proto: http", "x-forwarded-host: evil.test"),
        *("Forwarded: for=6.6.6.6", "via: 1.0 evil", "x-request-id: evil"),
    ]
    options = [option for line in forged for option in ("-H", line)]
    reply = curl(edge, protocol, *options, url(edge, NAME, "/seen"))
    assert reply.status == 200
    assert "evil" not in reply.body.decode()
    assert "6.6.6.6" not in reply.body.decode()
    assert (reply.seen["workspace-id"], reply.seen["x-forwarded-proto"]) == (WORKSPACE, "https")


def test_bodies_come_byte_for_byte_over_one_connection(edge, protocol):
    replies = curl_all(edge, protocol, *(url(edge, NAME, f"/{size}.bin") for size in SIZES))
    assert [reply.status for reply in replies] == [200] * len(SIZES)
    for size, reply in zip(SIZES, replies, strict=True):
        assert reply.field("content-length") == str(size)
        assert reply.body == content(size), size
    assert sum(reply.info["num_connects"] for reply in replies) == 1


def test_bodies_of_unknown_length_come_byte_for_byte(edge, protocol):
    replies = curl_all(edge, protocol, *(url(edge, NAME, f"/chunked/{size}.bin") for size in SIZES))
    for size, reply in zip(SIZES, replies, strict=True):
        assert "content-length" not in reply.heads[-1][1]
        assert reply.field("transfer-encoding") == ("chunked" if protocol == HTTP1 else "")
        assert reply.body == content(size), size
    assert sum(reply.info["num_connects"] for reply in replies) == 1


def test_uploads_arrive_byte_for_byte_and_wait_for_100_continue(edge, origin, protocol):
    files = ",".join(str(origin.files / f"{size}.bin") for size in SIZES)
    folder = protocol.strip("-.")
    command = [protocol, *WAITING, "-T", f"{{{files}}}", url(edge, NAME, f"/put/{folder}/")]
    replies = curl_all(edge, *command, "--output", "/dev/null")
    assert len(replies) == len(SIZES)
    for size, reply in zip(SIZES, replies, strict=True):
        assert reply.status == 201
        assert origin.uploaded(f"{folder}/{size}.bin") == content(size), size
        # curl asks for it with every PUT over HTTP/1.1, and never over HTTP/2.
        interim = [line for line, _ in reply.heads if " 100" in line]
        assert len(interim) == (1 if protocol == HTTP1 else 0), reply.heads


@pytest.mark.parametrize("size", [1, 65_537, 10_000_000])
def test_uploads_of_unknown_length_arrive_byte_for_byte(edge, origin, protocol, size):
    name = f"{protocol.strip('-.')}-{size}.bin"
    reply = curl(edge, protocol, "-T", "-", url(edge, NAME, f"/put/{name}"), stdin=content(size))
    assert reply.status == 201
    assert origin.uploaded(name) == content(size)


def test_an_upload_that_waits_for_a_100_on_http2_is_let_through(edge, origin):
    reply = curl(edge, HTTP2, "-H", "Expect: 100-continue", "-T", "-", url(edge, NAME, "/put/expect"), stdin=content(65_537))
    assert reply.status == 201
    assert origin.uploaded("expect") == content(65_537)


@pytest.mark.parametrize("options", [WAITING, ["-H", "Expect:"]], ids=["asking", "at once"])
def test_an_upload_that_the_origin_refuses_early_is_answered(edge, origin, protocol, options):
    for size in (16_385, 10_000_000):
        command = [protocol, *options, "-T", str(origin.files / f"{size}.bin"), url(edge, NAME, "/small/x")]
        assert curl_answered(edge, *command).status == 413


def test_bodies_that_nobody_reads_do_not_hold_up_the_answer(edge, protocol):
    for _ in range(10):
        reply = curl(edge, protocol, "--data-binary", "@-", url(edge, NAME, "/seen"), stdin=content(16_385))
        assert (reply.status, reply.seen["method"]) == (200, "POST")


def test_clients_of_http_1_0_are_answered(edge):
    for path in ("/1000000.bin", "/chunked/1000000.bin"):
        reply = curl(edge, "--http1.0", url(edge, NAME, path))
        assert (reply.status, reply.field("connection"), reply.field("transfer-encoding")) == (200, "close", "")
        assert reply.body == content(1_000_000)


def test_an_empty_upload_is_one(edge, origin, protocol):
    name = f"empty-{protocol.strip('-.')}"
    assert curl(edge, protocol, "-X", "PUT", "--data-binary", "", url(edge, NAME, f"/put/{name}")).status == 201
    assert origin.uploaded(name) == b""


def test_head_tells_the_length_and_sends_no_body(edge, protocol):
    first, second = curl_all(edge, protocol, "--head", url(edge, NAME, "/1000000.bin"), url(edge, NAME, "/1000.bin"))
    assert (first.status, first.field("content-length"), second.field("content-length")) == (200, "1000000", "1000")
    assert second.info["num_connects"] == 0


def test_ranges_are_the_origins(edge, protocol):
    whole = content(1_000_000)
    reply = curl(edge, protocol, "-r", "1000-66999", url(edge, NAME, "/1000000.bin"))
    assert (reply.status, reply.field("content-range")) == (206, "bytes 1000-66999/1000000")
    assert reply.body == whole[1000:67000]
    several = curl(edge, protocol, "-r", "0-9,-10", url(edge, NAME, "/1000000.bin"))
    assert several.status == 206
    assert whole[:10] in several.body
    assert whole[-10:] in several.body
    assert curl(edge, protocol, "-r", "2000000-", url(edge, NAME, "/1000000.bin")).status == 416


def test_what_has_not_changed_is_not_sent_again(edge, protocol):
    first = curl(edge, protocol, url(edge, NAME, "/1000.bin"))
    for name, value in (("If-None-Match", first.field("etag")), ("If-Modified-Since", first.field("last-modified"))):
        again, after = curl_all(
            edge, protocol, "-H", f"{name}: {value}", url(edge, NAME, "/1000.bin"), url(edge, NAME, "/1000.bin")
        )
        assert (again.status, again.body, again.field("etag")) == (304, b"", first.field("etag"))
        assert (after.status, after.info["num_connects"]) == (304, 0)


def test_statuses_without_a_body_leave_the_connection_usable(edge, protocol):
    replies = curl_all(edge, protocol, url(edge, NAME, "/interim"), url(edge, NAME, "/none"), url(edge, NAME, "/seen"))
    assert [reply.status for reply in replies] == [204, 404, 200]
    assert [reply.info["num_connects"] for reply in replies] == [1, 0, 0]


def test_compressed_bodies_pass_as_they_are(edge, origin, protocol):
    raw = curl(edge, protocol, "-H", "Accept-Encoding: gzip", url(edge, NAME, "/page.txt"))
    assert (raw.field("content-encoding"), raw.field("vary")) == ("gzip", "Accept-Encoding")
    assert gzip.decompress(raw.body) == origin.text
    assert curl(edge, protocol, "--compressed", url(edge, NAME, "/page.txt")).body == origin.text
    assert curl(edge, protocol, url(edge, NAME, "/page.txt")).body == origin.text


def test_trailers_follow_the_body(edge, protocol):
    reply = curl(edge, protocol, url(edge, NAME, "/trailers/65537.bin"))
    assert reply.body == content(65_537)
    assert reply.field("x-checksum") == "the checksum"


def test_repeated_fields_stay_apart(edge, protocol):
    assert curl(edge, protocol, url(edge, NAME, "/cookies")).heads[-1][1]["set-cookie"] == ["a=1", "b=2"]


def test_the_origins_own_redirects_lead_back_through_the_edge(edge, protocol):
    reply = curl(edge, protocol, "-L", url(edge, NAME, "/moved"))
    assert (reply.status, reply.info["num_redirects"]) == (200, 1)


def test_connections_to_the_origin_are_used_again(edge, protocol):
    replies = curl_all(edge, protocol, *[url(edge, NAME, "/seen")] * 20)
    assert len({reply.seen["connection"] for reply in replies}) <= 2
    assert len({reply.seen["x-request-id"] for reply in replies}) == 20


def test_post_bodies_and_methods_reach_a_second_origin_as_they_were_sent(edge, protocol):
    """The sample origin refuses what is not framed exactly right."""
    for method, body in (("POST", b"a=1&b=2"), ("PATCH", content(16_385)), ("DELETE", b"")):
        reply = curl(edge, protocol, "-X", method, "--data-binary", "@-", url(edge, NAME, "/ws"), stdin=body)
        assert reply.status == 426  # a WebSocket's path: but the request was understood


# WebSockets


def _frame(payload: bytes) -> bytes:
    """A client's text frame, with a mask of nothing."""
    return bytes((0x81, 0x80 | len(payload))) + bytes(4) + payload


def test_a_websocket_over_http1_echoes(edge):
    with TlsClient(edge).connect(NAME) as sock:
        sock.sendall(
            f"GET /ws HTTP/1.1\r\nhost: {NAME}\r\nconnection: Upgrade\r\nupgrade: websocket\r\nsec-websocket-version: 13\r\n"
            "sec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n".encode()
        )
        head = b""
        while b"\r\n\r\n" not in head:
            head += sock.recv(4096)
        assert head.startswith(b"HTTP/1.1 101 ")
        assert b"s3pPLMBiTxaQ9kYGzzhZRbK+xOo=" in head
        for number in range(20):
            text = b"message %d" % number
            sock.sendall(_frame(text))
            echo = b""
            while len(echo) < 2 + len(text):
                echo += sock.recv(4096)
            assert echo == bytes((0x81, len(text))) + text
        sock.sendall(bytes((0x88, 0x82, 0, 0, 0, 0, 3, 232)))
        assert sock.recv(4096) == bytes((0x88, 2, 3, 232))
        assert sock.recv(4096) == b""


async def test_a_websocket_over_http2_echoes_beside_other_requests(edge):
    context = ssl.create_default_context(cafile=edge.root)
    context.set_alpn_protocols(["h2"])
    reader, writer = await asyncio.open_connection(edge.host, edge.https_port, ssl=context, server_hostname=NAME)
    client = Client2(reader, writer, {}, True)
    try:
        common = [(b":scheme", b"https"), (b":authority", NAME.encode())]
        opening = [(b":method", b"CONNECT"), (b":protocol", b"websocket"), *common, (b":path", b"/ws")]
        number = client.request([*opening, (b"sec-websocket-version", b"13")])
        await client.until(lambda: client.answers[number].status)
        assert client.answers[number].status == 200
        expected = b""
        for count in range(20):
            text = b"message %d" % count
            client.send(number, _frame(text))
            expected += bytes((0x81, len(text))) + text
            answer = await client.get([(b":method", b"GET"), *common, (b":path", b"/1000.bin")])
            assert (answer.status, answer.body) == (200, content(1_000))
        await client.until(lambda: len(client.answers[number].content) >= len(expected))
        assert client.answers[number].body == expected
        client.send(number, bytes((0x88, 0x82, 0, 0, 0, 0, 3, 232)))
        await client.until(lambda: client.answers[number].complete)
        assert client.answers[number].body == expected + bytes((0x88, 2, 3, 232))
    finally:
        await client.close()
        with contextlib.suppress(ConnectionError, ssl.SSLError):
            await writer.wait_closed()


# Names


def test_plain_http_leads_to_https_with_path_and_query(edge):
    reply = curl(edge, "-L", f"http://{NAME}:{edge.http_port}/seen?a=b")
    assert (reply.status, reply.info["num_redirects"]) == (200, 1)
    assert reply.heads[0][0].startswith("HTTP/1.1 308")
    assert reply.info["url_effective"] == url(edge, NAME, "/seen?a=b")
    assert reply.seen["workspace-id"] == WORKSPACE


def test_an_upload_by_plain_http_keeps_its_method_through_the_redirect(edge, origin):
    target = f"http://{NAME}:{edge.http_port}/put/redirected"
    assert curl(edge, "-L", "-T", str(origin.files / "65537.bin"), target, "--output", "/dev/null").status == 201
    assert origin.uploaded("redirected") == content(65_537)


def test_an_unknown_host_is_404_on_plain_http_and_an_alert_on_https(edge):
    reply = curl(edge, f"http://stranger.test:{edge.http_port}/")
    assert (reply.status, reply.field("location")) == (404, "")
    status, said = curl_fails(edge, url(edge, "stranger.test"))
    assert status == 35
    assert "unrecognized name" in said


def test_a_hostname_is_one_however_it_is_written(edge, protocol):
    edge.add_domain("Bücher.test", "books")
    for name in ("bücher.test", "BÜCHER.test", "xn--bcher-kva.test", "xn--bcher-kva.test."):
        reply = curl(edge, protocol, url(edge, name, "/seen"))
        assert (reply.status, reply.seen["workspace-id"]) == (200, "books"), name
    assert edge.api("DELETE", "/api/v1/infrastructure/domains/xn--bcher-kva.test")[0] == 200


def test_a_wildcard_serves_what_has_no_registration_of_its_own(edge, protocol):
    domains = "/api/v1/infrastructure/domains"
    edge.add_domain("*.shop.test", "everybody")
    edge.add_domain("one.shop.test", "one")
    workspaces = [curl(edge, protocol, url(edge, f"{name}.shop.test", "/seen")).seen["workspace-id"] for name in ("one", "two")]
    assert workspaces == ["one", "everybody"]
    assert "unrecognized name" in curl_fails(edge, protocol, url(edge, "shop.test"))[1]
    assert "unrecognized name" in curl_fails(edge, protocol, url(edge, "a.two.shop.test"))[1]
    assert edge.api("DELETE", f"{domains}/one.shop.test")[0] == 200
    assert curl(edge, protocol, url(edge, "one.shop.test", "/seen")).seen["workspace-id"] == "everybody"
    assert edge.api("DELETE", f"{domains}/*.shop.test")[0] == 200
    for name in ("one.shop.test", "two.shop.test"):
        assert "unrecognized name" in curl_fails(edge, protocol, url(edge, name))[1]


def test_each_workspace_of_the_platform_is_served_under_one_wildcard(edge, protocol):
    replies = [curl(edge, protocol, url(edge, f"{label}.platform.test", "/seen")) for label in ("one", "two", "three-3")]
    assert [reply.seen["workspace-id"] for reply in replies] == ["one", "two", "three-3"]
    assert len({reply.info["certs"] for reply in replies}) == 1
    assert "*.platform.test" in replies[0].info["certs"]


def test_reserved_names_are_never_workspaces(edge, protocol):
    curl(edge, url(edge, "one.platform.test", "/seen"))  # from now on there is a certificate that covers them
    for name in ("www.platform.test", "target.platform.test"):
        reply = curl(edge, protocol, url(edge, name, "/seen"))
        assert reply.status == 404, name
        assert b"workspace-id" not in reply.body
    for name in ("a.b.platform.test", "platform.test"):
        assert "unrecognized name" in curl_fails(edge, protocol, url(edge, name, "/seen"))[1], name


def test_routing_is_per_request_as_far_as_the_certificate_goes(edge, protocol):
    """Browsers use one connection for all names that the certificate covers; for others it must not be used."""
    first, second, other = curl_all(
        edge,
        *(protocol, url(edge, "one.platform.test", "/seen")),
        *("--next", protocol, "-H", "Host: two.platform.test", url(edge, "one.platform.test", "/seen")),
        *("--next", protocol, "-H", f"Host: {NAME}", url(edge, "one.platform.test", "/seen")),
    )
    assert (first.seen["workspace-id"], second.seen["workspace-id"]) == ("one", "two")
    assert other.status == 421
    assert WORKSPACE.encode() not in other.body


def test_errors_are_pages_for_people_and_problems_for_programs(edge, protocol):
    page, problem = curl_all(
        edge,
        *(protocol, "-H", "Accept: text/html", url(edge, "away.test", "/x")),
        *("--next", protocol, "-H", "Accept: application/json", url(edge, "away.test", "/x")),
    )
    assert (page.status, problem.status) == (502, 502)
    assert page.field("content-type").startswith("text/html")
    assert problem.field("content-type").startswith("application/problem+json")
    told = json.loads(problem.body)
    assert (told["status"], told["code"], told["fault"], told["retryable"]) == (502, "origin_failed", "origin", True)
    line = logged(edge, "request_id", told["request_id"])
    assert (line["host"], line["workspace"], line["status"]) == ("away.test", "away", 502)
    assert "127.0.0.1" in line["error"]
    reply = curl(edge, "-H", "Accept: application/json", f"http://stranger.test:{edge.http_port}/")
    assert (reply.status, json.loads(reply.body)["code"]) == (404, "unknown_host")


def test_an_origin_that_breaks_off_is_a_502(edge, protocol):
    assert curl(edge, protocol, url(edge, NAME, "/broken")).status == 502


# Load


@pytest.mark.parametrize("options", [["-c", "20", "-m", "20"], ["-c", "20", "--h1"]], ids=["h2", "h1"])
def test_thousands_of_requests_are_all_answered(edge, options):
    assert h2load(edge, NAME, "-n", "4000", *options) == 4000


def test_big_answers_to_many_at_once_are_whole(edge):
    assert h2load(edge, NAME, "-n", "60", "-c", "6", "-m", "5", path="/1000000.bin") == 60
