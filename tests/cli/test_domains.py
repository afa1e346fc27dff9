"""`edgeproxy domains …`"""

import json

from edgeproxy.cli import main

BASE = "/api/v1/infrastructure/domains"
DOMAIN = {
    "domain": "gallery.example.com",
    "workspace_id": "spandantest",
    "state": "verified",
    "origin": "",
    "certificate_id": None,
    "created_at": "2026-11-21T00:00:00Z",
}


def test_add_registers_the_operators_word(cli, edge):
    edge.answers[f"POST {BASE}"] = (201, {"domain_config": DOMAIN, "verification_required": False, "published": True})
    status, out, err = cli("domains", "add", "gallery.example.com", "--workspace", "spandantest")
    assert (status, out) == (main.DONE, "")
    assert err == "gallery.example.com is verified for spandantest.\n"
    assert edge.asked[0][2] == {"domain": "gallery.example.com", "workspace_id": "spandantest", "origin": ""}


def test_add_says_when_the_workers_do_not_have_it_yet(cli, edge):
    edge.answers[f"POST {BASE}"] = (201, {"domain_config": DOMAIN, "published": False})
    _, _, err = cli("domains", "add", "gallery.example.com", "-w", "spandantest", "--origin", "https://o.example")
    assert "will be served in a moment" in err
    assert edge.asked[0][2]["origin"] == "https://o.example"


def test_a_refusal_is_told_and_ends_with_status_one(cli, edge):
    edge.answers[f"POST {BASE}"] = (409, {"status": 409, "detail": "gallery.example.com is registered already."})
    status, out, err = cli("domains", "add", "gallery.example.com", "-w", "x")
    assert (status, out, err) == (main.REFUSED, "", "edgeproxy: gallery.example.com is registered already.\n")


def test_list_shows_a_table_or_json(cli, edge):
    edge.answers[f"GET {BASE}?limit=1000"] = (200, {"domains": [DOMAIN], "next_cursor": None})
    status, out, _ = cli("domains", "list")
    assert status == main.DONE
    assert out.splitlines()[0].split() == ["DOMAIN", "WORKSPACE", "STATE", "ORIGIN", "CERTIFICATE"]
    assert out.splitlines()[1].split() == ["gallery.example.com", "spandantest", "verified", "-", "-"]
    _, out, _ = cli("domains", "list", "--json")
    assert json.loads(out) == {"domains": [DOMAIN]}


def test_list_filters(cli, edge):
    edge.answers[f"GET {BASE}?workspace_id=w&state=active&limit=5"] = (200, {"domains": [], "next_cursor": None})
    assert cli("domains", "list", "-w", "w", "--state", "active", "--limit", "5") == (main.DONE, "", "No domains.\n")


def test_a_state_that_there_is_not_is_a_mistake_of_the_command_line(cli, edge):
    status, out, err = cli("domains", "list", "--state", "happy")
    assert (status, out, edge.asked) == (main.USAGE, "", [])
    assert "'happy' is not one of 'pending_validation', 'verified'" in err


def test_a_listing_that_cannot_begin_prints_nothing(cli, edge):
    status, out, err = cli("domains", "list", "--json")
    assert (status, out, err) == (main.REFUSED, "", "edgeproxy: There is nothing there.\n")


def test_show_and_remove_name_the_domain_in_the_path(cli, edge):
    edge.answers[f"GET {BASE}/%2A.example.com"] = (200, DOMAIN)
    status, out, _ = cli("domains", "show", "*.example.com")
    assert status == main.DONE
    assert "workspace id  spandantest" in out
    edge.answers[f"DELETE {BASE}/gallery.example.com"] = (
        200,
        {"domain_config": {**DOMAIN, "state": "removed"}, "published": True},
    )
    assert cli("domains", "remove", "gallery.example.com") == (main.DONE, "", "gallery.example.com is removed.\n")


def test_no_edge_ends_with_status_three(cli, tmp_path):
    status, out, err = cli("domains", "list", "--socket", str(tmp_path / "no.sock"))
    assert (status, out) == (main.UNANSWERED, "")
    assert "there is no such socket" in err
