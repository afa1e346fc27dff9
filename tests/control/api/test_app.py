"""The API as a whole: its description, the pages that may ask it, and that nothing which is sent makes it fail."""

import random
from urllib.parse import quote

import msgspec
import pytest

from edgeproxy.config import platform
from edgeproxy.errors import StateError
from tests.control.api.access.conftest import DOMAINS, Api
from tests.control.api.conftest import problem_of

PROMISED = {
    "/api/v1/admin/status": {"get"},
    "/api/v1/admin/reload": {"post"},
    "/api/v1/admin/stop": {"post"},
    "/api/v1/infrastructure/domains": {"get", "post"},
    "/api/v1/infrastructure/domains/{domain}": {"get", "delete"},
    "/api/v1/infrastructure/ssl": {"get"},
    "/api/v1/infrastructure/ssl/{domain}": {"get", "post"},
    "/healthz": {"get"},
    "/readyz": {"get"},
    "/metrics": {"get"},
}


async def test_every_promised_path_is_described(world):
    described = (await world.client.get("/openapi.json")).json()["paths"]
    for path, methods in PROMISED.items():
        assert methods <= set(described[path])


async def test_every_operation_describes_its_problems(world):
    described = (await world.client.get("/openapi.json")).json()
    assert "Problem" in described["components"]["schemas"]
    for path, operations in described["paths"].items():
        of = "application/json" if path.startswith("/api/domains/") else "application/problem+json"
        for operation in operations.values():
            assert of in operation["responses"]["default"]["content"]
            assert "422" not in operation["responses"]
            assert operation["summary"]


async def test_the_description_page_is_there(world):
    assert (await world.client.get("/docs")).status_code == 200


def with_pages(world, *origins: str) -> Api:
    config = msgspec.structs.replace(world.context.config, api=platform.Api(hostname="api.example.com", cors_origins=origins))
    world.context.config = config
    return Api(world)


PREFLIGHT = {"access-control-request-method": "GET", "access-control-request-headers": "authorization"}


async def test_pages_of_the_configured_origins_may_ask_from_a_browser(world):
    api = with_pages(world, "https://app.example.com")
    token = await api.token("operator:read")
    mine = {"origin": "https://app.example.com"}
    preflight = await api.ask("OPTIONS", DOMAINS, headers=mine | PREFLIGHT)
    assert preflight.status_code == 200
    assert preflight.headers["access-control-allow-origin"] == "https://app.example.com"
    assert "authorization" in preflight.headers["access-control-allow-headers"].lower()
    assert "access-control-allow-credentials" not in preflight.headers
    for answer in (
        await api.ask("GET", DOMAINS, token, headers=mine),
        await api.ask("GET", DOMAINS, headers=mine),
        await api.ask("POST", DOMAINS, token, headers=mine, json={}),
    ):
        assert answer.headers["access-control-allow-origin"] == "https://app.example.com"
        assert "retry-after" in answer.headers["access-control-expose-headers"]
    others = {"origin": "https://evil.example"}
    assert "access-control-allow-origin" not in (await api.ask("GET", DOMAINS, token, headers=others)).headers
    refused = await api.ask("OPTIONS", DOMAINS, headers=others | PREFLIGHT)
    assert (refused.status_code, "access-control-allow-origin" in refused.headers) == (400, False)


async def test_without_configured_origins_no_page_may_ask(world):
    api = with_pages(world)
    answer = await api.ask("OPTIONS", DOMAINS, headers={"origin": "https://app.example.com"} | PREFLIGHT)
    assert (answer.status_code, "access-control-allow-origin" in answer.headers) == (401, False)


async def test_every_page_may_ask_where_all_are_let_in(world):
    api = with_pages(world, "*")
    answer = await api.ask("GET", DOMAINS, headers={"origin": "https://any.example"})
    assert (answer.status_code, answer.headers["access-control-allow-origin"]) == (401, "*")


def _anything(chance: random.Random, depth: int = 0) -> object:
    """Some JSON value, with a liking for what is nearly right."""
    text = "".join(chance.choice("aZ0.-_*/%: \u0000é中\u202e\U0001f600xn--") for _ in range(chance.randrange(12)))
    simple = [None, True, 0, -1, 1e308, 2**70, text, "a.example.com", "*.example.com", "w", "http://127.0.0.1:1", "unix:/x"]
    if depth < 3 and chance.random() < 0.2:
        return [_anything(chance, depth + 1) for _ in range(chance.randrange(3))]
    if depth < 3 and chance.random() < 0.2:
        return {text: _anything(chance, depth + 1)}
    return chance.choice(simple)


async def test_whatever_is_sent_is_done_or_refused_but_never_fails(world):
    chance = random.Random(7)
    fields = (
        "domain",
        "workspace_id",
        "origin",
        "auto_configure",
        "verify",
        "redirect_to",
        "include_www",
        "metadata",
        "colour",
    )
    changes = ("origin", "redirect_to", "maintenance", "metadata", "colour")
    for _ in range(200):
        body = {field: _anything(chance) for field in fields if chance.random() < 0.5}
        wished = {field: _anything(chance) for field in changes if chance.random() < 0.4}
        seen = "".join(chance.choice('*"W/-,3 ') for _ in range(chance.randrange(6)))
        path = quote(str(_anything(chance)), safe=chance.choice(("", "/", "%")))
        for answer in (
            await world.client.post(DOMAINS, json=body),
            await world.client.get(f"{DOMAINS}/{path}"),
            await world.client.patch(f"{DOMAINS}/a.example.com", json=wished, headers={"if-match": seen} if seen else {}),
            await world.client.patch(f"{DOMAINS}/{path}", json=wished),
            await world.client.delete(f"{DOMAINS}/{path}"),
            await world.client.get(DOMAINS, params={"cursor": str(_anything(chance)), "state": str(_anything(chance))}),
        ):
            assert answer.status_code < 500, (body, path, answer.text)
            if answer.status_code >= 400:
                assert answer.headers["content-type"] == "application/problem+json"


@pytest.mark.parametrize("text", ["\\ud800", "\\u0000", "\\u202e", "\\udfff\\ud800"])
async def test_text_that_is_none_is_kept_as_it_is_or_refused(world, text):
    await world.client.post(DOMAINS, json={"domain": "example.com", "workspace_id": "acme"})
    headers = {"content-type": "application/json"}
    for field in (f'"metadata": {{"a": "{text}"}}', f'"redirect_to": "{text}"', f'"origin": "{text}"', f'"{text}": 1'):
        answer = await world.client.patch(f"{DOMAINS}/example.com", content=f"{{{field}}}", headers=headers)
        assert answer.status_code in (200, 422), (field, answer.text)
    assert (await world.client.get(f"{DOMAINS}/example.com")).status_code == 200


async def test_without_a_store_every_endpoint_says_why(world):
    world.context.plane = None
    problem_of(await world.client.get(DOMAINS), 503, "state_unusable")
    world.context.faults.fails("store", StateError("The database is damaged: do this."), 1.0)
    body = {"domain": "a.example.com", "workspace_id": "acme"}
    document = problem_of(await world.client.post(DOMAINS, json=body), 503, "state_unusable")
    assert document["detail"] == "The database is damaged: do this."
    assert document["fault"] == "operator"


async def test_every_method_that_a_path_does_not_take_is_refused_with_those_that_it_does(world):
    answer = await world.client.patch(DOMAINS)
    problem_of(answer, 405, "method_not_allowed")
    assert set(answer.headers["allow"].replace(" ", "").split(",")) == {"GET", "HEAD", "POST"}
    problem_of(await world.client.get("/api/v1/nothing"), 404, "not_found")
