"""`edgeproxy webhooks …`"""

import json

import pytest

from edgeproxy.cli import main

BASE = "/api/v1/infrastructure/webhooks"
HOOK = {
    "id": "ep_1",
    "url": "https://a.example/hooks",
    "events": ["domain.*"],
    "label": "platform",
    "source": "api",
    "enabled": True,
    "disabled_why": None,
    "failing_since": None,
    "pending": 3,
    "created_at": "2026-11-21T00:00:00Z",
    "created_by": "uid:0",
}
DELIVERY = {
    "event_id": "msg_1",
    "type": "domain.active",
    "domain": "a.example",
    "happened_at": "2026-11-21T00:00:00Z",
    "state": "pending",
    "tries": 2,
    "tried_at": "2026-11-21T00:00:05Z",
    "delivered_at": None,
    "next_try_at": "2026-11-21T00:05:00Z",
    "status": 500,
    "error": "It answered 500.",
}


def test_add_prints_the_secret_alone(cli, edge):
    edge.answers[f"POST {BASE}"] = (201, {"webhook": HOOK, "secret": "whsec_made"})
    status, out, err = cli("webhooks", "add", "https://a.example/hooks", "-e", "domain.*", "--label", "platform")
    assert (status, out) == (main.DONE, "whsec_made\n")
    assert "It is not shown again" in err
    assert "ep_1 gets domain.* from now on. `edgeproxy webhooks test ep_1` tries it." in err
    assert edge.asked[0][2] == {"url": "https://a.example/hooks", "events": ["domain.*"], "label": "platform", "secret": ""}


def test_add_takes_a_secret_from_a_file(cli, edge, tmp_path):
    file = tmp_path / "secret"
    file.write_text("whsec_mine\n")
    edge.answers[f"POST {BASE}"] = (201, {"webhook": HOOK, "secret": "whsec_mine"})
    cli("webhooks", "add", "https://a.example/hooks", "--secret-file", str(file))
    assert edge.asked[0][2]["secret"] == "whsec_mine"


@pytest.mark.parametrize("content", [b"", b"\xff\xfe", b"x" * 2000])
def test_a_file_without_a_secret_is_told(cli, edge, tmp_path, content):
    file = tmp_path / "secret"
    file.write_bytes(content)
    status, _, err = cli("webhooks", "add", "https://a.example/hooks", "--secret-file", str(file))
    assert (status, edge.asked) == (main.REFUSED, [])
    assert "holds no secret" in err


def test_list_shows_how_each_is(cli, edge):
    failing = HOOK | {"id": "ep_2", "failing_since": "2026-11-21T00:00:00Z", "events": []}
    disabled = HOOK | {"id": "ep_3", "enabled": False}
    edge.answers[f"GET {BASE}"] = (200, {"webhooks": [HOOK, failing, disabled]})
    status, out, _ = cli("webhooks", "list")
    assert status == main.DONE
    lines = out.splitlines()
    assert lines[0].split() == ["ID", "STATE", "WAITING", "EVENTS", "LABEL", "URL"]
    assert lines[1].split()[:4] == ["ep_1", "well", "3", "domain.*"]
    assert "failing since 2026-11-21T00:00:00Z" in lines[2]
    assert "all events" in lines[2]
    assert lines[3].split()[1] == "disabled"
    assert json.loads(cli("webhooks", "list", "--json")[1])["webhooks"][0] == HOOK


def test_none_is_said(cli, edge):
    edge.answers[f"GET {BASE}"] = (200, {"webhooks": []})
    assert cli("webhooks", "list") == (main.DONE, "", "No endpoints: nobody is told of events.\n")


def test_show_has_its_fields(cli, edge):
    edge.answers[f"GET {BASE}/ep_1"] = (200, HOOK)
    assert "https://a.example/hooks" in cli("webhooks", "show", "ep_1")[1]
    assert json.loads(cli("webhooks", "show", "ep_1", "--json")[1]) == HOOK


def test_change_sends_what_is_given_alone(cli, edge):
    edge.answers[f"PATCH {BASE}/ep_1"] = (200, {"webhook": HOOK, "secret": None})
    status, out, err = cli("webhooks", "change", "ep_1", "--url", "https://b.example/")
    assert (status, out, err) == (main.DONE, "", "ep_1 is changed.\n")
    edge.answers[f"PATCH {BASE}/ep_1"] = (200, {"webhook": HOOK, "secret": "whsec_new"})
    assert cli("webhooks", "change", "ep_1", "--new-secret")[1] == "whsec_new\n"
    assert [each[2] for each in edge.asked] == [{"url": "https://b.example/"}, {"secret": ""}]


def test_change_without_a_change_is_a_mistake(cli, edge):
    status, _, err = cli("webhooks", "change", "ep_1")
    assert (status, edge.asked) == (main.USAGE, [])
    assert "Say what is to be changed" in err


def test_enable_and_disable(cli, edge):
    edge.answers[f"PATCH {BASE}/ep_1"] = (200, {"webhook": HOOK, "secret": None})
    assert "edgeproxy events replay ep_1" in cli("webhooks", "enable", "ep_1")[2]
    assert cli("webhooks", "disable", "ep_1")[0] == main.DONE
    assert [each[2] for each in edge.asked] == [{"enabled": True}, {"enabled": False}]


def test_remove_says_which(cli, edge):
    edge.answers[f"DELETE {BASE}/ep_1"] = (200, {"webhook": HOOK})
    assert cli("webhooks", "remove", "ep_1") == (main.DONE, "", "https://a.example/hooks is removed.\n")


def test_a_test_that_is_not_delivered_ends_with_status_one(cli, edge):
    answer = {"delivered": True, "event_id": "msg_1", "status": 204, "error": None, "seconds": 0.12}
    edge.answers[f"POST {BASE}/ep_1/test"] = (200, answer)
    assert cli("webhooks", "test", "ep_1") == (main.DONE, "", "Delivered: it answered 204 after 0.1 s.\n")
    failed = answer | {"delivered": False, "status": 500, "error": "It answered 500."}
    edge.answers[f"POST {BASE}/ep_1/test"] = (200, failed)
    assert cli("webhooks", "test", "ep_1") == (main.REFUSED, "", "Not delivered: It answered 500.\n")
    assert cli("webhooks", "test", "ep_1", "--json")[0] == main.REFUSED


def test_deliveries_are_listed_by_state(cli, edge):
    edge.answers[f"GET {BASE}/ep_1/deliveries?limit=50"] = (200, {"deliveries": [DELIVERY], "next_cursor": None})
    out = cli("webhooks", "deliveries", "ep_1")[1]
    assert "msg_1" in out
    assert "It answered 500." in out
    edge.answers[f"GET {BASE}/ep_1/deliveries?state=failed&limit=50"] = (200, {"deliveries": [], "next_cursor": None})
    assert cli("webhooks", "deliveries", "ep_1", "--failed") == (main.DONE, "", "No deliveries.\n")
    assert cli("webhooks", "deliveries", "ep_1", "--failed", "--pending")[0] == main.USAGE


def test_redeliver_names_the_event(cli, edge):
    edge.answers[f"POST {BASE}/ep_1/deliveries/msg_1/redeliver"] = (202, DELIVERY)
    assert "msg_1 is delivered once more" in cli("webhooks", "redeliver", "ep_1", "msg_1")[2]
