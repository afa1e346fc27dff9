"""The description of the API, and the pages that may ask it."""

import msgspec

from edgeproxy.config import platform
from tests.control.api.access.conftest import DOMAINS, Api

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
