"""From facts to what has to be changed, case by case."""

import dataclasses

import msgspec
import pytest

from edgeproxy.control.dns.caa import CaaRecord, CaaSet, rule
from edgeproxy.control.dns.lookup import Answer, Said
from edgeproxy.control.doctor.diagnosis import diagnose
from edgeproxy.control.doctor.report import Caa, Delegation, Facts, Level, OwnTarget, Port, Standing, View
from edgeproxy.control.domains.records import record
from edgeproxy.control.domains.verification.seen import Dnssec, State, Verdict
from edgeproxy.control.issuance.queue import Turn
from edgeproxy.control.probe.grading import Grade, Graded
from edgeproxy.errors import Fault

HOST, TARGET = "shop.example.com", "domain.edge.test"


def answer(kind, *records, chain=(), said=None, detail=""):
    said = said or (Said.RECORDS if records else Said.NO_DATA)
    return Answer(name=HOST, kind=kind, said=said, records=records, chain=tuple(chain), detail=detail)


def view(*ipv4, ipv6=(), chain=(), said=None, detail="", who="the system's resolver", decides=True, target=("192.0.2.1",)):
    return View(
        who=who,
        ipv4=answer("A", *ipv4, chain=chain, said=said, detail=detail),
        ipv6=answer("AAAA", *ipv6, chain=chain, said=said, detail=detail),
        target=(answer("A", *target), answer("AAAA")),
        decides=decides,
    )


GOOD = view("192.0.2.1", chain=[TARGET])


def facts(*views, **changes):
    made = Facts(
        hostname=HOST,
        cname_target=TARGET,
        addresses=frozenset(),
        apex=False,
        views=views or (GOOD,),
        caa=Caa(directory="internal"),
        ports=(Port(address="192.0.2.1", port=443),),
        served=Graded(grade=Grade.GOOD, detail="It is good.", issuer="Test CA"),
        standing=Standing(admitted=True, reason=f"{HOST} is registered.", has_certificate=True),
        now=1000.0,
    )
    return dataclasses.replace(made, **changes)


def only_change(report):
    (change,) = report.changes
    assert not report.well
    return change


def test_a_name_that_is_all_right_needs_nothing():
    report = diagnose(facts())
    assert report.well
    assert {finding.level for finding in report.findings} == {Level.OK}
    assert any("as it must be" in finding.text for finding in report.findings)


@pytest.mark.parametrize(
    ("seen", "present", "wanted"),
    [
        (view(said=Said.NO_NAME), "there is no such name", f"CNAME {TARGET}"),
        (view(), "no address", f"CNAME {TARGET}"),
        (view("192.0.2.9"), "A 192.0.2.9", f"CNAME {TARGET}"),
        (view("192.0.2.9", chain=["other.test"]), "CNAME other.test, A 192.0.2.9", f"CNAME {TARGET}"),
        (view(chain=["gone.test"], said=Said.NO_NAME), "CNAME gone.test", f"CNAME {TARGET}"),
        (view("192.0.2.1", ipv6=["2001:db8::9"]), "A 192.0.2.1, AAAA 2001:db8::9", "only A 192.0.2.1"),
        (view("192.0.2.1", "192.0.2.9"), "A 192.0.2.1, A 192.0.2.9", "only A 192.0.2.1"),
    ],
)
def test_a_record_that_does_not_lead_here_is_told_with_what_it_must_be(seen, present, wanted):
    change = only_change(diagnose(facts(seen)))
    assert change.who is Fault.CUSTOMER_DNS
    assert change.what == f"the DNS records of {HOST}"
    assert (change.present, change.wanted) == (present, wanted)
    assert change.why


def test_an_address_record_with_our_address_is_as_good_as_the_cname():
    assert diagnose(facts(view("192.0.2.1"))).well
    assert diagnose(facts(view("192.0.2.7", target=()), cname_target="", addresses=frozenset({"192.0.2.7"}))).well


def test_at_the_top_of_a_zone_addresses_are_wanted():
    seen = view("192.0.2.9")
    assert only_change(diagnose(facts(seen, apex=True))).wanted == "A 192.0.2.1"
    known = facts(seen, apex=True, addresses=frozenset({"192.0.2.1", "2001:db8::1"}))
    assert only_change(diagnose(known)).wanted == "A 192.0.2.1, AAAA 2001:db8::1"
    assert "ALIAS or ANAME" in only_change(diagnose(facts(view("192.0.2.9", target=()), apex=True))).wanted


def test_a_proxy_before_the_edge_is_guessed_by_what_answers_there():
    assert "proxy or CDN" in only_change(diagnose(facts(view("192.0.2.9")))).why
    assert "proxy or CDN" not in only_change(diagnose(facts(view("192.0.2.9"), served=None))).why


def test_a_broken_zone_is_the_customers_and_silence_is_nobodys():
    broken = view(said=Said.BROKEN, detail="SERVFAIL.")
    change = only_change(diagnose(facts(broken)))
    assert change.what == f"the name servers of {HOST}"
    assert "DNSSEC" in change.why
    silent = diagnose(facts(view(said=Said.SILENT, detail="No answer.")))
    assert silent.changes == ()
    assert Level.UNKNOWN in {finding.level for finding in silent.findings}


def test_a_target_without_address_is_the_operators():
    change = only_change(diagnose(facts(view(chain=[TARGET], said=Said.NO_NAME, target=()))))
    assert (change.who, change.what) == (Fault.OPERATOR, f"the DNS records of {TARGET}")


def test_what_the_system_sees_beside_configured_resolvers_is_only_told():
    other = view("10.0.0.1", decides=False)
    report = diagnose(facts(dataclasses.replace(GOOD, who="the configured resolver (192.0.2.53:53)"), other))
    assert report.well
    assert Level.NOTE in {finding.level for finding in report.findings}
    assert not diagnose(facts(GOOD, view("192.0.2.9", who="the resolver 192.0.2.54:53"))).well


def test_the_same_record_seen_by_several_is_one_change():
    report = diagnose(facts(view("192.0.2.9"), view("192.0.2.9", who="the resolver 192.0.2.54:53")))
    assert len(report.changes) == 1


def test_without_the_platforms_names_nothing_can_be_said():
    report = diagnose(facts(view("192.0.2.9", target=()), cname_target=""))
    assert report.changes == ()
    assert any("set platform.cname_target" in finding.text for finding in report.findings)


def test_a_caa_record_that_forbids_is_to_be_joined_by_another():
    found = CaaSet("example.com", (CaaRecord(0, "issue", "strange.example"),))
    caa = Caa(directory="x", identity="ca.example", ruling=rule(found, HOST, ["ca.example"], ["http-01"]))
    change = only_change(diagnose(facts(caa=caa)))
    assert change.what == "the CAA records of example.com"
    assert change.present == 'CAA 0 issue "strange.example"'
    assert change.wanted == 'CAA 0 issue "ca.example" beside them, or no CAA record'
    critical = CaaSet("example.com", (CaaRecord(128, "tbs", "x"),))
    caa = Caa(directory="x", identity="ca.example", ruling=rule(critical, HOST, ["ca.example"], ["http-01"]))
    assert only_change(diagnose(facts(caa=caa))).wanted == "without that record"
    allowed = Caa(directory="x", identity="ca.example", ruling=rule(CaaSet("", ()), HOST, ["ca.example"], ["http-01"]))
    assert diagnose(facts(caa=allowed)).well
    assert diagnose(facts(caa=Caa(directory="x", trouble="No answer."))).well


def test_a_closed_port_counts_where_the_name_points_here():
    ports = (Port(address="192.0.2.1", port=443, error="connection refused"),)
    change = only_change(diagnose(facts(ports=ports, served=None)))
    assert (change.who, change.what, change.present) == (Fault.OPERATOR, "port 443 of 192.0.2.1", "connection refused")
    assert len(diagnose(facts(view("192.0.2.9"), ports=ports, served=None)).changes) == 1


def test_what_is_served_is_graded_and_a_missing_certificate_is_no_fault_yet():
    bad = Graded(grade=Grade.EXPIRED, detail="It has expired.")
    assert not diagnose(facts(served=bad)).well
    none = Graded(grade=Grade.UNREACHABLE, detail="There is no handshake.")
    new = Standing(admitted=True, reason="It is registered.")
    assert diagnose(facts(served=none, standing=new)).well
    assert not diagnose(facts(served=none)).well


def test_a_name_that_is_not_admitted_is_told_with_its_cure():
    standing = Standing(admitted=False, reason=f"{HOST} is not registered here.", cure="Register it.")
    change = only_change(diagnose(facts(standing=standing)))
    assert change.who is Fault.OPERATOR
    assert change.why.endswith("Register it.")


def test_a_name_that_is_not_proven_yet_asks_for_its_record_and_for_nothing_of_the_operator():
    standing = Standing(admitted=False, unproven=True, reason=f"{HOST} is not verified yet.", cure="Look again.")
    change = only_change(diagnose(facts(view(), standing=standing)))
    assert (change.who, change.wanted) == (Fault.CUSTOMER_DNS, f"CNAME {TARGET}")
    change = only_change(diagnose(facts(standing=standing)))
    assert change.who is Fault.OPERATOR, "its record is right, and somebody has to look"
    report = diagnose(facts(view(), standing=dataclasses.replace(standing, unproven=False)))
    assert [change.who for change in report.changes] == [Fault.OPERATOR, Fault.CUSTOMER_DNS]


def test_a_resolver_that_does_not_decide_is_not_said_to_be_all_that_visitors_ask():
    report = diagnose(facts(GOOD, view(who="another resolver", decides=False)))
    assert report.well
    [note] = [found.text for found in report.findings if found.level is Level.NOTE]
    assert note == f"Another resolver knows no address of {HOST}. Whoever asks that one does not find it."


def test_the_last_error_is_told_and_counts_while_there_is_no_certificate():
    failed = Standing(admitted=True, reason="It is registered.", error="The CA says no.", error_at=900.0, next_try=1100.0)
    report = diagnose(facts(standing=failed))
    assert not report.well
    again = "1970-01-01 00:15 UTC: The CA says no. It is tried again with the next visitor, not before 1970-01-01 00:18 UTC."
    assert again in report.findings[-1].text
    renewing = diagnose(facts(standing=dataclasses.replace(failed, has_certificate=True)))
    assert renewing.well
    assert "The CA says no. It is tried again by itself at 1970-01-01 00:18 UTC." in renewing.findings[-1].text


def test_a_name_that_nobody_finds_is_not_well_whatever_else_is_unknown():
    nowhere, elsewhere = view(target=()), view(target=(), who="the resolver 192.0.2.53:53", decides=False)
    report = diagnose(facts(nowhere, elsewhere, cname_target="", served=None, ports=()))
    assert (report.well, report.changes) == (False, ())
    wrong, note = (finding for finding in report.findings if finding.about == "dns")
    assert (wrong.level, note.level) == (Level.WRONG, Level.NOTE)
    assert "knows no address of shop.example.com. Visitors do not find it, and no CA can check it." in wrong.text
    assert "set platform.cname_target" in wrong.text


def test_a_machine_without_a_resolver_blames_no_customer():
    none = dataclasses.replace(answer("A", said=Said.BROKEN, detail="This machine has no DNS resolver."), fault=Fault.OPERATOR)
    report = diagnose(facts(dataclasses.replace(view(), ipv4=none, ipv6=none), served=None, ports=()))
    assert report.changes == ()
    assert [finding.level for finding in report.findings if finding.about == "dns"] == [Level.UNKNOWN]


def test_names_under_localhost_need_no_dns():
    demo = diagnose(facts(hostname="shop.localhost", views=()))
    assert demo.well
    assert "shop.localhost is this machine" in next(each.text for each in demo.findings if each.about == "dns")


def test_a_certificate_that_cannot_be_obtained_as_the_edge_is_set_up_is_the_operators():
    reason = "A CA issues *.example.com by DNS-01 only, which is not set up."
    without = Standing(admitted=True, reason="It is a workspace.", unissuable=reason, error="DNS-01 is missing.")
    unreachable = Graded(grade=Grade.UNREACHABLE, detail="There is no TLS handshake.")
    report = diagnose(facts(standing=without, served=unreachable))
    change = only_change(report)
    assert (change.who, change.why) == (Fault.OPERATOR, reason)
    texts = [finding.text for finding in report.findings if finding.about in {"issuance", "certificate"}]
    assert texts == [reason, f"{HOST} has no certificate yet."]
    assert diagnose(facts(standing=dataclasses.replace(without, has_certificate=True))).well


def test_a_revoked_certificate_and_an_order_that_waits_are_told():
    turn = Turn(kind="new", position=3, expected=1_900_000_000.0, reason="the CA's limit for its name is reached")
    waiting = Standing(admitted=True, reason="It is registered.", has_certificate=True, turn=turn)
    report = diagnose(facts(standing=waiting))
    assert report.well
    (note,) = (finding for finding in report.findings if finding.about == "issuance")
    assert note.text.endswith(
        "position about 3, expected at about 2030-03-17 17:46 UTC, because the CA's limit for its name is reached."
    )
    assert not diagnose(facts(standing=dataclasses.replace(waiting, has_certificate=False))).well
    revoked = diagnose(facts(standing=dataclasses.replace(waiting, revoked=True, turn=None)))
    assert not revoked.well
    assert any("is revoked, and is served until another can be obtained" in finding.text for finding in revoked.findings)


def test_a_ca_that_cannot_be_asked_is_wrong_only_where_a_certificate_is_to_come_from_it():
    silent = Caa(directory="https://ca.test/dir", trouble="The CA could not be asked.", usable=False)
    assert diagnose(facts(caa=silent)).well
    waiting = Standing(admitted=True, reason="It is registered.")
    unreachable = Graded(grade=Grade.UNREACHABLE, detail="There is no TLS handshake.")
    report = diagnose(facts(caa=silent, standing=waiting, served=unreachable))
    assert not report.well
    assert f"{HOST} has no certificate yet." in [finding.text for finding in report.findings]


def test_a_wildcard_needs_the_cname_of_its_challenge():
    def delegation(*records, said=None):
        seen = Answer(name="x", kind="CNAME", said=said or (Said.RECORDS if records else Said.NO_NAME), records=records)
        return Delegation(name="_acme-challenge.example.com", wanted="label.acme.test", answer=seen)

    assert diagnose(facts(delegation=delegation("label.acme.test"))).well
    assert diagnose(facts(delegation=delegation(said=Said.SILENT))).well
    for records, present in (((), "no CNAME"), (("other.test",), "CNAME other.test")):
        change = only_change(diagnose(facts(delegation=delegation(*records))))
        assert (change.who, change.what) == (Fault.CUSTOMER_DNS, "the DNS records of _acme-challenge.example.com")
        assert (change.present, change.wanted) == (present, "CNAME label.acme.test")


def looked(code, state=State.WRONG, **more):
    made = {"what": "what is wrong", "present": "this", "wanted": "that", "detail": f"The sentence of {code}."}
    return Verdict(state=state, code=code, **{**made, **more})


@pytest.mark.parametrize(
    "code",
    [
        *("proxied", "leftover_record", "record_doubled", "cname_loop", "servers_differ"),
        *("nameservers_differ", "zone_not_served", "domain_missing", "dnssec_bogus", "txt_differs"),
    ],
)
def test_a_mistake_that_is_known_by_its_name_is_told_instead_of_what_each_resolver_sees(code):
    seen = (view("192.0.2.9"), view("192.0.2.9", who="the resolver 192.0.2.54:53"))
    change = only_change(diagnose(facts(*seen, verdict=looked(code))))
    assert (change.what, change.present, change.wanted) == ("what is wrong", "this", "that")
    assert change.why == f"The sentence of {code}."


def test_another_record_is_told_with_what_to_type_where():
    hint = record("routing", "CNAME", HOST, TARGET, required=True)
    shown = (msgspec.structs.replace(hint, hint="At GoDaddy: Name: shop, without the domain."),)
    change = only_change(diagnose(facts(view("192.0.2.9"), verdict=looked("address_differs", records=shown))))
    assert change.wanted == f"CNAME {TARGET}"
    assert change.why.endswith(" At GoDaddy: Name: shop, without the domain.")


def test_what_is_only_remembered_asks_nobody_to_change_anything():
    report = diagnose(facts(view("192.0.2.9"), verdict=looked("propagating", State.PENDING)))
    assert report.changes == ()
    assert not report.well
    assert any(finding.text == "The sentence of propagating." for finding in report.findings)


def test_the_target_of_a_workspace_is_nobodys_mistake_while_the_name_is_not_registered():
    foreign = looked("cname_of_another")
    nobody = Standing(admitted=True, reason="A pattern admits it.", has_certificate=True)
    assert diagnose(facts(verdict=foreign, standing=nobody)).well
    owned = Standing(admitted=True, reason="It is registered.", workspace_id="acme-store", has_certificate=True)
    assert only_change(diagnose(facts(verdict=foreign, standing=owned))).why == "The sentence of cname_of_another."


@pytest.mark.parametrize(("dnssec", "told"), [(Dnssec.SIGNED, "are signed"), (Dnssec.UNSIGNED, "are not signed")])
def test_signatures_are_told(dnssec, told):
    report = diagnose(facts(verdict=Verdict(state=State.VERIFIED, dnssec=dnssec)))
    assert report.well
    assert any(told in finding.text for finding in report.findings)
    unknown = diagnose(facts(verdict=Verdict(state=State.VERIFIED)))
    assert not any("DNSSEC" in finding.text for finding in unknown.findings)


OWN = f"tpmcm55d5tvwcbg2s3dqlzhwv3.{TARGET}"


def own_target(*ipv4, chain=(), said=None, detail=""):
    asked = {"said": said, "detail": detail, "chain": chain}
    return OwnTarget(name=OWN, answers=(answer("A", *ipv4, **asked), answer("AAAA", **asked)))


@pytest.mark.parametrize("own", [own_target("192.0.2.1"), own_target("192.0.2.1", chain=[TARGET]), own_target(chain=[TARGET])])
def test_a_workspaces_own_target_that_leads_here_is_well(own):
    report = diagnose(facts(own_target=own))
    assert report.changes == ()
    assert f"{OWN}, the target of this workspace alone, leads to this edge." in [each.text for each in report.findings]


@pytest.mark.parametrize(
    ("own", "present", "comes"),
    [(own_target(), "no address", "nothing"), (own_target("198.51.100.9"), "A 198.51.100.9", "another server")],
)
def test_one_that_does_not_is_the_operators_to_set(own, present, comes):
    change = only_change(diagnose(facts(own_target=own)))
    assert (change.who, change.what) == (Fault.OPERATOR, f"the DNS records of *.{TARGET}")
    assert (change.present, change.wanted) == (present, f"CNAME {TARGET}")
    assert f"its visitors find {comes} there" in change.why


def test_one_of_which_nobody_knows_is_nobodys_fault():
    report = diagnose(facts(own_target=own_target(said=Said.SILENT, detail="Nobody answered.")))
    assert report.changes == ()
    assert f"Whether {OWN} leads to this edge is not known. Nobody answered." in [each.text for each in report.findings]
