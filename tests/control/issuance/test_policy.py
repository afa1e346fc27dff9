"""Which names may have a certificate."""

import pytest

from edgeproxy.config.issuance import Allow, Issuance
from edgeproxy.config.platform import Api, Platform
from edgeproxy.config.structs import Config
from edgeproxy.config.visitors import Tls
from edgeproxy.control.issuance.policy import Registration, Verdict, admit, edge_names, own_names, served_unregistered
from edgeproxy.model import ANSWERED, DomainState


def config(*, platform="", patterns=(), gate="", registered=True, cname_target="", api="", default="") -> Config:
    return Config(
        platform=Platform(name=platform, cname_target=cname_target),
        api=Api(hostname=api),
        tls=Tls(default_hostname=default),
        issuance=Issuance(allow=Allow(patterns=patterns, gate=gate, registered=registered)),
    )


def verdict(name, settings, registration=None):
    return admit(name, settings, registration).verdict


@pytest.mark.parametrize("state", sorted(ANSWERED))
def test_a_registered_name_that_is_answered_may(state):
    admission = admit("shop.example", config(), Registration("shop.example", state))
    assert (admission.verdict, admission.certificate, admission.source) == (Verdict.ALLOWED, "shop.example", "registered")


@pytest.mark.parametrize("state", sorted(set(DomainState) - ANSWERED))
def test_a_registered_name_in_any_other_state_may_not_whatever_else_would_admit_it(state):
    settings = config(patterns=("*.example",), gate="http://gate/", platform="example")
    admission = admit("shop.example", settings, Registration("shop.example", state))
    assert admission.verdict is Verdict.DENIED
    assert "shop.example is registered but" in admission.reason


def test_a_wildcard_registration_serves_names_beneath_it_under_its_own_certificate():
    admission = admit("a.shop.example", config(), Registration("*.shop.example", DomainState.VERIFIED))
    assert (admission.verdict, admission.certificate) == (Verdict.ALLOWED, "*.shop.example")


def test_nothing_configured_admits_only_registered_names():
    admission = admit("shop.example", config(), None)
    assert admission.verdict is Verdict.DENIED
    assert admission.reason == "shop.example is not registered here."


def test_registration_can_be_switched_off_as_a_rule():
    assert verdict("a.example", config(registered=False), Registration("a.example", DomainState.ACTIVE)) is Verdict.DENIED


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("a.customers.example", Verdict.ALLOWED),
        ("a.b.customers.example", Verdict.DENIED),
        ("customers.example", Verdict.DENIED),
        ("exact.example", Verdict.ALLOWED),
        ("*.customers.example", Verdict.ALLOWED),
    ],
)
def test_a_pattern_admits_one_label(name, expected):
    assert verdict(name, config(patterns=("*.Customers.example", "exact.example"))) is expected


def test_the_gate_is_asked_where_no_rule_says_yes():
    settings = config(gate="http://gate/", patterns=("*.customers.example",))
    assert verdict("shop.example", settings) is Verdict.ASK_GATE
    assert verdict("a.customers.example", settings) is Verdict.ALLOWED


def test_the_gate_is_never_asked_for_a_wildcard():
    assert verdict("*.shop.example", config(gate="http://gate/")) is Verdict.DENIED


def test_a_workspace_is_served_only_through_the_platforms_wildcard():
    admission = admit("spandantest.ve.ai", config(platform="ve.ai", gate="http://gate/"), None)
    assert (admission.verdict, admission.certificate, admission.source) == (Verdict.ALLOWED, "*.ve.ai", "edge")


@pytest.mark.parametrize("label", ["www", "api", "mail", "a_b"])
def test_reserved_and_impossible_labels_of_the_platform_are_nobodys(label):
    settings = config(platform="ve.ai", patterns=("*.ve.ai",), gate="http://gate/")
    assert verdict(f"{label}.ve.ai", settings) is Verdict.DENIED


def test_a_name_two_labels_beneath_the_platform_is_not_a_workspace():
    assert verdict("a.b.ve.ai", config(platform="ve.ai")) is Verdict.DENIED


def test_the_platforms_bare_name_is_not_admitted_by_itself():
    assert verdict("ve.ai", config(platform="ve.ai")) is Verdict.DENIED


def test_the_edges_own_names_always_may_even_where_reserved_or_registered_by_somebody():
    settings = config(platform="ve.ai", cname_target="domain.ve.ai", api="api.ve.ai", default="Default.ve.ai.")
    for name in ("domain.ve.ai", "api.ve.ai", "default.ve.ai"):
        admission = admit(name, settings, Registration(name, DomainState.PENDING_VALIDATION))
        assert (admission.verdict, admission.certificate, admission.source) == (Verdict.ALLOWED, name, "edge")
    assert own_names(settings) == {"domain.ve.ai", "api.ve.ai", "default.ve.ai"}
    assert edge_names(settings) == own_names(settings) | {"*.ve.ai"}


def test_without_a_platform_there_are_no_names_of_its_own():
    assert edge_names(config()) == frozenset()


@pytest.mark.parametrize(
    "name", ["", "single", "192.0.2.1", "UPPER.example", "a..example", "-a.example", "a.example.", "*.com", "*.*.example", "\0"]
)
def test_what_is_not_a_normalised_hostname_is_denied_before_any_rule(name):
    assert verdict(name, config(patterns=("*.example",), gate="http://gate/")) is Verdict.DENIED


@pytest.mark.parametrize(
    ("name", "served"),
    [
        ("a.cust.example", True),
        ("b.a.cust.example", False),
        ("edge.example", True),
        ("api.example", True),
        ("*.ve.ai", True),
        ("ws.ve.ai", False),
        ("shop.example", False),
        ("*.cust.example", True),
    ],
)
def test_what_is_served_without_being_registered(name, served):
    settings = config(platform="ve.ai", patterns=("*.cust.example",), cname_target="edge.example", api="api.example")
    assert served_unregistered(name, settings) is served


def test_what_awaits_its_cutover_may_only_where_that_was_thought_of():
    awaiting = Registration("a.example.com", DomainState.AWAITING_CUTOVER)
    assert admit("a.example.com", config(), awaiting).verdict is Verdict.DENIED
    assert admit("a.example.com", config(), awaiting, ahead=True).verdict is Verdict.ALLOWED
    for state in (DomainState.PENDING_VALIDATION, DomainState.PARKED, DomainState.REMOVED):
        assert admit("a.example.com", config(), Registration("a.example.com", state), ahead=True).verdict is Verdict.DENIED
