"""Health and metrics."""

import time

import httpx2

from edgeproxy.control.api.app import metrics_app
from edgeproxy.errors import LinkError, StateError
from edgeproxy.link.messages import Report
from tests.control.api.conftest import certificate


async def test_alive_is_alive_whatever_else_fails(world):
    world.context.plane = None
    answer = await world.client.get("/healthz")
    assert (answer.status_code, answer.json()) == (200, {"status": "ok"})


async def test_ready_means_that_workers_serve_with_or_without_a_store(world):
    assert (await world.client.get("/readyz")).status_code == 503
    world.context.metrics.report(Report(worker=0, pid=10, counters={}), time.time())
    world.context.plane = None
    answer = await world.client.get("/readyz")
    assert answer.status_code == 200
    assert answer.json()["workers_serving"] == 1


async def test_workers_that_fell_silent_do_not_serve(world):
    world.context.metrics.report(Report(worker=0, pid=10, counters={}), time.time() - 30)
    assert (await world.client.get("/readyz")).status_code == 503


async def test_what_they_answer_is_described(world):
    described = (await world.client.get("/openapi.json")).json()["paths"]
    for path, kind in (("/healthz", "application/json"), ("/readyz", "application/json"), ("/metrics", "text/plain")):
        assert set(described[path]["get"]["responses"]["200"]["content"]) == {kind}
        assert kind in (await world.client.get(path)).headers["content-type"]
    assert described["/readyz"]["get"]["responses"]["503"]["content"]["application/json"]


async def test_metrics_gather_what_workers_store_and_supervisor_know(world):
    world.context.metrics.report(Report(worker=0, pid=10, counters={"requests_total|2xx|h1": 5.0}), time.time())
    await world.store.add_certificate(certificate("a.example.com", days=80), time.time())
    answer = await world.client.get("/metrics")
    assert answer.headers["content-type"].startswith("text/plain; version=0.0.4")
    lines = answer.text.splitlines()
    assert 'edgeproxy_requests_total{code_class="2xx",protocol="h1"} 5.0' in lines
    assert "edgeproxy_worker_restarts_total 2.0" in lines
    assert 'edgeproxy_certificates{state="valid"} 1.0' in lines
    assert 'edgeproxy_issuance_waiting{kind="new"} 2.0' in lines
    (expiry,) = [line for line in lines if line.startswith("edgeproxy_certificate_expiry_seconds ")]
    assert 79 * 86400 < float(expiry.split()[1]) < 81 * 86400


async def test_metrics_answer_without_supervisor_and_store(world, monkeypatch):
    async def broken(now: float) -> None:
        raise StateError("The database is damaged.")

    monkeypatch.setattr(world.store, "summary", broken)
    world.supervisor.answer = LinkError("gone")
    answer = await world.client.get("/metrics")
    assert answer.status_code == 200
    assert "edgeproxy_control_faults 1.0" in answer.text
    assert "edgeproxy_worker_restarts_total" not in answer.text


async def test_the_metrics_listener_offers_nothing_else(world):
    transport = httpx2.ASGITransport(metrics_app(world.context))
    async with httpx2.AsyncClient(transport=transport, base_url="http://edge") as client:
        for path in ("/healthz", "/metrics"):
            assert (await client.get(path)).status_code == 200
        for path in ("/api/v1/admin/status", "/api/v1/infrastructure/domains", "/openapi.json", "/docs"):
            assert (await client.get(path)).status_code == 404
