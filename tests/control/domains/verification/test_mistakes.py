"""Each mistake by its name, with its sentence: what happened, whose record it is, what to change from what to what."""

import dataclasses

import pytest

from edgeproxy.config.structs import Config
from edgeproxy.control.dns.caa import CaaRecord, CaaSet, rule
from edgeproxy.control.dns.lookup import Said
from edgeproxy.control.domains.verification.seen import Fetched, FileSaid, Proof, Serving, State, Zone
from edgeproxy.control.domains.verification.verdict import judge
from edgeproxy.control.domains.verification.wanted import wanted_of, workspace_label
from edgeproxy.errors import Fault
from tests.control.domains.verification.cases import (
    BROKEN,
    HOST,
    NOON,
    NOTHING,
    OURS,
    OURS6,
    OWN,
    PROOF,
    RIGHT,
    STRANGE,
    STRANGE6,
    TARGET,
    ZONE,
    domain,
    seen,
    verdict,
    view,
    zone,
)

PROXIED = view("104.21.5.6", "172.67.1.2", ipv6=["2606:4700:3030::1"])
CLOUDFLARE = zone("ada.ns.cloudflare.com", "bob.ns.cloudflare.com")


def test_a_proxy_that_hides_the_cname_is_to_be_switched_off():
    found = verdict(seen(PROXIED, zone=CLOUDFLARE))
    assert (found.state, found.code, found.fault) == (State.WRONG, "proxied", Fault.CUSTOMER_DNS)
    assert "Cloudflare stands before gallery.example.com" in found.detail
    assert 'from "Proxied" (orange cloud) to "DNS only" (grey cloud)' in found.detail
    assert found.wanted == f"CNAME {TARGET}"
    assert found.provider == "Cloudflare"


def test_an_edge_that_is_itself_behind_a_proxy_is_no_mistake():
    ours = frozenset({"104.21.5.6", "172.67.1.2", "2606:4700:3030::1"})
    assert verdict(seen(PROXIED, resolvers=[PROXIED], zone=CLOUDFLARE, ours=ours)).state is State.VERIFIED


@pytest.mark.parametrize(
    ("left", "gone"), [(view(OURS, STRANGE), f"A {STRANGE}"), (view(OURS, ipv6=[STRANGE6]), f"AAAA {STRANGE6}")]
)
def test_a_leftover_beside_the_right_record_is_to_be_deleted(left, gone):
    found = verdict(seen(left), ZONE)
    assert (found.state, found.code) == (State.WRONG, "leftover_record")
    assert f"example.com still has {gone}, which leads elsewhere: some visitors are sent there" in found.detail
    assert found.detail.endswith(f"At the DNS provider of example.com, delete the record {gone}.")
    assert found.wanted == f"only A {OURS}"


def test_a_record_with_the_zone_doubled_is_found():
    found = verdict(seen(NOTHING, doubled=RIGHT))
    assert (found.state, found.code) == (State.WRONG, "record_doubled")
    assert "The CNAME record is at gallery.example.com.example.com" in found.detail
    assert "At the DNS provider of example.com, change the record's name from gallery.example.com to gallery." in found.detail
    assert (found.present, found.wanted) == (HOST, "gallery")
    apex = verdict(seen(NOTHING, doubled=view(OURS)), ZONE)
    assert (apex.code, apex.wanted) == ("record_doubled", "@")
    txt = verdict(seen(view(texts=[]), doubled=view(texts=[PROOF])), method="dns")
    assert (txt.code, txt.wanted) == ("record_doubled", "_edgeproxy-verify.gallery")


def test_something_else_at_the_doubled_name_is_nothing():
    assert verdict(seen(NOTHING, doubled=view(STRANGE))).code == "no_record"
    assert verdict(seen(view(texts=[]), doubled=RIGHT), method="dns").code == "no_record"


@pytest.mark.parametrize("shown", [NOTHING, view(STRANGE)])
def test_a_registry_that_sends_elsewhere_is_told(shown):
    differing = zone("ns1.old.example", "ns2.old.example", own=("ns1.new.example", "ns2.new.example"))
    found = verdict(seen(shown, zone=differing))
    assert (found.state, found.code) == (State.WRONG, "nameservers_differ")
    assert "sends all questions for example.com to ns1.old.example and ns2.old.example" in found.detail
    assert "change its name servers from ns1.old.example and ns2.old.example to ns1.new.example" in found.detail
    assert verdict(seen(RIGHT, resolvers=[RIGHT], zone=differing)).state is State.VERIFIED
    overlapping = zone("ns1.old.example", "ns2.old.example", own=("ns1.old.example", "ns3.old.example"))
    assert verdict(seen(NOTHING, zone=overlapping)).code == "no_record"


@pytest.mark.parametrize(
    ("serving", "why"), [(Serving.REFUSES, "they do not serve it"), (Serving.NOWHERE, "they do not exist")]
)
def test_a_zone_that_nobody_serves_is_told(serving, why):
    found = verdict(seen(BROKEN, resolvers=[BROKEN], zone=zone(serving=serving)))
    assert (found.state, found.code) == (State.WRONG, "zone_not_served")
    assert why in found.detail
    assert (
        "At the registrar of example.com, where it was bought, change its name servers from ns1.example.com and ns2.example.com"
        in found.detail
    )


@pytest.mark.parametrize("serving", [Serving.SILENT, Serving.UNASKED])
def test_servers_that_are_silent_are_not_yet_and_never_no(serving):
    found = verdict(seen(BROKEN, resolvers=[BROKEN], zone=zone(serving=serving)))
    assert found.state is State.UNSURE


def test_resolvers_that_do_find_the_zone_are_believed():
    found = verdict(seen(BROKEN, resolvers=[NOTHING], zone=zone(serving=Serving.REFUSES)))
    assert found.code == "no_record"


def test_a_domain_that_does_not_exist_is_waited_for():
    found = verdict(seen(zone=Zone(name=ZONE, exists=False)))
    assert (found.state, found.code) == (State.PENDING, "domain_missing")
    assert "The domain example.com does not exist" in found.detail


def test_caa_that_forbids_is_told_once_all_else_is_right():
    ruling = rule(CaaSet(ZONE, (CaaRecord(0, "issue", "strange.example"),)), HOST, ["ca.example"], ["http-01"])
    found = verdict(seen(RIGHT, resolvers=[RIGHT], caa=ruling, caa_records=('example.com CAA 0 issue "strange.example"',)))
    assert (found.state, found.code) == (State.WRONG, "caa_forbids")
    assert 'Add the record example.com CAA 0 issue "ca.example"' in found.detail
    assert (found.what, found.wanted) == (
        "the CAA records of example.com",
        'CAA 0 issue "ca.example" beside them, or no CAA record',
    )
    assert found.proven == {Proof.CNAME}
    assert found.caa_records == ('example.com CAA 0 issue "strange.example"',)
    assert verdict(seen(view(STRANGE), caa=ruling)).code == "address_differs"
    allowed = rule(CaaSet(ZONE, ()), HOST, ["ca.example"], ["http-01"])
    assert verdict(seen(RIGHT, resolvers=[RIGHT], caa=allowed)).state is State.VERIFIED


def test_a_cname_to_something_else_is_told_from_what_to_what():
    found = verdict(seen(view(STRANGE, chain=["other.example.net"])))
    assert (found.state, found.code) == (State.WRONG, "cname_differs")
    assert f"change its record from CNAME other.example.net to CNAME {TARGET}." in found.detail
    assert found.present == f"CNAME other.example.net, A {STRANGE}"
    gone = verdict(seen(view(chain=["gone.example.net"], said=Said.NO_NAME)))
    assert "CNAME gone.example.net, which does not exist" in gone.detail


def test_an_address_of_somebody_else_is_told_from_what_to_what():
    found = verdict(seen(view(STRANGE), zone=zone("ns01.domaincontrol.com")))
    assert (found.state, found.code) == (State.WRONG, "address_differs")
    assert found.detail == (
        f"{HOST} has A {STRANGE}, which leads elsewhere. At GoDaddy, delete A {STRANGE}, and add a record of type CNAME with "
        f"the value {TARGET}. Name: gallery, without the domain."
    )
    apex = verdict(seen(view(STRANGE)), ZONE)
    assert f"change its record from A {STRANGE} to A {OURS}. As its name: @, or leave it empty." in apex.detail


def test_cnames_in_a_circle_end():
    found = verdict(seen(view(chain=["b.example.com", HOST])))
    assert (found.state, found.code) == (State.WRONG, "cname_loop")
    assert f"{HOST} → b.example.com → {HOST}" in found.detail


def test_another_workspaces_target_is_nobodys_proof():
    other = f"{workspace_label('mallory')}.{TARGET}"
    shown = view(OURS, chain=[other, TARGET])
    found = verdict(seen(shown, resolvers=[shown]))
    assert (found.state, found.code, found.proven) == (State.WRONG, "cname_of_another", frozenset())
    assert "which belongs to another workspace of this platform" in found.detail


def test_no_record_yet_says_what_to_add_and_where_it_is_typed():
    found = verdict(seen(NOTHING, zone=CLOUDFLARE))
    assert (found.state, found.code) == (State.PENDING, "no_record")
    assert (
        f"At Cloudflare, add a record of type CNAME with the value {TARGET}. Name: gallery, without the domain." in found.detail
    )
    nobody = verdict(seen(NOTHING, ours=frozenset({OURS, OURS6})), ZONE)
    assert nobody.detail == (
        "example.com has no record yet. At the DNS provider of example.com, add a record of type A with the value "
        f"{OURS} and one of type AAAA with the value {OURS6}. As its name: @, or leave it empty."
    )
    txt = verdict(seen(view(texts=[])), method="dns")
    assert (txt.state, txt.code) == (State.PENDING, "no_record")
    assert (
        f"add a record of type TXT with the value {PROOF}. As its name: _edgeproxy-verify.gallery, without the domain."
        in txt.detail
    )


def test_a_text_with_something_else_is_told():
    found = verdict(seen(view(texts=["something \x1b else"])), method="dns")
    assert (found.state, found.code) == (State.WRONG, "txt_differs")
    assert f'is "something · else". At the DNS provider of example.com, change it to "{PROOF}"' in found.detail


@pytest.mark.parametrize(
    ("said", "state", "code"),
    [
        (FileSaid.MISSING, State.PENDING, "file_missing"),
        (FileSaid.DIFFERS, State.WRONG, "file_differs"),
        (FileSaid.REFUSED, State.WRONG, "file_refused"),
        (FileSaid.FAILED, State.UNSURE, "file_unreachable"),
    ],
)
def test_a_file_that_is_not_there_is_told(said, state, code):
    files = (Fetched(FileSaid.FOUND), Fetched(said, "It was not so."))
    found = verdict(seen(view(STRANGE), resolvers=[view(STRANGE)], files=files), method="file")
    assert (found.state, found.code) == (state, code)
    assert found.detail.startswith("It was not so. Put a file at /.well-known/edgeproxy-verify/")


def test_a_name_without_address_has_no_file():
    found = verdict(seen(NOTHING), method="file")
    assert (found.state, found.code) == (State.PENDING, "no_record")
    assert "has no address yet" in found.detail
    assert verdict(seen(BROKEN, resolvers=[BROKEN]), method="file").state is State.UNSURE


def test_an_edge_that_has_no_target_is_the_operators():
    nothing = judge(wanted_of(domain(), Config()), dataclasses.replace(seen(RIGHT, resolvers=[RIGHT]), ours=frozenset()), NOON)
    assert (nothing.state, nothing.code, nothing.fault) == (State.UNSURE, "target_not_configured", Fault.OPERATOR)
    assert "platform.cname_target" in nothing.detail


@pytest.mark.parametrize(
    ("target", "record", "value"),
    [
        (TARGET, TARGET, "A or AAAA with the addresses of this edge"),
        (OWN, f"*.{TARGET}", f"CNAME {TARGET}"),
    ],
)
def test_a_target_without_an_address_is_the_operators(target, record, value):
    nowhere = view(chain=[target], said=Said.NO_NAME)
    found = verdict(seen(view(chain=[target]), resolvers=[nowhere]))
    assert (found.state, found.code, found.fault) == (State.UNSURE, "target_nowhere", Fault.OPERATOR)
    assert f"it leads to {target}. But that name has no address" in found.detail
    assert f"has to set the record {record} {value}; nothing has to be changed for {HOST}." in found.detail
    doubtful = view(chain=[target], said=Said.BROKEN)
    assert verdict(seen(view(chain=[target]), resolvers=[doubtful])).code != "target_nowhere"
