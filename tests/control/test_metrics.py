"""The names that dashboards rely on."""

import dataclasses
import math

from prometheus_client.parser import text_string_to_metric_families

from edgeproxy.control.issuance.budget import Left
from edgeproxy.control.issuance.scheduler import QueueState
from edgeproxy.control.metrics import CAS, Metrics, Snapshot
from edgeproxy.link.counters import BUCKETS
from edgeproxy.link.messages import Report

NOTHING = Snapshot()

CONTRACT = {
    "edgeproxy_requests_total",
    "edgeproxy_request_seconds",
    "edgeproxy_connections",
    "edgeproxy_handshakes_total",
    "edgeproxy_map_lookups_total",
    "edgeproxy_certificates",
    "edgeproxy_custom_certificates",
    "edgeproxy_certificate_expiry_seconds",
    "edgeproxy_acme_orders_total",
    "edgeproxy_issuance_seconds",
    "edgeproxy_gate_total",
    "edgeproxy_origin_seconds",
    "edgeproxy_worker_restarts_total",
}


def samples(metrics: Metrics, snapshot: Snapshot = NOTHING) -> dict[tuple[str, tuple[tuple[str, str], ...]], float]:
    text = metrics.render(snapshot).decode()
    return {
        (sample.name, tuple(sorted(sample.labels.items()))): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def value(found, name: str, **labels: str):
    return found[name, tuple(sorted(labels.items()))]


def test_every_promised_name_is_there_from_the_first_scrape():
    text = Metrics("1", 10).render(Snapshot(worker_restarts=0, soonest_expiry=1.0)).decode()
    named = {line.split()[2] for line in text.splitlines() if line.startswith("# TYPE")}
    assert named >= CONTRACT


def test_what_workers_counted_appears_with_its_labels():
    metrics = Metrics("1", 10)
    flat = {
        "requests_total|2xx|h2": 17.0,
        "connections|idle": 3.0,
        "handshakes_total|ok": 5.0,
        "map_lookups_total|hit": 9.0,
    }
    metrics.report(Report(worker=0, pid=1, counters=flat), 0.0)
    found = samples(metrics)
    assert value(found, "edgeproxy_requests_total", code_class="2xx", protocol="h2") == 17
    assert value(found, "edgeproxy_connections", state="idle") == 3
    assert value(found, "edgeproxy_handshakes_total", result="ok") == 5
    assert value(found, "edgeproxy_map_lookups_total", result="hit") == 9


def test_histograms_are_cumulative_and_end_with_all():
    metrics = Metrics("1", 10)
    flat = {"request_seconds_bucket|0.005": 2.0, "request_seconds_bucket|1": 3.0, "request_seconds_bucket|+Inf": 1.0}
    metrics.report(Report(worker=0, pid=1, counters={**flat, "request_seconds_sum": 80.5}), 0.0)
    found = samples(metrics)
    values = [value(found, "edgeproxy_request_seconds_bucket", le=le) for le in BUCKETS]
    assert values == sorted(values)
    assert value(found, "edgeproxy_request_seconds_bucket", le="0.0025") == 0
    assert value(found, "edgeproxy_request_seconds_bucket", le="0.5") == 2
    assert value(found, "edgeproxy_request_seconds_bucket", le="60") == 5
    assert value(found, "edgeproxy_request_seconds_count") == 6
    assert value(found, "edgeproxy_request_seconds_sum") == 80.5


def test_what_the_control_plane_counts_appears():
    metrics = Metrics("1", 10)
    metrics.acme_order("acme.example", "ok")
    metrics.acme_order("acme.example", "ok")
    metrics.gate("denied")
    metrics.issued(0.2)
    metrics.new_name_limited()
    metrics.unexpected("api")
    found = samples(metrics)
    assert value(found, "edgeproxy_acme_orders_total", ca="acme.example", result="ok") == 2
    assert value(found, "edgeproxy_gate_total", result="denied") == 1
    assert value(found, "edgeproxy_new_names_limited_total") == 1
    assert value(found, "edgeproxy_issuance_seconds_bucket", le="0.25") == 1
    assert value(found, "edgeproxy_issuance_seconds_bucket", le="0.1") == 0
    assert value(found, "edgeproxy_control_errors_total", part="api") == 1


def test_refused_tokens_are_there_by_reason_from_the_first_scrape():
    metrics = Metrics("1", 10)
    metrics.token_refused("expired")
    metrics.token_refused("expired")
    metrics.token_request_limited()
    found = samples(metrics)
    refused = {
        dict(labels)["reason"]: count for (name, labels), count in found.items() if name == "edgeproxy_tokens_refused_total"
    }
    assert refused == {"missing": 0, "unknown": 0, "revoked": 0, "expired": 2}
    assert value(found, "edgeproxy_token_requests_limited_total") == 1
    assert value(found, "edgeproxy_token_guesses_limited_total") == 0
    metrics.token_guess_limited()
    assert value(samples(metrics), "edgeproxy_token_guesses_limited_total") == 1


def test_what_only_others_know_is_given_at_the_scrape():
    snapshot = Snapshot(worker_restarts=4, certificates={"valid": 2}, uploaded={"7_days": 3}, soonest_expiry=86400.0, faults=1)
    found = samples(Metrics("1", 10), snapshot)
    assert value(found, "edgeproxy_worker_restarts_total") == 4
    assert value(found, "edgeproxy_certificates", state="valid") == 2
    assert value(found, "edgeproxy_custom_certificates", left="7_days") == 3
    assert value(found, "edgeproxy_certificate_expiry_seconds") == 86400
    assert value(found, "edgeproxy_control_faults") == 1


def test_who_waits_for_a_certificate_and_what_is_left_of_the_budget_is_given_at_the_scrape():
    left = Left(300, 10_800.0, 180, {"new": 100, "renewal": 20, "retry": 0}, 2)
    queue = QueueState(4, {"new": 7, "renewal": 1, "retry": 0}, left, 1060.0)
    found = samples(Metrics("1", 10), Snapshot(issuance=queue, now=1000.0))
    assert value(found, "edgeproxy_issuance_waiting", kind="new") == 7
    assert value(found, "edgeproxy_issuance_waiting", kind="retry") == 0
    assert value(found, "edgeproxy_issuance_working") == 4
    assert value(found, "edgeproxy_issuance_budget_left") == 180
    assert value(found, "edgeproxy_issuance_budget_spent", kind="renewal") == 20
    assert value(found, "edgeproxy_issuance_domains_full") == 2
    assert value(found, "edgeproxy_issuance_next_turn_seconds") == 60
    unlimited = dataclasses.replace(queue, left=dataclasses.replace(left, limit=0), next_at=math.inf)
    names = {name for name, _ in samples(Metrics("1", 10), Snapshot(issuance=unlimited))}
    assert "edgeproxy_issuance_waiting" in names
    assert not names & {"edgeproxy_issuance_budget_left", "edgeproxy_issuance_next_turn_seconds"}


def test_hostnames_are_shown_only_for_the_busiest():
    metrics = Metrics("1", 2)
    for _ in range(2):
        metrics.report(Report(worker=0, pid=1, counters={}, hosts={"a.test": 5, "b.test": 9, "c.test": 1}), 0.0)
    found = samples(metrics)
    shown = {labels[0][1]: count for (name, labels), count in found.items() if name == "edgeproxy_host_requests_total"}
    assert shown == {"a.test": 10, "b.test": 18}


def test_certificate_authorities_are_bounded():
    metrics = Metrics("1", 2)
    for n in range(CAS + 10):
        metrics.acme_order(f"ca{n}.example", "ok")
    cas = {dict(labels)["ca"] for (name, labels) in samples(metrics) if name == "edgeproxy_acme_orders_total"}
    assert len(cas) == CAS + 1
    assert "other" in cas


def test_questions_to_our_zone_are_counted_by_answer() -> None:
    metrics = Metrics("1", 10)
    for rcode, transport in (("noerror", "udp"), ("noerror", "udp"), ("nxdomain", "tcp"), ("none", "udp")):
        metrics.dns_query(rcode, transport)
    metrics.dns_limited("dropped")
    found = samples(metrics)
    assert value(found, "edgeproxy_dns_queries_total", rcode="noerror", transport="udp") == 2
    assert value(found, "edgeproxy_dns_queries_total", rcode="nxdomain", transport="tcp") == 1
    assert value(found, "edgeproxy_dns_queries_total", rcode="none", transport="udp") == 1
    assert value(found, "edgeproxy_dns_limited_total", action="dropped") == 1


def test_deliveries_of_events_are_counted_by_how_they_ended() -> None:
    known = Snapshot(webhooks={"delivered": 5, "failed": 2}, webhooks_pending=3, events_dropped=1)
    found = samples(Metrics("1", 10), known)
    assert found["edgeproxy_webhook_deliveries_total", (("result", "delivered"),)] == 5
    assert found["edgeproxy_webhook_deliveries_total", (("result", "failed"),)] == 2
    assert found["edgeproxy_webhook_deliveries_pending", ()] == 3
    assert found["edgeproxy_events_dropped_total", ()] == 1
    assert ("edgeproxy_webhook_deliveries_pending", ()) not in samples(Metrics("1", 10))
