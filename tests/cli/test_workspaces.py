"""`edgeproxy workspaces …`"""

import json

import pytest

from edgeproxy.cli import main

BASE = "/api/v1/infrastructure/workspaces"
PAYS = {
    "workspace_id": "acme",
    "paid": True,
    "max_domains": 50,
    "domains": 2,
    "source": "api",
    "trouble": None,
    "checked_at": "2026-11-21T00:00:00Z",
    "unpaid_since": None,
    "suspended_from": None,
}
OWES = PAYS | {"paid": False, "unpaid_since": "2026-11-21T00:00:00Z", "suspended_from": "2026-11-28T00:00:00Z"}


def test_list_shows_a_table_or_json(cli, edge):
    edge.answers[f"GET {BASE}?limit=1000"] = (200, {"workspaces": [PAYS, OWES | {"domains": 0}], "next_cursor": None})
    status, out, err = cli("workspaces", "list")
    assert (status, err) == (main.DONE, "")
    assert [line.split() for line in out.splitlines()[1:]] == [
        ["acme", "yes", "2", "50", "api", "-", "-"],
        ["acme", "no", "0", "50", "api", "2026-11-21T00:00:00Z", "2026-11-28T00:00:00Z"],
    ]
    assert json.loads(cli("workspaces", "list", "--json")[1]) == {"workspaces": [PAYS, OWES | {"domains": 0}]}
    edge.answers[f"GET {BASE}?limit=5"] = (200, {"workspaces": [], "next_cursor": None})
    assert cli("workspaces", "list", "--limit", "5") == (main.DONE, "", "No workspaces.\n")


def test_show_says_who_says_so(cli, edge):
    edge.answers[f"GET {BASE}/acme"] = (200, OWES | {"source": "platform", "trouble": "The platform is away."})
    out = cli("workspaces", "show", "acme")[1]
    assert "paid            no\n" in out
    assert "source          the platform (entitlement.url)\n" in out
    assert "trouble         The platform is away.\n" in out
    edge.answers[f"GET {BASE}/acme"] = (200, PAYS)
    assert json.loads(cli("workspaces", "show", "acme", "--json")[1]) == PAYS


def test_set_says_what_follows(cli, edge):
    edge.answers[f"PUT {BASE}/acme"] = [(200, PAYS), (200, OWES), (200, OWES | {"domains": 0}), (200, PAYS)]
    said = cli("workspaces", "set", "acme", "--paid", "--max-domains", "50")
    assert said == (main.DONE, "", "acme may have up to 50 domains; it has 2.\n")
    said = cli("workspaces", "set", "acme", "--unpaid")[2]
    assert said == "acme may register no more domains; it has 2, and what it has is suspended from 2026-11-28T00:00:00Z on.\n"
    assert cli("workspaces", "set", "acme", "--unpaid")[2] == "acme may register no more domains; it has 0.\n"
    assert json.loads(cli("workspaces", "set", "acme", "--paid", "--json")[1]) == PAYS
    assert [body for _, _, body, _ in edge.asked[:2]] == [
        {"paid": True, "max_domains": 50},
        {"paid": False, "max_domains": None},
    ]


def test_unset_says_what_counts_now(cli, edge):
    edge.answers[f"DELETE {BASE}/acme"] = (200, PAYS | {"source": "default", "max_domains": 1000})
    assert cli("workspaces", "unset", "acme") == (main.DONE, "", "acme may have up to 1000 domains; it has 2.\n")
    assert cli("workspaces", "unset", "other")[0] == main.REFUSED


@pytest.mark.parametrize("wrong", [("acme",), ("--paid",), ("acme", "--paid", "--max-domains", "-1")])
def test_mistakes_on_the_command_line_ask_nobody(cli, edge, wrong):
    assert cli("workspaces", "set", *wrong)[0] == main.USAGE
    assert edge.asked == []
