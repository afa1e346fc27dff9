"""`edgeproxy certs …`"""

import json

from edgeproxy.cli import main

BASE = "/api/v1/infrastructure/ssl"
CERTIFICATE = {
    "id": "c1",
    "names": ["gallery.example.com"],
    "issuer": "Edgeproxy demo",
    "not_before": "2026-11-21T00:00:00Z",
    "not_after": "2027-02-19T00:00:00Z",
    "state": "valid",
}


def lines(*steps):
    return b"".join(json.dumps(step).encode() + b"\n" for step in steps)


def test_list_shows_a_table_or_json(cli, edge):
    edge.answers[f"GET {BASE}?limit=1000"] = (200, {"certificates": [CERTIFICATE], "next_cursor": None})
    status, out, _ = cli("certs", "list")
    assert status == main.DONE
    assert out.splitlines()[1].split("  ")[0] == "gallery.example.com"
    _, out, _ = cli("certs", "list", "--json")
    assert json.loads(out)["certificates"] == [CERTIFICATE]


def test_show_prints_the_chain_too(cli, edge):
    edge.answers[f"GET {BASE}/gallery.example.com"] = (200, {"certificate": CERTIFICATE, "chain": "-----BEGIN\n"})
    status, out, _ = cli("certs", "show", "gallery.example.com")
    assert status == main.DONE
    assert "issuer      Edgeproxy demo" in out
    assert out.endswith("\n-----BEGIN\n")


def test_issue_tells_its_steps_and_its_end(cli, edge):
    done = {"event": "done", "certificate": CERTIFICATE, "expires_at": CERTIFICATE["not_after"]}
    edge.answers[f"POST {BASE}/gallery.example.com"] = (200, lines({"event": "progress", "detail": "order made"}, done))
    status, out, err = cli("certs", "issue", "gallery.example.com")
    assert (status, out) == (main.DONE, "")
    assert "A certificate for gallery.example.com: order made …\n" in err
    assert err.endswith("gallery.example.com has a certificate from Edgeproxy demo, until 2027-02-19T00:00:00Z.\n")
    assert edge.asked[0][2:] == ({"type": "lets_encrypt"}, "application/x-ndjson, application/json")


def test_a_failed_issuance_ends_with_its_reason_and_status_one(cli, edge):
    problem = {"status": 502, "detail": "The CA could not reach gallery.example.com.", "code": "issuance_failed", "fault": "ca"}
    edge.answers[f"POST {BASE}/gallery.example.com"] = (200, lines({"event": "failed", "problem": problem}))
    status, _, err = cli("certs", "issue", "gallery.example.com")
    assert status == main.REFUSED
    assert err.endswith("edgeproxy: The CA could not reach gallery.example.com.\n")


def test_an_issuance_that_is_cut_off_is_told(cli, edge):
    edge.answers[f"POST {BASE}/gallery.example.com"] = (200, lines({"event": "progress", "detail": "order made"}))
    status, _, err = cli("certs", "issue", "gallery.example.com")
    assert status == main.REFUSED
    assert "did not say what became of the certificate" in err
