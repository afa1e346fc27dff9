"""Who has to agree, and what it comes to."""

import dataclasses

import pytest

from edgeproxy.config.dns import Dns
from edgeproxy.control.dns.lookup import Said
from edgeproxy.control.dns.pointing import Points
from edgeproxy.control.domains.verification.seen import Dnssec, Fetched, FileSaid, Proof, Serving, State
from edgeproxy.control.domains.verification.verdict import moment
from edgeproxy.control.domains.verification.wanted import workspace_label
from edgeproxy.errors import Fault
from tests.control.domains.verification.cases import (
    BROKEN,
    HOST,
    NOON,
    NOTHING,
    OURS,
    PROOF,
    RESOLVER,
    RIGHT,
    SILENT,
    STRANGE,
    TARGET,
    ZONE,
    answer,
    by,
    seen,
    verdict,
    view,
    zone,
)

SYSTEM = Dns()
"""No resolver configured: the system's, and the zone's own servers."""


@pytest.mark.parametrize(
    ("shown", "proof"),
    [
        (RIGHT, Proof.CNAME),
        (view(OURS, chain=["a.example.net", TARGET]), Proof.CNAME),
        (view(OURS, chain=[f"{workspace_label('spandantest')}.{TARGET}"]), Proof.WORKSPACE_CNAME),
        (view(OURS), Proof.ADDRESS),
    ],
)
def test_where_all_agree_a_name_is_verified(shown, proof):
    found = verdict(seen(shown, resolvers=[shown]))
    assert (found.state, found.code, found.points) == (State.VERIFIED, "", Points.HERE)
    assert found.proven == {proof}
    assert found.visible_by is None


def test_an_apex_is_proven_by_its_addresses():
    assert verdict(seen(view(OURS), resolvers=[view(OURS)]), ZONE).proven == {Proof.ADDRESS}


@pytest.mark.parametrize(
    ("authority", "resolvers", "dns", "state", "code"),
    [
        ((RIGHT, RIGHT), (RIGHT, RIGHT), None, State.VERIFIED, ""),
        ((RIGHT, SILENT), (RIGHT,), None, State.VERIFIED, ""),
        ((RIGHT,), (RIGHT, NOTHING), None, State.PENDING, "propagating"),
        ((RIGHT,), (view(STRANGE),), None, State.PENDING, "propagating"),
        ((RIGHT,), (RIGHT, BROKEN), None, State.UNSURE, "dns_error"),
        ((RIGHT,), (SILENT,), None, State.UNSURE, "dns_silent"),
        ((RIGHT, NOTHING), (), None, State.PENDING, "servers_differ"),
        ((SILENT,), (RIGHT,), None, State.VERIFIED, ""),
        ((SILENT,), (RIGHT,), SYSTEM, State.UNSURE, "nameservers_silent"),
        ((RIGHT,), (RIGHT,), SYSTEM, State.VERIFIED, ""),
        ((), (RIGHT, NOTHING), None, State.PENDING, "propagating"),
        ((SILENT,), (NOTHING,), None, State.PENDING, "no_record"),
        ((SILENT,), (SILENT,), None, State.UNSURE, "dns_silent"),
        ((SILENT,), (BROKEN,), None, State.UNSURE, "dns_error"),
        ((BROKEN,), (), None, State.UNSURE, "dns_error"),
        ((RIGHT,), (), None, State.UNSURE, "dns_silent"),
        ((NOTHING,), (), None, State.PENDING, "no_record"),
    ],
)
def test_who_has_to_agree(authority, resolvers, dns, state, code):
    more = {} if dns is None else {"dns": dns}
    found = verdict(seen(*authority, resolvers=resolvers), **more)
    assert (found.state, found.code) == (state, code)
    assert found.detail
    if state is not State.VERIFIED:
        assert not found.proven


def test_where_nobody_says_who_serves_a_zone_the_resolvers_decide():
    assert verdict(seen(resolvers=[RIGHT], zone=None), dns=SYSTEM).state is State.VERIFIED


def test_silence_of_the_name_servers_tells_the_operator_the_way_out():
    found = verdict(seen(SILENT, resolvers=[RIGHT]), dns=SYSTEM)
    assert found.fault is Fault.OPERATOR
    assert "ns1.example.com and ns2.example.com" in found.detail
    assert "dns.resolvers" in found.detail


def test_what_resolvers_remember_is_told_with_the_time_of_its_end():
    old = view(STRANGE, ttl=1800)
    found = verdict(seen(RIGHT, resolvers=[old]))
    assert found.code == "propagating"
    assert found.visible_by == NOON + 1800
    assert "is visible everywhere by 12:30 UTC." in found.detail
    assert f"{RESOLVER} still remembers A {STRANGE}" in found.detail
    txt = seen(view(texts=[PROOF]), resolvers=[view(texts=[], ttl=60)])
    found = verdict(txt, method="dns")
    assert (found.code, found.visible_by) == ("propagating", NOON + 60)
    assert "still remembers that there was none" in found.detail


def test_a_time_of_another_day_has_its_date():
    assert moment(NOON + 13 * 3600, NOON) == "2025-11-22 01:00 UTC"
    assert moment(NOON + 3600, NOON) == "13:00 UTC"


def test_a_proof_by_text_does_not_say_where_the_name_points():
    elsewhere = view(STRANGE, texts=[PROOF])
    found = verdict(seen(elsewhere, resolvers=[elsewhere]), method="dns")
    assert (found.state, found.points, found.proven) == (State.VERIFIED, Points.ELSEWHERE, frozenset({Proof.TXT}))
    both = view(OURS, chain=[TARGET], texts=[PROOF])
    found = verdict(seen(both, resolvers=[both]), method="cname")
    assert found.proven == {Proof.TXT, Proof.CNAME}
    differing = view(OURS, chain=[TARGET], texts=["no"])
    assert verdict(seen(differing, resolvers=[differing])).proven == {Proof.CNAME}


def test_the_workspaces_own_target_is_told_beside_a_text_that_is_missing():
    own = view(OURS, chain=[f"{workspace_label('spandantest')}.{TARGET}"], texts=[])
    found = verdict(seen(own, resolvers=[own]), method="dns")
    assert (found.state, found.code, found.proven) == (State.PENDING, "no_record", frozenset({Proof.WORKSPACE_CNAME}))
    assert [record.type for record in found.records if record.required] == ["TXT"]


def test_a_wildcard_is_not_proven_by_where_it_points():
    pointing = view(OURS, chain=[TARGET], texts=[])
    found = verdict(seen(pointing, resolvers=[pointing]), f"*.{ZONE}")
    assert (found.state, found.code, found.points) == (State.PENDING, "no_record", Points.HERE)
    proven = view(OURS, chain=[TARGET], texts=[PROOF])
    assert verdict(seen(proven, resolvers=[proven]), f"*.{ZONE}").state is State.VERIFIED


@pytest.mark.parametrize(
    ("authority", "resolvers", "state", "code"),
    [
        ([[PROOF], []], [], State.PENDING, "servers_differ"),
        ([[PROOF]], [[PROOF]], State.VERIFIED, ""),
        ([], [[PROOF], []], State.PENDING, "propagating"),
    ],
)
def test_texts_have_to_agree_too(authority, resolvers, state, code):
    found = verdict(
        seen(*(view(texts=each) for each in authority), resolvers=[view(texts=each) for each in resolvers]), method="dns"
    )
    assert (found.state, found.code) == (state, code)


def test_a_text_of_which_nothing_is_known_is_not_yet():
    broken = dataclasses.replace(view(), text=answer("TXT", said=Said.BROKEN, detail="SERVFAIL."))
    found = verdict(seen(broken, resolvers=[broken]), method="dns")
    assert (found.state, found.code) == (State.UNSURE, "dns_error")


def test_the_file_is_proof_where_every_try_finds_it():
    files = (Fetched(FileSaid.FOUND), Fetched(FileSaid.FOUND))
    found = verdict(seen(view(STRANGE), resolvers=[view(STRANGE)], files=files), method="file")
    assert (found.state, found.proven, found.points) == (State.VERIFIED, frozenset({Proof.FILE}), Points.ELSEWHERE)


def test_broken_signatures_are_told_and_not_yet():
    found = verdict(seen(BROKEN, resolvers=[BROKEN], dnssec=Dnssec.BOGUS, zone=zone(serving=Serving.SILENT)))
    assert (found.state, found.code, found.dnssec) == (State.UNSURE, "dnssec_bogus", Dnssec.BOGUS)
    assert "change the DS record" in found.detail
    lagging = verdict(seen(RIGHT, resolvers=[BROKEN], dnssec=Dnssec.BOGUS))
    assert lagging.code == "dnssec_bogus"


def test_our_own_targets_trouble_is_the_operators():
    found = verdict(seen(view(STRANGE), ours=frozenset(), ours_unknown="The DNS is broken for domain.ve.ai: SERVFAIL."))
    assert (found.state, found.fault) == (State.UNSURE, Fault.OPERATOR)
    assert TARGET in found.detail


def test_a_silent_name_points_nobody_knows_where():
    assert verdict(seen(SILENT, resolvers=[SILENT])).points is Points.UNKNOWN
    assert verdict(seen(NOTHING)).points is Points.ELSEWHERE
    assert by(RIGHT, "x").who == "x"
    assert HOST in verdict(seen(RIGHT, resolvers=[RIGHT])).detail
