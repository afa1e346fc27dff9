"""Process control."""

import asyncio
import os
import time
from datetime import datetime

import msgspec

from edgeproxy.control.issuance.authorities import AuthorityState
from edgeproxy.control.probe.daily import Probe
from edgeproxy.errors import LinkError, StateError
from edgeproxy.link.messages import Report, Result
from edgeproxy.model import DomainState
from tests.control.api.conftest import certificate, problem_of

ADMIN = "/api/v1/admin"


async def test_status_tells_what_runs(world):
    now = time.time()
    counted = {"connections|idle": 4.0, "rate_limited_total|network": 2.0, "limits_reached_total|request_body": 3.0}
    world.context.metrics.report(Report(worker=0, pid=10, counters=counted, generation=7), now)
    world.context.metrics.report(Report(worker=1, pid=11, counters={}, draining=True), now)
    world.context.metrics.report(Report(worker=2, pid=12, counters={}), now - 60)
    await world.client.post("/api/v1/infrastructure/domains", json={"domain": "a.example.com", "workspace_id": "w"})
    await world.store.add_certificate(certificate("a.example.com"), now)
    status = (await world.client.get(f"{ADMIN}/status")).json()
    assert status["ready"] is True
    assert status["uptime_seconds"] >= 100
    assert status["controller"]["pid"] == os.getpid()
    assert status["supervisor"] == {"restarts": {"workers": 2}}
    assert [(worker["index"], worker["state"]) for worker in status["workers"]] == [
        (0, "serving"),
        (1, "draining"),
        (2, "silent"),
    ]
    assert status["workers"][0]["connections"] == 4
    assert status["workers"][0]["generation"] == 7
    assert list(status["refused"].items()) == [("limits.request_body", 3), ("rates.per_network", 2)]
    assert status["domains"] == {"verified": 1}
    assert status["certificates"]["valid"] == 1
    next_turn = datetime.fromisoformat(status["issuance"].pop("next_turn_at")).timestamp()
    assert now + 50 < next_turn < time.time() + 61
    assert status["issuance"] == {
        "pending": 3,
        "working": 1,
        "waiting": {"new": 2, "renewal": 0, "retry": 0},
        "budget": {
            "limit": 300,
            "window_seconds": 10800.0,
            "left": 180,
            "spent": {"new": 100, "renewal": 20, "retry": 0},
            "domains_full": 1,
        },
        "authorities": [],
    }
    assert status["faults"] == []
    assert status["map"]["head"] >= 1


async def test_status_tells_how_several_cas_stand(world):
    now = time.time()
    world.issuance.standing = [
        AuthorityState("https://one.example/dir", "one.example", "open", 3, "It cannot be reached.", now - 60, now + 60),
        AuthorityState("https://two.example/dir", "two.example", "closed", 0, "", 0.0, 0.0),
    ]
    one, two = (await world.client.get(f"{ADMIN}/status")).json()["issuance"]["authorities"]
    assert (one["ca"], one["state"], one["failures"], one["error"]) == ("one.example", "open", 3, "It cannot be reached.")
    assert datetime.fromisoformat(one["since"]).timestamp() < now < datetime.fromisoformat(one["next_trial_at"]).timestamp()
    assert (two["state"], two["error"], two["since"], two["next_trial_at"]) == ("closed", None, None, None)
    text = (await world.client.get("/metrics")).text
    assert 'edgeproxy_ca_state{ca="one.example"} 2.0' in text
    assert 'edgeproxy_ca_state{ca="two.example"} 0.0' in text


async def test_status_tells_of_uploaded_certificates_that_end_soon(world):
    now = time.time()
    for name, days in (("soon.example.com", 10), ("late.example.com", 60), ("ended.example.com", -1)):
        made = msgspec.structs.replace(certificate(name, days=days), issuer="custom", auto_renew=name != "soon.example.com")
        await world.store.add_certificate(made, now)
    await world.store.add_certificate(certificate("own.example.com", days=5), now)
    status = (await world.client.get(f"{ADMIN}/status")).json()
    told = [(each["hostname"], each["days_left"], each["auto_renew"]) for each in status["uploads_ending"]]
    assert told == [("ended.example.com", -1.0, True), ("soon.example.com", 10.0, False)]
    world.context.plane = None
    assert (await world.client.get(f"{ADMIN}/status")).json()["uploads_ending"] == []


async def test_status_answers_with_the_fault_when_the_store_cannot_be_opened(world):
    world.context.plane = None
    world.context.faults.fails("store", StateError("The database is damaged: do this."), time.time())
    status = (await world.client.get(f"{ADMIN}/status")).json()
    (fault,) = status["faults"]
    assert (fault["part"], fault["detail"], fault["fault"]) == ("store", "The database is damaged: do this.", "operator")
    assert status["map"] is None


async def test_status_answers_with_the_fault_when_the_store_breaks_later(world, monkeypatch):
    async def broken(now: float) -> None:
        raise StateError("The database is damaged.")

    monkeypatch.setattr(world.store, "summary", broken)
    (fault,) = (await world.client.get(f"{ADMIN}/status")).json()["faults"]
    assert (fault["part"], fault["detail"]) == ("store", "The database is damaged.")
    monkeypatch.undo()
    assert (await world.client.get(f"{ADMIN}/status")).json()["faults"] == []


async def test_status_answers_when_the_supervisor_does_not(world):
    world.supervisor.answer = LinkError("The supervisor did not answer.")
    status = (await world.client.get(f"{ADMIN}/status")).json()
    assert status["supervisor"] == {}
    assert [fault["part"] for fault in status["faults"]] == ["supervisor"]


async def test_reload_is_the_supervisors_to_do(world):
    world.supervisor.answer = Result(id=1, ok=True, detail="The new configuration is in use.")
    answer = await world.client.post(f"{ADMIN}/reload")
    assert answer.status_code == 200
    assert answer.json() == {"detail": "The new configuration is in use.", "data": {}}
    assert world.supervisor.asked == ["reload"]


async def test_a_refused_reload_says_why(world):
    detail = "edgeproxy.toml:3: tls.minimum: …"
    world.supervisor.answer = Result(id=1, ok=False, detail=detail, data={"code": "invalid_configuration"})
    document = problem_of(await world.client.post(f"{ADMIN}/reload"), 422, "reload_refused")
    assert document["detail"] == detail
    assert document["fault"] == "operator"
    assert document["cause"] == "invalid_configuration"


async def test_a_refusal_without_a_known_cause_names_none(world):
    world.supervisor.answer = Result(id=1, ok=False, detail="No.")
    assert "cause" not in problem_of(await world.client.post(f"{ADMIN}/reload"), 422, "reload_refused")


async def test_stop_is_accepted(world):
    assert (await world.client.post(f"{ADMIN}/stop")).status_code == 202
    assert world.supervisor.asked == ["stop"]


async def test_a_supervisor_that_does_not_answer_is_told(world):
    world.supervisor.answer = LinkError("The supervisor did not answer to stop within 5 s.")
    assert problem_of(await world.client.post(f"{ADMIN}/stop"), 503, "link_unavailable")["retryable"] is True


async def test_getting_what_must_be_posted_does_nothing(world):
    for action in ("reload", "stop"):
        problem_of(await world.client.get(f"{ADMIN}/{action}"), 405, "method_not_allowed")
    assert world.supervisor.asked == []


async def test_status_has_how_names_are_served_and_the_worst_of_them(world):
    await world.store.add_domain("a.example.com", "ws", state=DomainState.VERIFIED, actor="test", now=time.time())
    await world.store.add_certificate(certificate("a.example.com"), time.time())
    probe = Probe(world.context.config, world.store, time.time, lambda _seconds: asyncio.sleep(0))
    world.context.plane.probe = probe
    await probe.round()
    served = (await world.client.get(f"{ADMIN}/status")).json()["served"]
    assert served["grades"] == {"unreachable": 1}
    (worst,) = served["worst"]
    assert (worst["hostname"], worst["grade"]) == ("a.example.com", "unreachable")
    assert "There is no TLS handshake" in worst["detail"]
    text = (await world.client.get("/metrics")).text
    assert 'edgeproxy_certificates_served{grade="unreachable"} 1.0' in text
    await world.store.remove_domain("a.example.com", actor="test", now=time.time())
    assert (await world.client.get(f"{ADMIN}/status")).json()["served"] == {"grades": {}, "worst": []}
