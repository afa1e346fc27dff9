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


def test_the_list_tells_those_in_use_from_those_that_another_took_the_place_of(cli, edge):
    superseded = CERTIFICATE | {"id": "c0", "superseded_at": "2026-12-01T00:00:00Z"}
    certificates = [CERTIFICATE | {"superseded_at": None}, superseded, superseded | {"state": "revoked"}]
    edge.answers[f"GET {BASE}?limit=1000"] = (200, {"certificates": certificates, "next_cursor": None})
    _, out, _ = cli("certs", "list")
    assert [line.split()[1] for line in out.splitlines()[1:]] == ["valid", "superseded", "revoked"]


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


HISTORY = [
    {
        "certificate_id": "c0",
        "serial": "abc",
        "directory": "internal",
        "not_after": "2027-02-19T00:00:00Z",
        "added_at": "2026-11-21T00:00:00Z",
        "added_by": "edge",
        "ended_at": "2026-12-21T00:00:00Z",
        "ended_by": "uid:0",
        "ended_why": "revoked: superseded",
    }
]


def test_show_prints_the_history(cli, edge):
    found = {"certificate": CERTIFICATE, "chain": "-----BEGIN\n", "history": HISTORY}
    edge.answers[f"GET {BASE}/gallery.example.com"] = (200, found)
    _, out, _ = cli("certs", "show", "gallery.example.com")
    assert "abc     internal  2026-11-21T00:00:00Z  edge  2026-12-21T00:00:00Z  revoked: superseded (uid:0)" in out


def test_show_prints_the_history_of_a_name_that_is_gone_and_says_so(cli, edge):
    edge.answers[f"GET {BASE}/gallery.example.com"] = (404, {"detail": "It has no certificate.", "code": "not_found"})
    edge.answers[f"GET {BASE}/gallery.example.com/history"] = (200, {"history": HISTORY})
    status, out, err = cli("certs", "show", "gallery.example.com")
    assert (status, err) == (main.REFUSED, "edgeproxy: It has no certificate.\n")
    assert "revoked: superseded" in out
    status, out, _ = cli("certs", "show", "gallery.example.com", "--json")
    assert (status, out) == (main.REFUSED, "")


def test_renew_tells_its_steps_and_its_end(cli, edge):
    done = {"event": "done", "certificate": CERTIFICATE, "expires_at": CERTIFICATE["not_after"]}
    edge.answers[f"POST {BASE}/gallery.example.com/renew"] = (200, lines({"event": "progress", "detail": "order made"}, done))
    status, _, err = cli("certs", "renew", "gallery.example.com")
    assert status == main.DONE
    assert err.endswith("gallery.example.com has a certificate from Edgeproxy demo, until 2027-02-19T00:00:00Z.\n")


RENEWALS = "POST /api/v1/infrastructure/ssl-renewals"


def test_renew_takes_a_file_of_serial_numbers_and_says_which_are_unknown(cli, edge, tmp_path):
    file = tmp_path / "serials.csv"
    file.write_text("# from the CA\n03:A1,a.example.com\n\n3a1\n0x0b2;x\n")
    edge.answers[RENEWALS] = (200, {"renewing": ["3a1"], "unknown": ["b2"]})
    status, _, err = cli("certs", "renew", "--serials", str(file))
    assert status == main.DONE
    assert edge.asked[0][2] == {"serials": ["3a1", "b2"]}
    assert "1 certificate is renewed now, the most visited names first" in err
    assert "1 serial number is of no certificate that the edge obtained and has in use: b2." in err
    _, out, _ = cli("certs", "renew", "--serials", str(file), "--json")
    assert json.loads(out) == {"renewing": ["3a1"], "unknown": ["b2"]}


def test_a_long_list_of_serial_numbers_goes_in_parts(cli, edge, tmp_path):
    file = tmp_path / "serials"
    file.write_text("".join(f"{number:x}\n" for number in range(1, 2_502)))
    edge.answers[RENEWALS] = (200, {"renewing": [], "unknown": [f"{number:x}" for number in range(10)]})
    status, _, err = cli("certs", "renew", "--serials", str(file))
    assert status == main.DONE
    assert [len(body["serials"]) for _, _, body, _ in edge.asked] == [1_000, 1_000, 501]
    assert "30 serial numbers" in err
    assert err.endswith(": 0, 1, 2, 3, 4, ….\n")


def test_a_file_that_holds_something_else_is_refused_with_its_line(cli, edge, tmp_path):
    file = tmp_path / "serials"
    for content, words in (("3a1\nhello\n", "line 2: 'hello' is not a serial number"), ("# none\n", "has no serial number")):
        file.write_text(content)
        status, _, err = cli("certs", "renew", "--serials", str(file))
        assert status == main.REFUSED
        assert words in err
    assert edge.asked == []


def test_renew_wants_a_name_or_a_file_not_both(cli, edge, tmp_path):
    for arguments in ((), ("a.example.com", "--serials", str(tmp_path))):
        status, _, err = cli("certs", "renew", *arguments)
        assert status == main.USAGE
        assert "--serials" in err
    assert edge.asked == []


def test_upload_sends_both_files_and_tells_what_was_repaired(cli, edge, tmp_path):
    chain, key = tmp_path / "chain.pem", tmp_path / "key.pem"
    chain.write_bytes(b"\xef\xbb\xbfBag of J\xc3\xbcrgen\n-----BEGIN CERTIFICATE-----")
    key.write_bytes(b"Bag of J\xfcrgen\n-----BEGIN PRIVATE KEY-----")
    answer = {"certificate": CERTIFICATE, "expires_at": CERTIFICATE["not_after"], "notes": ["the order was repaired"]}
    edge.answers[f"POST {BASE}/gallery.example.com"] = (200, answer)
    status, out, err = cli("certs", "upload", "gallery.example.com", "--chain", str(chain), "--key", str(key))
    assert (status, out) == (main.DONE, "")
    assert edge.asked[0][2] == {
        "type": "custom",
        "auto_renew": True,
        "cert_data": "Bag of Jürgen\n-----BEGIN CERTIFICATE-----",
        "key_data": "Bag of Jürgen\n-----BEGIN PRIVATE KEY-----",
    }
    assert "Of the upload: the order was repaired.\n" in err
    assert "until 2027-02-19T00:00:00Z.\n" in err
    cli("certs", "upload", "gallery.example.com", "--chain", str(chain), "--key", str(key), "--no-auto-renew")
    assert edge.asked[1][2]["auto_renew"] is False


def test_upload_says_how_to_convert_what_is_binary(cli, edge, tmp_path):
    der = tmp_path / "chain.der"
    der.write_bytes(b"\x30\x82\xff\xfe")
    status, _, err = cli("certs", "upload", "gallery.example.com", "--chain", str(der), "--key", str(der))
    assert status == main.REFUSED
    assert f"{der} is not PEM but binary. Convert it: openssl x509 -inform der -in {der} -out chain.pem" in err
    der.write_bytes(b"x" * 70_000)
    _, _, err = cli("certs", "upload", "gallery.example.com", "--chain", str(der), "--key", str(der))
    assert "has more than 65536 bytes" in err
    der.write_bytes(b"\n")
    _, _, err = cli("certs", "upload", "gallery.example.com", "--chain", str(der), "--key", str(der))
    assert f"edgeproxy: {der} is empty: a PEM file with a line of -----BEGIN is needed." in err
    _, _, err = cli("certs", "upload", "gallery.example.com", "--chain", str(tmp_path / "none"), "--key", str(der))
    assert "No such file or directory" in err
    assert edge.asked == []


def test_remove_says_what_it_is_served_under_now(cli, edge):
    edge.answers[f"DELETE {BASE}/gallery.example.com"] = (200, {"certificate": CERTIFICATE})
    _, _, err = cli("certs", "remove", "gallery.example.com")
    assert err.endswith("is destroyed. It is served under the edge's own, until 2027-02-19T00:00:00Z.\n")
    edge.answers[f"DELETE {BASE}/gallery.example.com?force=true"] = (200, {"certificate": None})
    _, _, err = cli("certs", "remove", "gallery.example.com", "--force")
    assert err.endswith("It has no certificate now.\n")


def test_revoke_sends_the_reason_and_tells_what_became_of_it(cli, edge):
    edge.answers[f"POST {BASE}/gallery.example.com/revoke"] = (200, {"detail": "It is revoked."})
    status, _, err = cli("certs", "revoke", "gallery.example.com", "--reason", "keyCompromise", "--id", "c0")
    assert (status, err.splitlines()[-1]) == (main.DONE, "It is revoked.")
    assert edge.asked[0][2] == {"reason": "keyCompromise", "certificate_id": "c0"}
    status, _, err = cli("certs", "revoke", "gallery.example.com", "--reason", "boredom")
    assert status == main.USAGE
    assert err.startswith("edgeproxy: Invalid value for '--reason': 'boredom' is not one of 'unspecified', 'keyCompromise'")


def test_the_accounts_key_is_changed(cli, edge):
    edge.answers["POST /api/v1/infrastructure/ssl-account/rollover"] = (200, {"directory": "https://ca.example/dir"})
    status, _, err = cli("certs", "account", "rollover")
    assert (status, err.splitlines()[-1]) == (main.DONE, "The account at https://ca.example/dir has another key.")
