"""`edgeproxy domains …`"""

import json

import pytest

from edgeproxy.cli import events, main

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


def test_add_tells_what_speaks_against_the_name(cli, edge):
    edge.answers[f"POST {BASE}"] = (201, {"domain_config": DOMAIN, "published": True, "warnings": ["No certificate for it."]})
    assert cli("domains", "add", "gallery.example.com", "-w", "x")[2].splitlines()[1:] == ["Beware: No certificate for it."]


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


def test_add_takes_what_may_be_changed_later_too(cli, edge):
    edge.answers[f"POST {BASE}"] = (201, {"domain_config": DOMAIN, "published": True})
    options = ("--redirect-to", "www.example.com", "--include-www", "--metadata", "plan=gold", "--metadata", "note=a=b")
    assert cli("domains", "add", "gallery.example.com", "-w", "w", *options)[0] == main.DONE
    sent = edge.asked[0][2]
    assert (sent["redirect_to"], sent["include_www"]) == ("www.example.com", True)
    assert sent["metadata"] == {"plan": "gold", "note": "a=b"}


@pytest.mark.parametrize(
    ("options", "sent", "config", "said"),
    [
        (["--maintenance"], {"maintenance": True}, {"maintenance": True}, "is in maintenance: visitors are told"),
        (["--no-maintenance"], {"maintenance": False}, {"origin": "http://o"}, "goes to http://o."),
        (["--redirect-to", "b.test"], {"redirect_to": "b.test"}, {"redirect_to": "b.test"}, "redirects to b.test."),
        (["--no-redirect"], {"redirect_to": ""}, {}, "goes to the platform’s origin."),
        (["--origin", "", "--metadata", "a=b"], {"origin": "", "metadata": {"a": "b"}}, {}, "goes to the platform’s origin."),
    ],
)
def test_set_changes_only_what_is_said(cli, edge, options, sent, config, said):
    answer = {"domain_config": {**DOMAIN, **config}, "published": True}
    edge.answers[f"PATCH {BASE}/gallery.example.com"] = (200, answer)
    status, out, err = cli("domains", "set", "gallery.example.com", *options)
    assert (status, out, edge.asked[0][2]) == (main.DONE, "", sent)
    assert err.startswith("gallery.example.com ")
    assert said in err
    assert json.loads(cli("domains", "set", "gallery.example.com", *options, "--json")[1]) == answer


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ([], "nothing is to be changed"),
        (["--redirect-to", "b.test", "--no-redirect"], "make no sense"),
        (["--metadata", "gold"], "'gold' is not KEY=VALUE"),
        (["--metadata", "=gold"], "'=gold' is not KEY=VALUE"),
    ],
)
def test_set_says_what_it_does_not_understand(cli, edge, options, said):
    status, out, err = cli("domains", "set", "gallery.example.com", *options)
    assert (status, out, edge.asked) == (main.USAGE, "", [])
    assert said in err


QUEUED = "queued, position about 12, expected at about 2026-11-21 17:20 UTC"
AT_ONCE = "at once by `edgeproxy certs issue gallery.example.com`"
FAILED = {
    "code": "issuance_failed",
    "detail": "The CA could not connect to gallery.example.com on port 443: its DNS does not point at this edge.",
    "fault": "customer_dns",
    "retryable": True,
    "failed_at": "2026-11-21T15:04:00Z",
    "times": 3,
    "next_try_at": "2026-11-21T15:20:00Z",
}


@pytest.mark.parametrize(
    ("changes", "lines"),
    [
        (
            {"error": FAILED},
            [
                f"no certificate  {FAILED['detail']}",
                "whose fault     the domain owner's: `edgeproxy doctor gallery.example.com` says which record to change",
                "last try        2026-11-21T15:04:00Z, the 3rd time in a row",
                f"next try        with the next visitor, not before 2026-11-21T15:20:00Z, or {AT_ONCE}",
            ],
        ),
        (
            {"error": FAILED | {"times": 1, "fault": "ca"}, "certificate_id": "c1"},
            [
                f"not renewed     {FAILED['detail']}",
                "whose fault     the CA's; there is nothing to do but to wait, unless it says so",
                "last try        2026-11-21T15:04:00Z",
                f"next try        by itself, not before 2026-11-21T15:20:00Z, or {AT_ONCE}",
            ],
        ),
        (
            {"error": FAILED | {"next_try_at": None, "fault": "operator", "times": 12}},
            [
                "whose fault     the operator's: a setting of this edge",
                "last try        2026-11-21T15:04:00Z, the 12th time in a row",
                f"next try        {AT_ONCE}",
            ],
        ),
        (
            {},
            [f"certificate   none yet; with the first visitor, or {AT_ONCE}"],
        ),
        ({"queued": QUEUED}, [f"certificate   none yet; {QUEUED}"]),
        ({"queued": QUEUED, "error": FAILED}, [f"next try        {QUEUED}"]),
        ({"queued": QUEUED, "certificate_id": "c1"}, [f"renewal         {QUEUED}"]),
        (
            {"state": "pending_validation", "error": FAILED},
            ["certificate   none; the domain is not served before it is verified"],
        ),
    ],
    ids=["failed", "not renewed", "by hand", "none yet", "queued", "queued again", "renewal queued", "pending"],
)
def test_show_tells_how_it_stands_with_the_certificate(cli, edge, changes, lines):
    edge.answers[f"GET {BASE}/gallery.example.com"] = (200, DOMAIN | {"error": None} | changes)
    status, out, _ = cli("domains", "show", "gallery.example.com")
    assert status == main.DONE
    shown = out.splitlines()
    assert shown[-len(lines) :] == lines
    assert "error " not in out


def test_the_command_that_show_names_can_be_copied_into_a_shell(cli, edge):
    edge.answers[f"GET {BASE}/%2A.example.com"] = (200, DOMAIN | {"domain": "*.example.com", "error": None})
    _, out, _ = cli("domains", "show", "*.example.com")
    assert "at once by `edgeproxy certs issue '*.example.com'`" in out
    edge.answers[f"GET {BASE}/%2A.example.com"] = (200, DOMAIN | {"domain": "*.example.com", "error": FAILED})
    _, out, _ = cli("domains", "show", "*.example.com")
    assert "`edgeproxy doctor '*.example.com'` says which" in out


def test_show_has_nothing_to_add_where_the_certificate_is_there(cli, edge):
    edge.answers[f"GET {BASE}/gallery.example.com"] = (200, DOMAIN | {"error": None, "certificate_id": "c1"})
    _, out, _ = cli("domains", "show", "gallery.example.com")
    assert [line.split("  ")[0] for line in out.splitlines()] == [
        "domain", "workspace id", "state", "certificate id", "created at"
    ]  # fmt: skip


def test_no_edge_ends_with_status_three(cli, tmp_path):
    status, out, err = cli("domains", "list", "--socket", str(tmp_path / "no.sock"))
    assert (status, out) == (main.UNANSWERED, "")
    assert "there is no such socket" in err


PENDING = DOMAIN | {
    "state": "pending_validation",
    "error": {"code": "no_record", "detail": "There is no record.", "fault": "customer_dns"},
    "dns_records": [
        {"required": True, "purpose": "routing", "reason": "There is no record.", "zone_line": "a.test. 300 IN CNAME b.test."}
    ],
}
ACTIVE: dict[str, object] = DOMAIN | {"state": "active", "error": None, "dns_records": []}


def test_add_with_verify_sends_it_through_verification(cli, edge):
    edge.answers[f"POST {BASE}"] = (201, {"domain_config": PENDING, "published": True})
    assert cli("domains", "add", "gallery.example.com", "-w", "w", "--verify")[0] == main.DONE
    assert edge.asked[0][2]["verify"] is True


def test_verify_says_what_is_missing_and_its_status_tells_scripts(cli, edge):
    path = f"POST {BASE}/gallery.example.com/verify"
    edge.answers[path] = (200, {"verified": False, "domain_config": PENDING, "dns_records": PENDING["dns_records"]})
    status, out, err = cli("domains", "verify", "gallery.example.com", "--method", "dns")
    assert status == main.REFUSED
    assert "a.test. 300 IN CNAME b.test." in out
    assert err == "gallery.example.com is pending_validation: There is no record.\n"
    assert edge.asked[0][2] == {"method": "dns"}
    edge.answers[path] = (200, {"verified": True, "domain_config": ACTIVE, "dns_records": []})
    assert cli("domains", "verify", "gallery.example.com") == (main.DONE, "", "gallery.example.com is active\n")
    status, out, _ = cli("domains", "verify", "gallery.example.com", "--json")
    assert (status, json.loads(out)["verified"]) == (main.DONE, True)


def test_verify_takes_the_code_of_a_mail(cli, edge):
    path = f"POST {BASE}/gallery.example.com/verify"
    edge.answers[f"{path}/code"] = (200, {"verified": True, "state": "awaiting_cutover"})
    edge.answers[path] = (200, {"verified": True, "domain_config": ACTIVE, "dns_records": []})
    assert cli("domains", "verify", "gallery.example.com", "--code", "1234 5678")[0] == main.DONE
    assert edge.asked[0][2] == {"code": "1234 5678"}
    edge.answers[f"{path}/code"] = (422, {"detail": "This is not the code of the last mail.", "code": "wrong_code"})
    status, _, err = cli("domains", "verify", "gallery.example.com", "--code", "1")
    assert (status, "not the code" in err) == (main.REFUSED, True)


def test_watch_ends_with_the_active_domain_or_with_its_time(cli, edge):
    edge.answers[f"POST {BASE}/gallery.example.com/verify"] = (200, {})
    edge.answers[f"GET {BASE}/gallery.example.com"] = (200, ACTIVE)
    assert cli("domains", "watch", "gallery.example.com") == (main.DONE, "", "gallery.example.com is active\n")
    status, out, err = cli("domains", "watch", "gallery.example.com", "--json")
    assert (status, json.loads(out), out.count("\n"), err) == (main.DONE, ACTIVE, 1, "")
    edge.answers[f"GET {BASE}/gallery.example.com"] = (200, PENDING)
    status, _, err = cli("domains", "watch", "gallery.example.com", "--for", "1")
    assert (status, err) == (main.REFUSED, "gallery.example.com is pending_validation: There is no record.\n")


def test_watch_goes_on_when_the_edge_is_back(cli, edge, monkeypatch):
    monkeypatch.setattr(events, "RETRY_SECONDS", (0.01, 0.01))
    edge.answers[f"POST {BASE}/gallery.example.com/verify"] = (200, {})
    edge.answers[f"GET {BASE}/gallery.example.com"] = [None, None, (200, ACTIVE), None, None, None]
    assert cli("domains", "watch", "gallery.example.com") == (main.DONE, "", "gallery.example.com is active\n")
    assert cli("domains", "watch", "gallery.example.com")[0] == main.UNANSWERED


@pytest.mark.parametrize("state", ["verified", "suspended", "parked"])
def test_watch_does_not_wait_for_what_comes_never(cli, edge, state):
    edge.answers[f"POST {BASE}/gallery.example.com/verify"] = (200, {})
    edge.answers[f"GET {BASE}/gallery.example.com"] = (200, ACTIVE | {"state": state})
    status, _, err = cli("domains", "watch", "gallery.example.com")
    assert err == f"gallery.example.com is {state}\n"
    assert status == (main.DONE if state == "verified" else main.REFUSED)


def test_restore_brings_a_removed_domain_back(cli, edge):
    edge.answers[f"POST {BASE}/gallery.example.com/restore"] = (200, {"domain_config": DOMAIN, "published": True})
    assert cli("domains", "restore", "gallery.example.com") == (
        main.DONE,
        "",
        "gallery.example.com is back for spandantest: verified.\n",
    )


@pytest.mark.parametrize(("state", "label"), [("pending_validation", "not live"), ("attention", "wrong   ")])
def test_show_tells_what_a_look_found_and_when_the_next_one_is(cli, edge, state, label):
    error = {
        "code": "wrong_target",
        "detail": "It leads elsewhere.",
        "fault": "customer_dns",
        "failed_at": "2026-11-21T15:04:00Z",
        "times": 57,
        "next_try_at": "2026-11-21T15:09:00Z",
    }
    edge.answers[f"GET {BASE}/gallery.example.com"] = (200, DOMAIN | {"state": state, "error": error, "dns_records": []})
    _, out, _ = cli("domains", "show", "gallery.example.com")
    assert f"{label}      It leads elsewhere." in out
    assert (
        "next look     by itself at 2026-11-21T15:09:00Z, or at once by `edgeproxy domains verify gallery.example.com`" in out
    )
    assert "57" not in out


def test_of_a_pair_it_is_told_what_went_and_came_with_a_name(cli, edge):
    config = DOMAIN | {"domain": "example.com"}
    both = {"domain_config": config, "published": True, "also": ["www.example.com"]}
    edge.answers[f"DELETE {BASE}/example.com"] = (200, both)
    assert cli("domains", "remove", "example.com")[2] == "example.com and www.example.com are removed.\n"
    edge.answers[f"POST {BASE}/example.com/restore"] = (200, both)
    said = "example.com and www.example.com are back for spandantest: verified.\n"
    assert cli("domains", "restore", "example.com")[2] == said
