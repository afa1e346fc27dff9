"""What is answered instead of a domain's origin: which of several counts, with which words, and what a visitor gets."""

from __future__ import annotations

import json
from pathlib import Path

import msgspec
import pytest

from edgeproxy.config.pages import Page, Pages
from edgeproxy.edge.error_pages import by_status
from edgeproxy.edge.instead import TEXTS, Instead, instead_of, notices
from edgeproxy.edge.respond import page
from edgeproxy.published.records import Site
from tests.edge import client1, client2
from tests.edge.client1 import request
from tests.edge.harness import Edge, MapProcess, Script, config_for, edge_with
from tests.edge.visiting import following, gallery, visiting

EVERYTHING = Site(workspace="w", redirect_to="b.test", maintenance=True, suspended=True, new=True)


def test_the_most_serious_counts() -> None:
    told = []
    site = EVERYTHING
    for field, nothing in (("suspended", False), ("maintenance", False), ("redirect_to", ""), ("new", False)):
        found = instead_of(site, "a.test", setup=True)
        assert found is not None
        told.append(found.page or found.redirect_to)
        site = msgspec.structs.replace(site, **{field: nothing})
    assert told == ["suspended", "maintenance", "b.test", "setup"]
    assert instead_of(site, "a.test", setup=True) is None


def test_a_new_domain_is_served_unless_the_operator_wants_it_otherwise() -> None:
    assert instead_of(Site(workspace="w", new=True), "a.test", setup=False) is None


def test_a_wildcard_serves_the_name_that_it_redirects_to() -> None:
    site = Site(workspace="w", redirect_to="www.b.test")
    assert instead_of(site, "www.b.test", setup=False) is None
    assert instead_of(site, "b.b.test", setup=False) == Instead(redirect_to="www.b.test", reason="redirected to www.b.test")


def test_every_page_of_the_configuration_has_words() -> None:
    names = {field.name for field in msgspec.structs.fields(Pages) if isinstance(field.default, Page)}
    assert names == {*TEXTS, "error", *(f"error_{status}" for status in by_status(Pages()))}


@pytest.mark.parametrize("name", TEXTS)
def test_a_page_is_the_operators_where_there_is_one_and_has_the_same_status_and_fields(name: str) -> None:
    own = notices(msgspec.structs.replace(Pages(), **{name: Page("/p", "<b>{{host}}")}))[name]
    built_in = notices(Pages())[name]
    assert built_in.template is None
    answers = [page(each.text.status, b"", "id-1", "a.test", each.text, each.template) for each in (own, built_in)]
    assert answers[0][1] == b"<b>a.test"
    assert TEXTS[name].title.encode() in answers[1][1]
    differing = {b"content-length", b"content-security-policy"}
    kept = [[field for field in fields if field[0] not in differing] for fields, _ in answers]
    assert kept[0] == kept[1]


def test_what_will_be_over_soon_says_when_to_ask_again_and_what_will_not_be_does_not() -> None:
    assert {name: (text.status, text.retryable, text.retry_after > 0) for name, text in TEXTS.items()} == {
        "maintenance": (503, True, True),
        "suspended": (403, False, False),
        "setup": (503, True, True),
    }


@pytest.mark.parametrize("target", ["/", "/a/b?c=d&e=%0d%0aSet-Cookie:x", "//elsewhere.test/x", "/\\elsewhere.test", "/.//x"])
async def test_a_redirect_keeps_path_and_query_and_leads_nowhere_else(
    edge: Edge, script: Script, protocol: str, target: str
) -> None:
    edge.publish(gallery(redirect_to="www.gallery.test"))
    told = following(edge)
    async with visiting(edge, protocol) as ask:
        for method in ("GET", "HEAD", "DELETE"):
            answer = await ask(target, method=method)
            assert answer.status == 308
            assert answer.field(b"location") == b"https://www.gallery.test:8443" + target.encode()
            assert answer.field(b"set-cookie") is None
    assert not script.connections
    assert {(over.error, over.destination.route.workspace) for over in told if over.destination is not None} == {
        ("redirected to www.gallery.test", "spandantest")
    }


async def test_a_redirect_that_is_no_hostname_is_not_sent(edge: Edge, protocol: str) -> None:
    async with visiting(edge, protocol) as ask:
        for wrong in ("evil.test/x", "a.test\r\nset-cookie: x", "a.test:1", "*.a.test", "user@a.test"):
            edge.publish(gallery(redirect_to=wrong))
            answer = await ask()
            assert (answer.status, answer.field(b"location"), answer.field(b"set-cookie")) == (404, None, None)


@pytest.mark.parametrize(
    ("how", "status", "code", "after"),
    [
        ({"maintenance": True}, 503, "maintenance", b"120"),
        ({"maintenance": True, "redirect_to": "www.gallery.test"}, 503, "maintenance", b"120"),
        ({"suspended": True, "maintenance": True, "redirect_to": "www.gallery.test"}, 403, "suspended", None),
    ],
)
async def test_a_page_is_shown_from_the_next_request_on_and_until_the_switch_is_turned_back(
    edge: Edge, script: Script, protocol: str, how: dict[str, object], status: int, code: str, after: bytes | None
) -> None:
    told = following(edge)
    async with visiting(edge, protocol) as ask:
        assert (await ask()).status == 200
        edge.publish(gallery(**how))
        answer = await ask(fields=((b"accept", b"application/json"),))
        assert (answer.status, answer.field(b"retry-after")) == (status, after)
        document = json.loads(answer.body)
        assert (document["code"], document["host"]) == (code, "gallery.test")
        assert b"<h1>" in (await ask(fields=((b"accept", b"text/html"),))).body
        assert (await ask(method="HEAD")).body == b""
        edge.publish(gallery())
        assert (await ask()).status == 200
    assert len(script.heads) == 2
    assert document["request_id"] == told[1].request_id.decode()
    assert told[1].error.startswith("the domain is ")
    assert told[1].origin_seconds == 0


async def test_a_body_that_nobody_takes_does_not_keep_a_page_from_its_visitor(edge: Edge, script: Script) -> None:
    edge.publish(gallery(maintenance=True))
    async with client1.connected(edge) as client:
        client.send(request(b"POST /", b"Content-Length: 100000", body=b"x" * 100000))
        assert (await client.answer()).status == 503
    async with client2.connected(edge) as two:
        number = two.request(client2.get(method="POST"), None)
        two.send(number, b"x" * 16000)
        assert (await two.answer(number)).status == 503
    assert not script.connections


async def test_a_websocket_is_answered_with_the_page_too(edge: Edge, script: Script) -> None:
    edge.publish(gallery(maintenance=True))
    upgrade = (
        b"Connection: Upgrade",
        b"Upgrade: websocket",
        b"Sec-WebSocket-Version: 13",
        b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==",
    )
    async with client1.connected(edge) as client:
        assert (await client.get(b"/chat", *upgrade)).status == 503
    connect = [(b":method", b"CONNECT"), (b":protocol", b"websocket"), *client2.get("/chat")[1:]]
    async with client2.connected(edge) as two:
        answer = await two.answer(two.request([*connect, (b"sec-websocket-version", b"13")]))
        assert (answer.status, answer.complete) == (503, True)
    edge.publish(gallery(redirect_to="www.gallery.test"))
    async with client2.connected(edge) as two:
        answer = await two.answer(two.request([*connect, (b"sec-websocket-version", b"13")]))
        assert answer.status == 308
    assert not script.connections


async def test_the_operators_own_page_is_shown_with_host_and_request_id(
    tmp_path: Path, maps: MapProcess, origin: tuple[Script, int], protocol: str
) -> None:
    pages = Pages(suspended=Page("/p.html", "<title>{{host}}</title><p>Ask us: {{ request_id }}"), setup_until_active=True)
    edge = edge_with(tmp_path, maps, origin[1], pages=pages)
    async with edge.running(), visiting(edge, protocol) as ask:
        told = following(edge)
        edge.publish(gallery(suspended=True))
        answer = await ask()
        edge.publish(gallery(new=True))
        assert (await ask()).status == 503
    request_id = told[0].request_id.decode()
    assert answer.body.decode() == f"<title>gallery.test</title><p>Ask us: {request_id}"
    assert answer.field(b"x-request-id") == request_id.encode()


async def test_a_trusted_proxys_request_id_is_in_the_page(
    tmp_path: Path, maps: MapProcess, origin: tuple[Script, int], protocol: str
) -> None:
    listen = msgspec.structs.replace(config_for(origin[1]).listen, trusted_proxies=("127.0.0.0/8",))
    edge = edge_with(tmp_path, maps, origin[1], listen=listen)
    async with edge.running(), visiting(edge, protocol) as ask:
        edge.publish(gallery(maintenance=True))
        assert b"theirs-7" in (await ask(fields=((b"x-request-id", b"theirs-7"),))).body
