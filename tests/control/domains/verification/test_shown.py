"""`dns_records`."""

import msgspec
import pytest

from edgeproxy.config.dns import Dns
from edgeproxy.config.platform import Platform
from edgeproxy.control.dns.lookup import Said
from edgeproxy.control.dns.pointing import Points
from edgeproxy.control.domains.records import record
from edgeproxy.control.domains.verification.providers import provider_of
from edgeproxy.control.domains.verification.seen import Fetched, FileSaid, Proof, State
from edgeproxy.control.domains.verification.shown import NOT_THEIRS, compared, wanted_records
from edgeproxy.errors import Fault
from tests.control.domains.verification.cases import (
    HOST,
    NOTHING,
    OURS,
    OURS6,
    OWN,
    PROOF,
    RIGHT,
    SILENT,
    STRANGE,
    TARGET,
    ZONE,
    answer,
    proving,
    seen,
    verdict,
    view,
    wanted,
    zone,
)


def test_before_anybody_has_looked_the_records_are_known():
    routing, owning = wanted_records(wanted())
    assert (routing.purpose, routing.type, routing.name, routing.value) == ("routing", "CNAME", HOST, TARGET)
    assert (routing.host_field, routing.required, routing.ok, routing.seen) == ("gallery", True, None, ())
    assert routing.zone_line == f"{HOST}. 300 IN CNAME {TARGET}."
    assert (owning.purpose, owning.type, owning.required, owning.ok) == ("ownership", "TXT", False, None)
    assert owning.zone_line == f'_edgeproxy-verify.{HOST}. 300 IN TXT "{PROOF}"'
    assert msgspec.json.encode([routing.shown(), owning.shown()])


def test_who_owns_the_name_is_not_told_what_the_operator_alone_can_mend():
    found = verdict(seen(SILENT, resolvers=[RIGHT]), dns=Dns())
    assert (found.fault, "dns.resolvers" in found.detail) == (Fault.OPERATOR, True)
    assert found.records[0].reason == NOT_THEIRS


@pytest.mark.parametrize(
    ("host", "method", "platform"),
    [
        (HOST, "cname", Platform(cname_target=TARGET)),
        (HOST, "dns", Platform(cname_target=TARGET)),
        (HOST, "file", Platform(cname_target=TARGET)),
        (f"*.{ZONE}", "dns", Platform(cname_target=TARGET)),
        (ZONE, "cname", Platform(cname_target=TARGET, addresses=(OURS, OURS6))),
        (ZONE, "cname", Platform(cname_target=TARGET)),
        (HOST, "cname", Platform(addresses=(OURS, OURS6))),
    ],
)
def test_exactly_one_is_required(host, method, platform):
    assert [each.required for each in wanted_records(wanted(host, method, platform=platform))].count(True) == 1


def test_an_apex_has_a_record_for_each_of_our_addresses():
    ipv4, ipv6, _ = wanted_records(wanted(ZONE, platform=Platform(cname_target=TARGET, addresses=(OURS6, OURS))))
    assert (ipv4.type, ipv4.value, ipv4.host_field, ipv4.required) == ("A", OURS, "@", True)
    assert ipv4.zone_line == f"{ZONE}. 300 IN A {OURS}"
    assert (ipv6.type, ipv6.value, ipv6.required) == ("AAAA", OURS6, False)
    alias, _ = wanted_records(wanted(ZONE))
    assert (alias.type, alias.value) == ("CNAME", TARGET)
    assert "ALIAS" in alias.reason


def test_what_is_there_is_shown_beside_what_has_to_be():
    found = verdict(seen(view(STRANGE, chain=["other.test"]), zone=zone("ns01.domaincontrol.com")))
    routing = found.records[0]
    assert (routing.ok, routing.seen) == (False, ("CNAME other.test", f"A {STRANGE}"))
    assert routing.reason == found.detail
    assert routing.hint == "At GoDaddy: Name: gallery, without the domain."
    right = verdict(seen(RIGHT, resolvers=[RIGHT])).records[0]
    assert (right.ok, right.reason) == (True, "")
    assert verdict(seen(SILENT)).records[0].ok is None
    nothing = verdict(seen(NOTHING)).records[0]
    assert (nothing.ok, nothing.seen) == (False, ())


def test_once_a_name_is_proven_by_text_its_route_is_required():
    before = verdict(seen(view(STRANGE, texts=["old"])), method="dns").records
    assert [(each.purpose, each.required, each.ok) for each in before] == [
        ("routing", False, False),
        ("ownership", True, False),
    ]
    assert before[1].seen == ("old",)
    assert "change it to" in before[1].reason
    proven = view(STRANGE, texts=[PROOF])
    after = verdict(seen(proven, resolvers=[proven]), method="dns").records
    assert [(each.purpose, each.required, each.ok) for each in after] == [
        ("routing", True, False),
        ("ownership", False, True),
    ]
    broken = view(texts=[], said=Said.BROKEN)
    assert verdict(seen(broken), method="dns").records[1].ok is None


def shape(found):
    return [(each.purpose, each.type, each.required, each.ok) for each in found.records]


def test_a_name_that_led_here_before_is_offered_the_workspaces_own_target_beside_the_text():
    there = view(OURS, chain=[TARGET], texts=[])
    found = proving(seen(there, resolvers=[there], zone=zone("ns01.domaincontrol.com")))
    assert shape(found) == [
        ("routing", "CNAME", False, True),
        ("ownership", "TXT", True, False),
        ("ownership", "CNAME", False, False),
    ]
    own = found.records[2]
    assert (own.name, own.value, own.seen) == (HOST, OWN, (f"CNAME {TARGET}", f"A {OURS}"))
    assert own.zone_line == f"{HOST}. 300 IN CNAME {OWN}."
    assert own.reason == f"Instead of the TXT record: it proves whose {HOST} is, and leads here, both at once."
    assert own.hint == "At GoDaddy: Name: gallery, without the domain."
    assert found.detail.endswith(f"Or, instead of it, change the record of {HOST} to CNAME {OWN}.")


def test_once_it_is_there_it_is_the_one_that_is_required():
    there = view(OURS, chain=[OWN], texts=[])
    found = proving(seen(there, resolvers=[there]))
    assert (found.state, found.proven, found.points) == (State.VERIFIED, frozenset({Proof.WORKSPACE_CNAME}), Points.HERE)
    assert found.detail == f"{HOST} is proven by its CNAME to {OWN}."
    assert shape(found) == [
        ("routing", "CNAME", False, True),
        ("ownership", "TXT", False, False),
        ("ownership", "CNAME", True, True),
    ]
    assert [each.reason for each in found.records] == ["", "", ""]


def test_once_the_text_is_there_it_is_offered_no_more():
    there = view(OURS, chain=[TARGET], texts=[PROOF])
    assert shape(proving(seen(there, resolvers=[there]))) == [
        ("routing", "CNAME", True, True),
        ("ownership", "TXT", False, True),
    ]


def test_where_it_cannot_be_set_or_proves_nothing_it_is_not_offered():
    there = view(OURS, texts=[])
    for found in (
        proving(seen(there, resolvers=[there]), ZONE),
        proving(seen(there, resolvers=[there]), method="dns"),
        proving(seen(there, resolvers=[there]), f"*.{ZONE}"),
        proving(seen(there, resolvers=[there]), platform=Platform(addresses=(OURS,))),
        verdict(seen(there, resolvers=[there]), method="dns"),
    ):
        assert "CNAME" not in {each.type for each in found.records if each.purpose == "ownership"}
        assert OWN not in found.detail
    silent = proving(seen(SILENT))
    assert [each.ok for each in silent.records] == [None, None, None]


def test_an_address_that_is_not_needed_is_not_said_to_be_there():
    platform = Platform(cname_target=TARGET, addresses=(OURS, OURS6))
    found = verdict(seen(view(OURS), resolvers=[view(OURS)]), ZONE, platform=platform)
    assert [(each.type, each.ok) for each in found.records[:2]] == [("A", True), ("AAAA", None)]


def test_a_delegated_part_has_its_own_host_fields():
    found = verdict(seen(NOTHING, zone=zone(name="example.com")), "a.b.example.com")
    assert found.records[0].host_field == "a.b"
    found = verdict(seen(NOTHING, zone=zone(name="b.example.com")), "a.b.example.com")
    assert found.records[0].host_field == "a"


def test_a_record_of_the_ca_shows_what_a_server_said_of_it():
    wanted_one = record("acme", "TXT", f"_validation-persist.{HOST}", "ca.example", required=False)
    assert compared(wanted_one, None) == wanted_one
    assert compared(wanted_one, answer("TXT", said=Said.BROKEN)) == wanted_one
    found = compared(wanted_one, answer("TXT", "other", "ca.example"), provider_of(["ns01.domaincontrol.com"]))
    assert (found.ok, found.seen) == (True, ("other", "ca.example"))
    assert found.hint == "At GoDaddy: Name: _validation-persist.gallery, without the domain."


def test_a_file_that_was_asked_for_says_where_it_goes_until_it_is_there():
    url = f"http://{HOST}/.well-known/edgeproxy-verify/{PROOF}"
    *_, before = wanted_records(wanted(method="file"))
    assert (before.purpose, before.type, before.name, before.value, before.zone_line) == ("ownership", "FILE", url, PROOF, "")
    assert (before.required, before.ok) == (True, None)
    assert before.reason == f"Put a file at {url}, with nothing in it but {PROOF}."
    files = (Fetched(FileSaid.MISSING, f"{url} answers 404."),)
    *_, missing = verdict(seen(view(STRANGE), resolvers=[view(STRANGE)], files=files), method="file").records
    assert (missing.type, missing.ok) == ("FILE", False)
    assert missing.reason.startswith(f"{url} answers 404. Put a file at")
    *_, nowhere = verdict(seen(NOTHING), method="file").records
    assert nowhere.ok is None
    assert "has no address yet" in nowhere.reason
    assert nowhere.reason.endswith(before.reason)
    found = verdict(seen(view(STRANGE), resolvers=[view(STRANGE)], files=(Fetched(FileSaid.FOUND),)), method="file").records
    assert "FILE" not in [each.type for each in found]
