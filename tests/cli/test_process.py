"""`status`, `reload` and `stop`."""

import json
import re
import socket
import subprocess
import sys

import pytest

from edgeproxy.cli import client, main
from edgeproxy.errors import AdminUnavailable

STATUS = {
    "version": "0.1.0",
    "ready": True,
    "started_at": "2026-11-21T00:00:00Z",
    "uptime_seconds": 7200.0,
    "controller": {"pid": 11, "started_at": "2026-11-21T00:00:01Z"},
    "supervisor": {"pid": 10},
    "workers": [{"index": 0, "pid": 12, "generation": 3, "state": "serving", "connections": 4, "last_report_seconds": 0.2}],
    "domains": {"active": 2},
    "certificates": {},
    "issuance": {"pending": 1},
    "map": {"change": 7, "head": 7, "behind": 0},
    "faults": [],
}


def test_status_is_readable(cli, edge):
    edge.answers["GET /api/v1/admin/status"] = (200, STATUS)
    status, out, err = cli("status")
    assert (status, err) == (main.DONE, "")
    assert "0.1.0, serving" in out
    assert "(2 h)" in out
    assert "active 2" in out
    assert "change 7" in out
    assert out.splitlines()[-1].split() == ["0", "12", "serving", "4", "0.2"]


def test_status_tells_faults(cli, edge):
    fault = {"part": "store", "detail": "The disk is full.", "since": "2026-11-21T00:00:00Z"}
    edge.answers["GET /api/v1/admin/status"] = (
        200,
        {**STATUS, "map": None, "supervisor": {}, "workers": [], "faults": [fault]},
    )
    status, out, err = cli("status")
    assert status == main.DONE
    assert "does not answer" in out
    assert "Fault in store, since 2026-11-21T00:00:00Z: The disk is full." in err


def test_status_tells_what_was_refused_and_by_which_bound(cli, edge):
    edge.answers["GET /api/v1/admin/status"] = (200, {**STATUS, "refused": {"rates.per_network": 5, "limits.request_body": 2}})
    lines = [" ".join(line.split()) for line in cli("status")[1].splitlines()]
    assert "refused rates.per_network 5, limits.request_body 2" in lines
    edge.answers["GET /api/v1/admin/status"] = (200, STATUS)
    assert "refused nothing" in [" ".join(line.split()) for line in cli("status")[1].splitlines()]


def test_status_tells_how_names_are_served(cli, edge):
    bad = {"hostname": "a.test", "grade": "expired", "detail": "The certificate of a.test has expired.", "seen_at": "2026"}
    served = {"grades": {"good": 7, "expired": 1}, "worst": [bad]}
    edge.answers["GET /api/v1/admin/status"] = (200, {**STATUS, "served": served})
    _, out, err = cli("status")
    assert "good 7, expired 1" in out
    assert "Not served well: The certificate of a.test has expired." in err


def test_status_tells_who_waits_for_a_certificate_and_what_is_left_of_the_budget(cli, edge):
    budget = {
        "limit": 300,
        "window_seconds": 10800.0,
        "left": 180,
        "spent": {"new": 100, "renewal": 20, "retry": 0},
        "domains_full": 1,
    }
    issuance = {"pending": 9, "working": 2, "waiting": {"new": 6, "renewal": 1, "retry": 0}, "budget": budget}
    edge.answers["GET /api/v1/admin/status"] = (200, STATUS | {"issuance": issuance | {"next_turn_at": "2026-11-21T00:01:00Z"}})
    _, out, _ = cli("status")
    assert re.search(r"being obtained +2\n", out)
    assert re.search(r"waiting +new 6, renewal 1; the next at 2026-11-21T00:01:00Z\n", out)
    spent = "180 of the 300 orders per 3 h left, spent on new 100, renewal 20; 1 registered domain at the limit of certificates"
    assert re.search(rf"budget +{spent}\n", out)
    edge.answers["GET /api/v1/admin/status"] = (200, STATUS | {"issuance": None})
    _, out, _ = cli("status")
    assert re.search(r"waiting +none\n", out)
    assert "orders per" not in out


def test_status_tells_of_a_ca_that_is_left_alone(cli, edge):
    away = {"ca": "one.example", "state": "open", "error": "It cannot be reached.", "since": "2026-11-21T00:01:00Z"}
    authorities = [
        away | {"next_trial_at": "2026-11-21T00:02:00Z"},
        {"ca": "two.example", "state": "closed"},
        away | {"ca": "three.example", "state": "half_open", "next_trial_at": None},
    ]
    edge.answers["GET /api/v1/admin/status"] = (200, STATUS | {"issuance": {"authorities": authorities}})
    _, _, told = cli("status")
    alone = "is left alone since 2026-11-21T00:01:00Z;"
    assert f"The CA one.example {alone} it is tried again at 2026-11-21T00:02:00Z: It cannot be reached." in told
    assert f"The CA three.example {alone} the next order tries it: It cannot be reached." in told
    assert "two.example" not in told


def test_status_as_json_is_what_the_edge_said(cli, edge):
    edge.answers["GET /api/v1/admin/status"] = (200, STATUS)
    _, out, _ = cli("status", "--json")
    assert json.loads(out) == STATUS


def test_reload_says_what_came_of_it(cli, edge):
    edge.answers["POST /api/v1/admin/reload"] = (200, {"detail": "The new configuration is in force: generation 2."})
    status, _, err = cli("reload")
    assert status == main.DONE
    assert err.endswith("The new configuration is in force: generation 2.\n")


def test_an_invalid_configuration_is_status_two(cli, edge):
    detail = "/etc/edge.toml:2: listen.htps: there is no such key"
    problem = {"status": 422, "code": "reload_refused", "cause": "invalid_configuration", "detail": detail}
    edge.answers["POST /api/v1/admin/reload"] = (422, problem)
    status, _, err = cli("reload")
    assert status == main.USAGE
    assert "listen.htps" in err


@pytest.mark.parametrize("cause", ["address_in_use", "restart_needed", "cannot_start", "busy", None])
def test_a_reload_refused_for_anything_else_is_status_one_as_a_start_would_be(cli, edge, cause):
    problem = {"status": 422, "code": "reload_refused", "cause": cause, "detail": "Port 443 is in use."}
    edge.answers["POST /api/v1/admin/reload"] = (422, problem)
    status, _, err = cli("reload")
    assert status == main.REFUSED
    assert err.endswith("edgeproxy: Port 443 is in use.\n")


def test_stop_waits_until_the_supervisor_has_ended(cli, edge):
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as supervisor:
        edge.answers["GET /api/v1/admin/status"] = (200, {**STATUS, "supervisor": {"pid": supervisor.pid}})
        edge.answers["POST /api/v1/admin/stop"] = (202, {"detail": "draining"})
        assert supervisor.stdin is not None
        supervisor.stdin.close()
        status, _, err = cli("stop")
        assert status == main.DONE
        assert err.endswith("The edge has ended.\n")
        assert supervisor.wait() != 0


def test_stop_without_a_process_to_be_seen_waits_until_nobody_answers(cli, edge, monkeypatch):
    edge.answers["GET /api/v1/admin/status"] = (200, {**STATUS, "supervisor": {}})
    edge.answers["POST /api/v1/admin/stop"] = (202, {"detail": "draining"})
    asked = []

    def gone(client, path, **_):
        asked.append(path)
        if path == "/api/v1/admin/status":
            return STATUS | {"supervisor": {}}
        raise AdminUnavailable("gone")

    monkeypatch.setattr("edgeproxy.cli.client.AdminClient.get", gone)
    status, _, err = cli("stop")
    assert status == main.DONE
    assert asked == ["/api/v1/admin/status", "/healthz"]
    assert "has ended" in err


def test_stop_need_not_wait(cli, edge):
    edge.answers["GET /api/v1/admin/status"] = (200, {**STATUS, "supervisor": {}})
    edge.answers["POST /api/v1/admin/stop"] = (202, {"detail": "draining"})
    status, _, err = cli("stop", "--no-wait")
    assert status == main.DONE
    assert "has ended" not in err


def test_status_tells_of_uploaded_certificates_that_end(cli, edge):
    ending = [
        {"hostname": "a.example", "not_after": "2026-12-01T00:00:00Z", "days_left": 10.5, "auto_renew": True},
        {"hostname": "b.example", "not_after": "2026-11-01T00:00:00Z", "days_left": -2.0, "auto_renew": False},
        {"hostname": "c.example", "not_after": "2026-11-22T00:00:00Z", "days_left": 1.0, "auto_renew": False},
    ]
    edge.answers["GET /api/v1/admin/status"] = (200, {"uploads_ending": ending})
    _, _, err = cli("status")
    first = "The certificate uploaded for a.example ends in 10.5 days (2026-12-01T00:00:00Z); then the edge obtains its own."
    assert first in err
    assert "uploaded for b.example has ended (2026-11-01T00:00:00Z); nothing takes its place: upload another." in err
    assert "uploaded for c.example ends in 1 day (2026-11-22T00:00:00Z)" in err


def test_stop_says_how_to_end_an_edge_that_does_not_answer(cli, monkeypatch, tmp_path):
    monkeypatch.setattr(client, "SECONDS", 0.05)
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(tmp_path / "silent.sock"))
        listener.listen()
        status, out, err = cli("stop", "--socket", str(tmp_path / "silent.sock"))
    assert (status, out) == (main.UNANSWERED, "")
    assert "visitors are served meanwhile" in err
    assert "send SIGTERM" in err
    assert "SIGTERM" not in cli("stop", "--socket", str(tmp_path / "none.sock"))[2]
