"""`edgeproxy events …`"""

import json
from datetime import UTC, datetime, timedelta

from edgeproxy.cli import events, main

BASE = "/api/v1/infrastructure/events"
REPLAY = "POST /api/v1/infrastructure/webhooks/ep_1/replay"


def event(one, **more):
    found = {
        "id": one,
        "type": "domain.active",
        "timestamp": "2026-11-21T00:00:00.000Z",
        "domain": "a.example",
        "workspace_id": "w",
        "data": {},
    }
    return found | more


def test_tail_shows_the_newest_a_line_for_each(cli, edge):
    failed = event("msg_2", type="certificate.failed", workspace_id=None, data={"error": "The CA said\x1b no."})
    edge.answers[f"GET {BASE}?last=10"] = (200, {"events": [event("msg_1"), failed], "next_cursor": "c"})
    status, out, err = cli("events", "tail", "--no-follow")
    assert (status, err) == (main.DONE, "")
    assert out.splitlines() == [
        "2026-11-21T00:00:00.000Z  domain.active  a.example  w",
        "2026-11-21T00:00:00.000Z  certificate.failed  a.example  The CA said· no.",
    ]


def test_tail_waits_for_what_comes_until_the_edge_ends(cli, edge):
    edge.answers[f"GET {BASE}?last=0&domain=a.example"] = (200, {"events": [], "next_cursor": "c1"})
    one = {"events": [event("msg_1")], "next_cursor": "c2"}
    edge.answers[f"GET {BASE}?cursor=c1&domain=a.example&wait=25"] = (200, one)
    edge.answers[f"GET {BASE}?cursor=c2&domain=a.example&wait=25"] = (503, {"detail": "The edge ends."})
    status, out, err = cli("events", "tail", "--last", "0", "--domain", "a.example", "--json")
    assert (status, err) == (main.REFUSED, "edgeproxy: The edge ends.\n")
    assert [json.loads(line) for line in out.splitlines()] == [event("msg_1")]


def test_tail_goes_on_when_the_edge_is_back(cli, edge, monkeypatch):
    monkeypatch.setattr(events, "RETRY_SECONDS", (0.01, 0.01))
    edge.answers[f"GET {BASE}?last=10"] = (200, {"events": [], "next_cursor": "c1"})
    one = {"events": [event("msg_1")], "next_cursor": "c2"}
    edge.answers[f"GET {BASE}?cursor=c1&wait=25"] = [None, (200, one)]
    edge.answers[f"GET {BASE}?cursor=c2&wait=25"] = [None, None, None]
    status, out, err = cli("events", "tail")
    assert (status, len(out.splitlines())) == (main.UNANSWERED, 1)
    assert "closed the connection without an answer" in err


def test_an_error_of_a_domain_is_told_in_its_words(cli, edge):
    attention = event("msg_1", type="domain.attention", data={"error": {"code": "x", "detail": "It points elsewhere."}})
    edge.answers[f"GET {BASE}?last=10"] = (200, {"events": [attention], "next_cursor": "c"})
    assert cli("events", "tail", "--no-follow")[1].endswith("w  It points elsewhere.\n")


def test_replay_takes_a_time_or_how_long_ago(cli, edge):
    edge.answers[REPLAY] = (202, {"events": 2})
    status, _, err = cli("events", "replay", "ep_1", "--since", "2026-11-21T00:00:00Z", "-e", "domain.*", "--failed")
    assert status == main.DONE
    assert err.startswith("2 events are delivered once more.")
    body = {"since": "2026-11-21T00:00:00Z", "until": None, "events": ["domain.*"], "failed": True}
    assert edge.asked[0][2] == body
    edge.answers[REPLAY] = (202, {"events": 0})
    assert "There is no such event." in cli("events", "replay", "ep_1", "--since", "2h", "--until", "1h")[2]
    since = datetime.fromisoformat(edge.asked[1][2]["since"])
    assert timedelta(0) <= datetime.now(UTC) - timedelta(hours=2) - since < timedelta(minutes=5)
    assert edge.asked[1][2]["until"] is not None
    assert json.loads(cli("events", "replay", "ep_1", "--since", "2h", "--json")[1]) == {"events": 0}
