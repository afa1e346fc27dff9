"""The operator API for certificates."""

import asyncio
import json
import socket
import time

import pytest

from edgeproxy.control.api.app import admin_app
from edgeproxy.control.api.certificates import NDJSON, state_of
from edgeproxy.errors import IssuanceDenied, IssuanceError
from edgeproxy.model import DomainState
from tests.control.api.conftest import certificate, client_of, problem_of, serving

SSL = "/api/v1/infrastructure/ssl"


async def test_certificates_are_listed_with_issuer_dates_and_serial(world):
    await world.store.add_certificate(certificate("a.example.com", "b.example.com"), time.time())
    (shown,) = (await world.client.get(SSL)).json()["certificates"]
    assert shown["names"] == ["a.example.com", "b.example.com"]
    assert (shown["issuer"], shown["serial"], shown["state"]) == ("Test CA", "abc123", "valid")
    assert shown["directory"] == "internal"
    assert shown["not_before"].endswith("Z")
    assert shown["not_after"] > shown["not_before"]
    assert shown["renew_at"] < shown["not_after"]
    assert "key" not in json.dumps(shown)


async def test_the_listing_is_paged(world):
    for number in range(5):
        await world.store.add_certificate(certificate(f"n{number}.example.com"), time.time())
    first = (await world.client.get(SSL, params={"limit": 3})).json()
    second = (await world.client.get(SSL, params={"limit": 3, "cursor": first["next_cursor"]})).json()
    ids = [shown["id"] for page in (first, second) for shown in page["certificates"]]
    assert ids == [f"id-n{number}.example.com" for number in range(5)]
    assert second["next_cursor"] is None


async def test_a_name_shows_the_certificate_that_it_is_served_under(world):
    await world.store.add_certificate(certificate("*.example.com"), time.time())
    answer = await world.client.get(f"{SSL}/a.example.com")
    assert answer.json()["certificate"]["names"] == ["*.example.com"]
    assert answer.json()["chain"].startswith("-----BEGIN CERTIFICATE-----")
    document = problem_of(await world.client.get(f"{SSL}/other.test.example"), 404, "not_found")
    assert document["detail"] == (
        "other.test.example has no certificate. other.test.example is not registered here. "
        "`edgeproxy domains add other.test.example --workspace ID` registers it."
    )
    await world.store.add_domain("other.test.example", "w", state=DomainState.VERIFIED, actor="t", now=time.time())
    document = problem_of(await world.client.get(f"{SSL}/other.test.example"), 404, "not_found")
    assert "`edgeproxy certs issue other.test.example` does now" in document["detail"]
    document = problem_of(await world.client.get(f"{SSL}/www.ve.ai"), 404, "not_found")
    assert document["detail"].endswith("www.ve.ai is reserved by platform.reserved.")
    problem_of(await world.client.get(f"{SSL}/not a name"), 422, "invalid_name")


async def test_a_certificate_is_issued_on_the_operators_word(world):
    answer = await world.client.post(f"{SSL}/a.example.com")
    assert answer.status_code == 200
    assert answer.json()["certificate"]["names"] == ["a.example.com"]
    assert answer.json()["expires_at"] == answer.json()["certificate"]["not_after"]
    answer = await world.client.post(f"{SSL}/b.example.com", json={"type": "lets_encrypt", "auto_renew": True})
    assert answer.status_code == 200


async def test_what_cannot_be_issued_says_whose_fault_it_is(world):
    world.issuance.error = IssuanceDenied("a.example.com is not registered here.")
    document = problem_of(await world.client.post(f"{SSL}/a.example.com"), 403, "issuance_denied")
    assert document["fault"] == "client"
    cure = "`edgeproxy domains add a.example.com --workspace ID` registers it."
    assert document["detail"] == f"a.example.com is not registered here. {cure}"
    told = await world.client.post(f"{SSL}/a.example.com", headers={"accept": NDJSON})
    assert json.loads(told.text.splitlines()[-1])["problem"]["detail"] == document["detail"]
    world.issuance.error = IssuanceDenied("The gate says no.")
    document = problem_of(await world.client.post(f"{SSL}/a.example.com"), 403, "issuance_denied")
    assert document["detail"] == "The gate says no."
    world.issuance.error = IssuanceError("The CA is out of order.")
    document = problem_of(await world.client.post(f"{SSL}/a.example.com"), 502, "issuance_failed")
    assert (document["fault"], document["retryable"]) == ("ca", True)


@pytest.mark.parametrize(
    ("body", "status", "code"),
    [
        ({"type": "custom", "cert_data": "x", "key_data": "hunter2"}, 501, "not_built"),
        ({"type": "other"}, 422, "invalid_request"),
        ({"auto_renew": "yes"}, 422, "invalid_request"),
        ({"key": "hunter2"}, 422, "invalid_request"),
        ({"key_data": "hunter2" * 10_000}, 422, "invalid_request"),
    ],
)
async def test_what_is_not_built_or_does_not_fit_is_refused_without_showing_a_key(world, body, status, code):
    answer = await world.client.post(f"{SSL}/a.example.com", json=body)
    problem_of(answer, status, code)
    assert "hunter2" not in answer.text


async def lines_of(answer) -> list[dict[str, object]]:
    return [json.loads(line) async for line in answer.aiter_lines()]


async def test_progress_is_told_line_by_line(world):
    async with world.client.stream("POST", f"{SSL}/a.example.com", headers={"accept": NDJSON}) as answer:
        assert answer.headers["content-type"] == NDJSON
        lines = await lines_of(answer)
    assert [line["event"] for line in lines] == ["progress", "progress", "done"]
    assert lines[0]["detail"] == "order placed"
    assert lines[2]["certificate"]["names"] == ["a.example.com"]  # type: ignore[index]
    assert lines[2]["expires_at"]


async def test_a_failure_is_the_last_line_of_the_progress(world):
    world.issuance.error = IssuanceError("The CA is out of order.")
    async with world.client.stream("POST", f"{SSL}/a.example.com", headers={"accept": NDJSON}) as answer:
        lines = await lines_of(answer)
    assert lines[-1]["event"] == "failed"
    assert lines[-1]["problem"]["code"] == "issuance_failed"  # type: ignore[index]
    assert lines[-1]["problem"]["request_id"] == answer.headers["x-request-id"]  # type: ignore[index]


async def test_a_failure_that_nobody_foresaw_is_told_without_internals(world):
    world.issuance.error = ZeroDivisionError("hunter2")
    async with world.client.stream("POST", f"{SSL}/a.example.com", headers={"accept": NDJSON}) as answer:
        text = (await answer.aread()).decode()
    assert "hunter2" not in text
    assert json.loads(text.splitlines()[-1])["event"] == "failed"
    assert world.context.metrics._errors == {"api": 1}


async def test_steps_are_told_while_the_issuance_goes_on(world):
    path = world.directory / "admin.sock"
    sock = socket.socket(socket.AF_UNIX)
    sock.bind(str(path))
    world.issuance.go.clear()
    # over a socket: what is streamed must arrive in pieces
    async with (
        serving(admin_app(world.context), sock),
        client_of(path) as client,
        client.stream("POST", f"{SSL}/a.example.com", headers={"accept": NDJSON}) as answer,
    ):
        lines = answer.aiter_lines()
        first = await asyncio.wait_for(anext(lines), 10)
        assert json.loads(first)["detail"] == "order placed"
        world.issuance.go.set()
        rest = [json.loads(line)["event"] async for line in lines]
        assert rest == ["progress", "done"]


def test_the_state_of_a_certificate_follows_its_dates():
    assert state_of(100, 200, 150, 99) == "not_yet_valid"
    assert state_of(100, 200, 150, 100) == "valid"
    assert state_of(100, 200, 150, 150) == "due"
    assert state_of(100, 200, 150, 200) == "expired"
    assert state_of(100, 200, float("inf"), 199) == "valid"
