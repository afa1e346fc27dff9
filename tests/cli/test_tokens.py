"""`edgeproxy tokens …`"""

import json

import pytest

from edgeproxy.cli import main

BASE = "/api/v1/tokens"
TOKEN = {
    "id": "0123456789abcdef",
    "scope": "tenant",
    "state": "valid",
    "workspace_id": "acme",
    "domain": None,
    "label": "CI",
    "created_at": "2026-11-21T00:00:00Z",
    "created_by": "uid:0",
    "expires_at": None,
    "revoked_at": None,
    "last_used_at": "2026-11-21T12:00:00Z",
}
MADE = TOKEN | {"token": "edgeproxy_0123456789abcdef_secret"}


def test_create_prints_the_token_alone_and_says_that_it_is_shown_once(cli, edge):
    edge.answers[f"POST {BASE}"] = (201, MADE | {"expires_at": "2027-02-19T00:00:00Z"})
    status, out, err = cli("tokens", "create", "--scope", "tenant", "--workspace", "acme", "--label", "CI", "--expires", "90d")
    assert (status, out) == (main.DONE, "edgeproxy_0123456789abcdef_secret\n")
    assert "not shown again" in err
    assert "valid until 2027-02-19T00:00:00Z" in err
    asked = edge.asked[0][2]
    assert asked == {"scope": "tenant", "workspace_id": "acme", "domain": "", "label": "CI", "expires_in": 90 * 86400}


def test_create_without_a_time_makes_one_that_lasts(cli, edge):
    edge.answers[f"POST {BASE}"] = (201, MADE)
    assert "valid until it is revoked" in cli("tokens", "create", "--scope", "platform")[2]
    assert edge.asked[0][2]["expires_in"] is None
    status, out, err = cli("tokens", "create", "--scope", "platform", "--json")
    assert (status, json.loads(out), err) == (main.DONE, MADE, "")


def test_mistakes_on_the_command_line_ask_nobody(cli, edge):
    assert cli("tokens", "create", "--scope", "everything")[0] == main.USAGE
    status, _, err = cli("tokens", "create", "--scope", "platform", "--expires", "soon")
    assert (status, edge.asked) == (main.USAGE, [])
    assert "a duration is a string with a unit" in err


@pytest.mark.parametrize(
    ("options", "told"),
    [
        (("--scope", "tenant"), "--workspace"),
        (("--scope", "domain:read"), "--domain"),
        (("--scope", "platform", "--expires", "1s"), "'1s' is too short; a token is valid for 1m at least"),
    ],
)
def test_what_the_edge_would_refuse_is_told_by_the_name_of_the_option(cli, edge, options, told):
    status, _, err = cli("tokens", "create", *options)
    assert (status, edge.asked) == (main.USAGE, [])
    assert told in err


def test_list_shows_a_table_or_json(cli, edge):
    edge.answers[f"GET {BASE}?limit=1000"] = (200, {"tokens": [TOKEN], "next_cursor": None})
    status, out, _ = cli("tokens", "list")
    assert status == main.DONE
    assert out.splitlines()[1].split() == [
        "0123456789abcdef",
        "tenant",
        "valid",
        "acme",
        "-",
        "CI",
        "-",
        "2026-11-21T12:00:00Z",
        "uid:0",
    ]
    assert json.loads(cli("tokens", "list", "--json")[1]) == {"tokens": [TOKEN]}
    edge.answers[f"GET {BASE}?workspace_id=w&ended=true&limit=1000"] = (200, {"tokens": [], "next_cursor": None})
    assert cli("tokens", "list", "-w", "w", "--ended") == (main.DONE, "", "No tokens.\n")


def test_revoke_says_so(cli, edge):
    edge.answers[f"DELETE {BASE}/0123456789abcdef"] = (200, TOKEN | {"state": "revoked"})
    assert cli("tokens", "revoke", "0123456789abcdef") == (main.DONE, "", "The token 0123456789abcdef is revoked.\n")
    assert json.loads(cli("tokens", "revoke", "0123456789abcdef", "--json")[1])["state"] == "revoked"
    assert cli("tokens", "revoke", "nothing")[0] == main.REFUSED
