"""Every error is a problem document."""

from typing import Any

import httpx2
import pytest
from fastapi import FastAPI
from pydantic import BaseModel, ConfigDict, Field

from edgeproxy.control.api import problems
from edgeproxy.errors import (
    Conflict,
    EdgeError,
    Fault,
    InvalidName,
    IssuanceDenied,
    IssuanceError,
    LinkError,
    MapError,
    NotFound,
    StateError,
)

MEMBERS = {"type", "title", "status", "detail", "code", "fault", "retryable"}


class Body(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)
    name: str = Field(max_length=5)
    count: int = 0


@pytest.fixture
def app():
    app = FastAPI(redirect_slashes=False)
    problems.install(app)
    app.state.error = None

    @app.get("/raise")
    async def raises() -> None:
        raise app.state.error

    @app.post("/take")
    async def take(body: Body) -> str:
        return body.name

    return app


@pytest.fixture
async def client(app):
    async with httpx2.AsyncClient(transport=httpx2.ASGITransport(app), base_url="http://edge", timeout=60) as client:
        yield client


def checked(answer) -> dict[str, Any]:
    document: dict[str, Any] = answer.json()
    assert answer.headers["content-type"] == "application/problem+json"
    assert set(document) >= MEMBERS
    assert document["status"] == answer.status_code
    assert document["fault"] in set(Fault)
    assert isinstance(document["retryable"], bool)
    return document


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (InvalidName("x"), 422),
        (NotFound("x"), 404),
        (Conflict("x"), 409),
        (IssuanceDenied("x"), 403),
        (IssuanceError("x"), 502),
        (IssuanceError("x", fault=Fault.CLIENT), 409),
        (LinkError("x"), 503),
        (MapError("x"), 503),
        (StateError("x"), 503),
        (EdgeError("x"), 500),
    ],
)
async def test_an_error_becomes_its_status_with_code_fault_and_whether_to_try_again(client, app, error, status):
    app.state.error = error
    answer = await client.get("/raise")
    document = checked(answer)
    assert answer.status_code == status
    assert (document["detail"], document["code"], document["fault"]) == ("x", error.code, error.fault)
    assert document["retryable"] is error.retryable
    assert ("retry-after" in answer.headers) == (status == 503 and error.retryable)


async def test_an_unknown_path_and_a_wrong_method_are_problems_too(client):
    assert checked(await client.get("/nowhere"))["code"] == "not_found"
    assert checked(await client.get("/raise/"))["code"] == "not_found"
    answer = await client.delete("/take")
    assert checked(answer)["code"] == "method_not_allowed"
    assert answer.headers["allow"] == "POST"
    assert (await client.delete("/raise")).headers["allow"] == "GET, HEAD"


async def test_a_path_that_takes_several_methods_tells_all_of_them(world):
    for path, methods in (
        ("/api/v1/infrastructure/domains", "GET, HEAD, POST"),
        ("/api/v1/infrastructure/domains/a.example.com", "GET, HEAD, PATCH, DELETE"),
        ("/api/v1/infrastructure/workspaces/acme", "GET, HEAD, PUT, DELETE"),
    ):
        answer = await world.client.request("TRACE", path)
        assert (answer.status_code, answer.headers["allow"]) == (405, methods)


@pytest.mark.parametrize(
    ("body", "status", "code", "said"),
    [
        (b"{", 400, "invalid_json", "not JSON"),
        (b"\xff\xfe", 400, "invalid_json", "not JSON"),
        (b'{"name": "\xff"}', 400, "malformed_request", ""),
        (b"[" * 100_000, 400, "malformed_request", ""),
        (b"[]", 422, "invalid_request", "must be a JSON object"),
        (b"", 422, "invalid_request", "must be a JSON object"),
        (b"{}", 422, "invalid_request", "body.name: is missing"),
        (b'{"name": "a", "colour": 1}', 422, "invalid_request", "body.colour: is not a field of this request"),
        (b'{"name": 1}', 422, "invalid_request", "body.name"),
        (b'{"name": "toolong"}', 422, "invalid_request", "at most 5 characters"),
        (b'{"name": "\\ud800"}', 422, "invalid_request", "body.name"),
        (b'{"name": "a", "count": "7"}', 422, "invalid_request", "body.count"),
        (b'{"name": "a", "count": true}', 422, "invalid_request", "body.count"),
    ],
)
async def test_a_body_that_does_not_fit_is_told_why(client, body, status, code, said):
    answer = await client.post("/take", content=body, headers={"content-type": "application/json"})
    document = checked(answer)
    assert (answer.status_code, document["code"]) == (status, code)
    assert said in str(document["detail"])


async def test_a_body_of_another_type_is_told_which_one_it_must_be(client):
    answer = await client.post("/take", content=b'{"name": "a"}', headers={"content-type": "text/plain"})
    assert "content-type: application/json" in str(checked(answer)["detail"])


async def test_what_was_sent_is_not_echoed_and_the_list_of_faults_is_bounded(client):
    many = ", ".join(f'"secret{n}": "hunter2"' for n in range(1000))
    answer = await client.post("/take", content=f'{{"name": "a", {many}}}', headers={"content-type": "application/json"})
    assert "hunter2" not in answer.text
    assert len(checked(answer)["errors"]) == problems.FIELD_FAULTS
    assert len(answer.content) < 5000


async def test_a_field_name_of_a_megabyte_is_not_echoed(client):
    answer = await client.post(
        "/take", content=b'{"name": "a", "' + b"x" * 1_000_000 + b'": 1}', headers={"content-type": "application/json"}
    )
    checked(answer)
    assert len(answer.content) < 2000
