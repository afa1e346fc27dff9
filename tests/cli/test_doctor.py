"""`edgeproxy doctor`"""

import json

from edgeproxy.cli import main

PATH = "GET /api/v1/infrastructure/doctor/shop.example.com"
CHANGE = {
    "who": "customer_dns",
    "what": "the DNS records of shop.example.com",
    "present": "A 192.0.2.9",
    "wanted": "CNAME domain.edge.test",
    "why": "That is not this edge.",
}
FINDING = {"about": "dns", "level": "wrong", "text": "The system's resolver sees shop.example.com as A 192.0.2.9."}


def test_a_name_that_is_well_ends_with_status_zero(cli, edge):
    finding = {"about": "dns", "level": "ok", "text": "It points here."}
    edge.answers[PATH] = (200, {"domain": "shop.example.com", "well": True, "changes": [], "findings": [finding]})
    status, out, _ = cli("doctor", "shop.example.com")
    assert status == main.DONE
    assert out == "shop.example.com: all is well.\n\nWhat was looked at:\n- Good: It points here.\n"


def test_what_could_not_be_looked_at_is_not_called_well(cli, edge):
    finding = {"about": "dns", "level": "unknown", "text": "No resolver answers."}
    edge.answers[PATH] = (200, {"domain": "shop.example.com", "well": True, "changes": [], "findings": [finding]})
    status, out, _ = cli("doctor", "shop.example.com")
    assert status == main.DONE
    assert out.startswith("shop.example.com: nothing wrong was found, but not everything could be looked at.\n")


def test_what_is_to_be_changed_is_told_in_sentences_with_status_one(cli, edge):
    edge.answers[PATH] = (200, {"domain": "shop.example.com", "well": False, "changes": [CHANGE], "findings": [FINDING]})
    status, out, _ = cli("doctor", "shop.example.com")
    assert status == main.REFUSED
    assert out == (
        "shop.example.com: one thing has to be changed.\n\n"
        "1. Change the DNS records of shop.example.com, in the customer's DNS.\n"
        "   It is now: A 192.0.2.9\n   It must be: CNAME domain.edge.test\n   Why: That is not this edge.\n\n"
        "What was looked at:\n- Wrong: The system's resolver sees shop.example.com as A 192.0.2.9.\n"
    )


def test_json_has_the_same_status(cli, edge):
    answer = {"domain": "shop.example.com", "well": False, "changes": [CHANGE], "findings": []}
    edge.answers[PATH] = (200, answer)
    status, out, _ = cli("doctor", "shop.example.com", "--json")
    assert (status, json.loads(out)) == (main.REFUSED, answer)


def test_resolvers_are_asked_only_where_they_are_named(cli, edge):
    answer = {"domain": "shop.example.com", "well": False, "changes": [], "findings": []}
    edge.answers[f"{PATH}?resolvers=192.0.2.53%2C192.0.2.54%3A5353&public=true"] = (200, answer)
    status, out, _ = cli("doctor", "shop.example.com", "--resolver", "192.0.2.53", "--resolver", "192.0.2.54:5353", "--public")
    assert status == main.REFUSED
    assert out.startswith("shop.example.com: something is wrong.")
