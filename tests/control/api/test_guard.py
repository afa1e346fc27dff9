"""Bounds and the last resort before every endpoint."""

import asyncio
import json

import httpx2
import pytest
from fastapi import FastAPI, Request
from starlette.responses import StreamingResponse

from edgeproxy.control.api import guard, problems
from edgeproxy.control.api.guard import Guard
from tests.control.api.conftest import client_of, serving


@pytest.fixture
def counted():
    return []


@pytest.fixture
def app(counted):
    app = FastAPI()
    problems.install(app)
    app.add_middleware(Guard, unexpected=counted.append)
    app.state.go = asyncio.Event()
    app.state.entered = 0

    @app.post("/length")
    async def length(request: Request) -> int:
        return len(await request.body())

    @app.get("/fails")
    async def fails() -> None:
        raise ZeroDivisionError("hunter2")

    @app.get("/fails-midway")
    async def fails_midway() -> StreamingResponse:
        async def parts():
            yield b"begun"
            raise ZeroDivisionError("hunter2")

        return StreamingResponse(parts())

    @app.get("/waits")
    async def waits() -> str:
        app.state.entered += 1
        await app.state.go.wait()
        return "done"

    return app


@pytest.fixture
async def client(app):
    async with httpx2.AsyncClient(transport=httpx2.ASGITransport(app), base_url="http://edge", timeout=60) as client:
        yield client


async def test_every_answer_has_a_request_id_of_its_own(client):
    first, second = [await client.post("/length", content=b"abc") for _ in range(2)]
    assert first.json() == 3
    assert first.headers["x-request-id"] != second.headers["x-request-id"]


async def test_head_is_answered_as_get_without_the_content(app, bound):
    app.state.go.set()
    sock, path = bound
    async with serving(app, sock), client_of(path) as client:
        answer = await client.head("/waits")
        assert (answer.status_code, answer.content) == (200, b"")
        assert answer.headers["content-length"] == str(len((await client.get("/waits")).content))
        assert (await client.head("/length")).status_code == 405


async def test_an_unforeseen_error_shows_no_internals_and_is_logged_once_under_its_id(client, counted, capsys):
    answer = await client.get("/fails")
    assert answer.status_code == 500
    assert answer.headers["content-type"] == "application/problem+json"
    document = answer.json()
    assert (document["code"], document["fault"], document["retryable"]) == ("internal_error", "edge", False)
    assert document["request_id"] == answer.headers["x-request-id"]
    assert "hunter2" not in answer.text
    assert "ZeroDivision" not in answer.text
    assert counted == ["api"]


async def test_an_answer_that_fails_midway_is_cut_off(client, counted):
    with pytest.raises(ZeroDivisionError):
        await client.get("/fails-midway")
    assert counted == ["api"]


async def test_a_body_up_to_the_bound_passes_and_one_above_is_refused(client):
    assert (await client.post("/length", content=b"x" * guard.BODY_BYTES)).json() == guard.BODY_BYTES
    answer = await client.post("/length", content=b"x" * (guard.BODY_BYTES + 1))
    assert answer.status_code == 413
    assert answer.json()["code"] == "body_too_large"
    assert answer.headers["connection"] == "close"


async def test_a_body_that_does_not_tell_its_length_is_bounded_too(client):
    async def endless():
        for _ in range(1000):
            yield b"x" * 65536

    answer = await client.post("/length", content=endless())
    assert answer.status_code == 413


async def test_a_length_that_is_declared_too_large_is_refused_before_it_comes(client):
    async def never():
        for part in (b"",):
            yield part
            raise AssertionError("the body was read")

    answer = await client.post("/length", content=never(), headers={"content-length": "9" * 30})
    assert answer.status_code == 413


async def test_a_body_that_does_not_come_is_given_up(client, monkeypatch):
    monkeypatch.setattr(guard, "BODY_SECONDS", 0.05)

    async def stuck():
        yield b"x"
        await asyncio.sleep(60)

    answer = await client.post("/length", content=stuck())
    assert answer.status_code == 408
    assert answer.json()["retryable"] is True


async def test_requests_above_the_bound_are_told_to_come_again(client, app, monkeypatch):
    monkeypatch.setattr(guard, "REQUESTS", 2)
    running = [asyncio.ensure_future(client.get("/waits")) for _ in range(2)]
    while app.state.entered < 2:
        await asyncio.sleep(0.005)
    answer = await client.get("/waits")
    assert answer.status_code == 503
    assert answer.json()["code"] == "busy"
    assert answer.headers["retry-after"] == "1"
    app.state.go.set()
    assert [(await request).json() for request in running] == ["done", "done"]
    assert (await client.get("/waits")).json() == "done"


async def test_json_that_could_be_read_in_two_ways_reaches_no_endpoint(client, app):
    twice = b'{"domain": "a", "domain": "b"}'
    for kind in ("application/json", "Application/JSON; charset=utf-8", "application/merge-patch+json"):
        answer = await client.post("/length", content=twice, headers={"content-type": kind})
        assert (answer.status_code, answer.json()["code"]) == (400, "invalid_json")
        assert answer.headers["x-request-id"] == answer.json()["request_id"]
    assert (await client.post("/length", content=twice, headers={"content-type": "text/plain"})).json() == len(twice)
    assert (await client.post("/length", content=b'{"domain": "a"}', headers={"content-type": "application/json"})).json() == 15


async def test_a_client_that_leaves_before_its_body_is_whole_reaches_no_endpoint(counted):
    reached = []

    async def app(scope, receive, send) -> None:
        reached.append(scope)

    messages = iter([{"type": "http.request", "body": b"x", "more_body": True}, {"type": "http.disconnect"}])

    async def receive():
        return next(messages)

    async def send(message) -> None:
        raise AssertionError(json.dumps(message))

    await Guard(app, counted.append)({"type": "http", "headers": [], "method": "POST", "path": "/"}, receive, send)
    assert reached == []
