"""What one view means."""

import dataclasses

import pytest

from edgeproxy.config.platform import Platform
from edgeproxy.control.dns.lookup import Said
from edgeproxy.control.domains.verification.reading import Leads, Text, route, text
from edgeproxy.control.domains.verification.seen import Proof, Seen, View
from edgeproxy.control.domains.verification.wanted import workspace_label
from tests.control.domains.verification.cases import (
    HOST,
    OURS,
    OURS6,
    PROOF,
    STRANGE,
    STRANGE6,
    TARGET,
    answer,
    view,
    wanted,
)

OWN, OTHER = f"{workspace_label('spandantest')}.{TARGET}", f"{workspace_label('mallory')}.{TARGET}"


@pytest.mark.parametrize(
    ("found", "leads", "proof"),
    [
        (view(OURS, chain=[TARGET]), Leads.HERE, Proof.CNAME),
        (view(STRANGE, chain=[TARGET]), Leads.HERE, Proof.CNAME),
        (view(chain=["alias.example.net", TARGET]), Leads.HERE, Proof.CNAME),
        (view(chain=[TARGET], said=Said.BROKEN), Leads.HERE, Proof.CNAME),
        (view(OURS, chain=[OWN]), Leads.HERE, Proof.WORKSPACE_CNAME),
        (view(OURS, chain=[OWN, TARGET]), Leads.HERE, Proof.WORKSPACE_CNAME),
        (view(OURS, chain=[OTHER]), Leads.FOREIGN, None),
        (view(OURS, chain=[OTHER, TARGET]), Leads.FOREIGN, None),
        (view(OURS), Leads.HERE, Proof.ADDRESS),
        (view(OURS, chain=["flat.example.net"]), Leads.HERE, Proof.ADDRESS),
        (view(OURS, STRANGE), Leads.PARTLY, None),
        (view(OURS, ipv6=[STRANGE6]), Leads.PARTLY, None),
        (view(STRANGE), Leads.ELSEWHERE, None),
        (view(STRANGE, chain=[f"not-{TARGET}"]), Leads.ELSEWHERE, None),
        (view(STRANGE, chain=[f"{TARGET}.evil.example"]), Leads.ELSEWHERE, None),
        (view(chain=["gone.example.net"], said=Said.NO_NAME), Leads.ELSEWHERE, None),
        (view(chain=["b.example.com", HOST]), Leads.CIRCLE, None),
        (view(chain=["b.example.com", "c.example.com", "b.example.com"]), Leads.CIRCLE, None),
        (view(chain=[f"{number}.example.com" for number in range(8)]), Leads.CIRCLE, None),
        (view(), Leads.NOWHERE, None),
        (view(said=Said.NO_NAME), Leads.NOWHERE, None),
        (view(said=Said.BROKEN), Leads.UNSURE, None),
        (view(said=Said.SILENT), Leads.UNSURE, None),
        (dataclasses.replace(view(OURS), ipv6=answer("AAAA", said=Said.SILENT)), Leads.UNSURE, None),
        (dataclasses.replace(view(STRANGE), ipv6=answer("AAAA", said=Said.SILENT)), Leads.ELSEWHERE, None),
    ],
)
def test_where_a_name_leads(found, leads, proof):
    read = route(found, wanted(), Seen(ours=frozenset({OURS})))
    assert read is not None
    assert (read.leads, read.by) == (leads, proof)


def test_configured_addresses_are_ours_too():
    own = wanted(platform=Platform(addresses=(OURS, OURS6)))
    read = route(view(OURS, ipv6=[OURS6]), own, Seen())
    assert read is not None
    assert read.leads is Leads.HERE


def test_while_our_own_addresses_are_unknown_nothing_is_strange():
    read = route(view(STRANGE), wanted(), Seen(ours_unknown="SERVFAIL."))
    assert read is not None
    assert read.leads is Leads.UNSURE


def test_what_was_not_asked_says_nothing():
    assert route(View(who="x"), wanted(), Seen()) is None
    assert text(view(), wanted()) is None


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ([PROOF], Text.PROVEN),
        (["v=spf1 -all", PROOF], Text.PROVEN),
        ([f' "{PROOF}" '], Text.PROVEN),
        ([PROOF.upper()], Text.DIFFERS),
        ([f"{PROOF}x"], Text.DIFFERS),
        ([], Text.MISSING),
    ],
)
def test_what_a_text_says(values, said):
    assert text(view(texts=values), wanted()) is said


def test_no_answer_is_no_text_and_no_proof_proves_nothing():
    broken = View(who="x", text=answer("TXT", said=Said.BROKEN))
    assert text(broken, wanted()) is Text.UNSURE
    without = dataclasses.replace(wanted(), proof="")
    assert text(view(texts=[""]), without) is Text.DIFFERS
