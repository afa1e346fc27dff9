"""The operator API for certificates."""

import asyncio
import json
import socket
import time

import msgspec
import pytest

from edgeproxy.control.api.app import admin_app
from edgeproxy.control.api.certificates import NDJSON, state_of
from edgeproxy.control.dns.zone import zone_label
from edgeproxy.control.issuance.queue import Turn
from edgeproxy.control.issuance.scheduler import described
from edgeproxy.errors import IssuanceDenied, IssuanceError
from edgeproxy.model import DomainState
from tests.authorities import key_text, new_key, pem
from tests.control.api.conftest import ROOT, certificate, client_of, problem_of, serving

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
    assert "PRIVATE KEY" not in json.dumps(shown)


async def test_the_listing_is_paged(world):
    for number in range(5):
        await world.store.add_certificate(certificate(f"n{number}.example.com"), time.time())
    first = (await world.client.get(SSL, params={"limit": 3})).json()
    second = (await world.client.get(SSL, params={"limit": 3, "cursor": first["next_cursor"]})).json()
    ids = [shown["id"] for page in (first, second) for shown in page["certificates"]]
    assert ids == [f"id-n{number}.example.com" for number in range(5)]
    assert second["next_cursor"] is None


async def test_the_listing_says_since_when_one_is_not_in_use_any_more(world):
    first = certificate("a.example.com")
    for stored in (first, msgspec.structs.replace(first, id="newer", not_before=first.not_before + 60.0)):
        await world.store.add_certificate(stored, time.time())
    shown = {each["id"]: each["superseded_at"] for each in (await world.client.get(SSL)).json()["certificates"]}
    assert shown["newer"] is None
    assert shown[first.id].endswith("Z")


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


async def test_a_name_that_waits_for_its_turn_is_told_where_it_stands(world):
    turn = Turn("new", 12, time.time() + 7200, "")
    world.issuance.turns["a.example.com"] = turn
    answer = await world.client.get(f"{SSL}/a.example.com")
    document = problem_of(answer, 503, "queued")
    assert document["retryable"] is True
    assert "a.example.com has no certificate yet: queued, position about 12, expected at about 20" in document["detail"]
    assert "obtained by itself when its turn comes" in document["detail"]
    assert 7190 < int(answer.headers["retry-after"]) <= 7200
    await world.store.add_certificate(certificate("a.example.com"), time.time())
    assert (await world.client.get(f"{SSL}/a.example.com")).json()["queued"] == described(turn)


async def test_what_its_owner_has_to_set_for_the_ca_is_told_with_a_name(world):
    await world.store.add_domain("*.shop.example", "w", state=DomainState.VERIFIED, actor="t", now=time.time())
    line = f"_acme-challenge.shop.example. 300 IN CNAME {zone_label('shop.example')}.acme.ve.ai."
    document = problem_of(await world.client.get(f"{SSL}/x.shop.example"), 404, "not_found")
    assert document["detail"].endswith(f"does now. Its owner must have set: {line}")
    await world.client.post(f"{SSL}/*.shop.example")
    (record,) = (await world.client.get(f"{SSL}/*.shop.example")).json()["dns_records"]
    assert (record["purpose"], record["required"], record["zone_line"]) == ("acme", True, line)
    domain = (await world.client.get("/api/v1/infrastructure/domains/*.shop.example")).json()
    assert domain["dns_records"] == [record]


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
        ({"type": "custom", "cert_data": "x", "key_data": "hunter2"}, 403, "issuance_denied"),
        ({"type": "custom", "cert_data": "x"}, 422, "invalid_request"),
        ({"type": "custom", "key_data": "hunter2"}, 422, "invalid_request"),
        ({"key_data": "hunter2"}, 422, "invalid_request"),
        ({"type": "other"}, 422, "invalid_request"),
        ({"auto_renew": "yes"}, 422, "invalid_request"),
        ({"key": "hunter2"}, 422, "invalid_request"),
        ({"key_data": "hunter2" * 10_000}, 422, "invalid_request"),
    ],
)
async def test_what_does_not_fit_is_refused_without_showing_a_key(world, body, status, code):
    answer = await world.client.post(f"{SSL}/a.example.com", json=body)
    problem_of(answer, status, code)
    assert "hunter2" not in answer.text


KEY = new_key()


async def upload(world, name="shop.example.com", key=KEY, **fields):
    await world.store.add_domain(name, "w", state=DomainState.VERIFIED, actor="t", now=time.time())
    body = {"type": "custom", "cert_data": pem(ROOT.sign(name, key=key)), "key_data": key_text(key)} | fields
    return await world.client.post(f"{SSL}/{name}", json=body)


async def test_an_upload_is_served_and_shown(world):
    answer = await upload(world, auto_renew=False)
    assert answer.status_code == 200, answer.text
    shown = answer.json()["certificate"]
    assert (shown["custom"], shown["auto_renew"], shown["directory"], shown["issuer"]) == (True, False, "custom", "Root")
    assert shown["names"] == ["shop.example.com"]
    assert answer.json()["notes"] == []
    assert world.site("shop.example.com").certificate == shown["id"]
    found = (await world.client.get(f"{SSL}/shop.example.com")).json()
    assert found["certificate"] == shown
    assert key_text(KEY).splitlines()[1] not in answer.text


async def test_what_was_repaired_of_an_upload_is_told(world):
    answer = await upload(world, cert_data=pem(ROOT.certificate, ROOT.sign("shop.example.com", key=KEY)))
    assert answer.json()["notes"] == ["the root left out, which visitors have themselves"]


@pytest.mark.parametrize(
    ("fields", "code"),
    [
        ({"key_data": key_text(new_key())}, "key_mismatch"),
        ({"key_data": key_text(KEY, passphrase=b"hunter2")}, "encrypted_key"),
        ({"cert_data": pem(ROOT.sign("other.example.com", key=KEY))}, "name_not_covered"),
        ({"cert_data": "hello"}, "unreadable_certificate"),
    ],
)
async def test_an_upload_that_cannot_be_served_is_refused_with_its_own_code(world, fields, code):
    document = problem_of(await upload(world, **fields), 422, code)
    assert document["fault"] == "client"
    assert await world.store.list_certificates(10) == []


async def test_it_is_removed_again_and_the_edges_own_obtained(world):
    uploaded = (await upload(world)).json()["certificate"]
    answer = await world.client.delete(f"{SSL}/shop.example.com")
    assert answer.json()["certificate"]["directory"] == "internal"
    assert world.issuance.forced == [True]
    assert await world.store.get_certificate(uploaded["id"]) is None
    problem_of(await world.client.delete(f"{SSL}/shop.example.com"), 404, "not_found")


async def test_it_is_removed_by_force_where_there_is_none(world):
    await upload(world)
    world.issuance.error = IssuanceError("The CA is out of order.")
    document = problem_of(await world.client.delete(f"{SSL}/shop.example.com"), 502, "issuance_failed")
    assert "was left in place" in document["detail"]
    answer = await world.client.delete(f"{SSL}/shop.example.com", params={"force": True})
    assert answer.json() == {"certificate": None}


async def test_a_renewal_is_a_new_certificate_and_not_for_an_upload(world):
    answer = await world.client.post(f"{SSL}/a.example.com/renew")
    assert answer.json()["certificate"]["names"] == ["a.example.com"]
    assert world.issuance.forced == [True]
    async with world.client.stream("POST", f"{SSL}/a.example.com/renew", headers={"accept": NDJSON}) as told:
        assert [line["event"] for line in await lines_of(told)] == ["progress", "progress", "done"]
    await upload(world)
    problem_of(await world.client.post(f"{SSL}/shop.example.com/renew"), 409, "conflict")


async def test_many_are_renewed_by_their_serial_numbers(world):
    now = time.time()
    for name, serial in (("a.example.com", "3a1"), ("b.example.com", "b2")):
        await world.store.add_certificate(msgspec.structs.replace(certificate(name), serial=serial), now)
    answer = await world.client.post("/api/v1/infrastructure/ssl-renewals", json={"serials": ["03:A1", "0x3a1", "ff"]})
    assert answer.json() == {"renewing": ["3a1"], "unknown": ["ff"]}
    assert [stored.names for stored in await world.store.certificates_to_renew(now, 10)] == [("a.example.com",)]
    for serials in ([], ["hello"], ["1"] * 1_001):
        refused = await world.client.post("/api/v1/infrastructure/ssl-renewals", json={"serials": serials})
        assert refused.status_code in (400, 422)


async def test_one_whose_renewal_rests_is_shown_as_parked(world):
    now = time.time()
    await world.store.add_certificate(msgspec.structs.replace(certificate("a.example.com"), renew_at=now - 60), now)
    await world.store.went_astray("id-a.example.com", now - 8 * 86_400, now - 60, now + 3_600, now)
    (shown,) = (await world.client.get(SSL)).json()["certificates"]
    assert shown["state"] == "parked"
    assert shown["parked_at"].endswith("Z")


async def test_a_certificate_is_revoked_and_replaced(world):
    await world.client.post(f"{SSL}/a.example.com")
    answer = await world.client.post(f"{SSL}/a.example.com/revoke", json={"reason": "superseded"})
    told = answer.json()
    assert told["certificate"]["names"] == ["a.example.com"]
    assert told["replacement"]["id"] != told["certificate"]["id"]
    assert "is revoked (superseded)" in told["detail"]
    problem_of(await world.client.post(f"{SSL}/a.example.com/revoke", json={"reason": "other"}), 422, "invalid_request")
    problem_of(await world.client.post(f"{SSL}/none.example.com/revoke", json={}), 404, "not_found")
    body = {"certificate_id": "nonsense"}
    problem_of(await world.client.post(f"{SSL}/a.example.com/revoke", json=body), 404, "not_found")


async def test_one_that_could_not_be_replaced_is_shown_as_revoked(world):
    await world.client.post(f"{SSL}/a.example.com")
    world.issuance.error = IssuanceError("The CA is out of order.")
    told = (await world.client.post(f"{SSL}/a.example.com/revoke", json={})).json()
    assert told["replacement"] is None
    shown = (await world.client.get(f"{SSL}/a.example.com")).json()["certificate"]
    assert (shown["state"], shown["revoked_at"][-1]) == ("revoked", "Z")


async def test_the_history_is_shown_also_of_a_name_that_is_gone(world):
    await world.store.add_domain("a.example.com", "w", state=DomainState.VERIFIED, actor="t", now=time.time())
    for one in ("c1", "c2"):
        await world.store.add_certificate(certificate("a.example.com", id=one), time.time(), actor="uid:0")
    found = (await world.client.get(f"{SSL}/a.example.com")).json()["history"]
    assert [(entry["certificate_id"], entry["ended_why"]) for entry in found] == [("c2", ""), ("c1", "renewed")]
    assert (await world.client.delete("/api/v1/infrastructure/domains/a.example.com")).status_code == 200
    assert await world.store.list_certificates(10) == []
    problem_of(await world.client.get(f"{SSL}/a.example.com"), 404, "not_found")
    history = (await world.client.get(f"{SSL}/a.example.com/history")).json()["history"]
    assert [entry["ended_why"] for entry in history] == ["its domain was removed", "renewed"]
    assert history[0]["ended_at"].endswith("Z")
    assert (history[0]["added_by"], history[0]["directory"]) == ("uid:0", "internal")


async def test_the_accounts_key_is_changed(world):
    answer = await world.client.post("/api/v1/infrastructure/ssl-account/rollover")
    assert answer.json() == {"directory": world.context.config.issuance.directory}
    assert world.authority.asked == ["rollover"]
    world.authority.error = IssuanceError("The CA is out of order.")
    problem_of(await world.client.post("/api/v1/infrastructure/ssl-account/rollover"), 502, "issuance_failed")


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
        first = await asyncio.wait_for(anext(lines), 60)
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
