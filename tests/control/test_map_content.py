"""What the map is to say of a name, a certificate, a challenge: decided by what the store has now."""

from __future__ import annotations

from typing import Any

import pytest

from edgeproxy.control.map_content import MapContent, Settings, site_for
from edgeproxy.control.store import Store
from edgeproxy.control.store.rows.publishing import SiteFacts
from edgeproxy.model import ANSWERED, SERVED, DomainState
from edgeproxy.policies import Policies
from edgeproxy.published.records import Challenge, Site, Tickets
from tests.control.publishing import EDGE, PATTERNS, add
from tests.control.store.making import DAY, NOW, certificate


def facts(hostname: str, **known: Any) -> SiteFacts:
    everything: dict[str, Any] = dict.fromkeys(SiteFacts.__struct_fields__)
    return SiteFacts(**(everything | {"hostname": hostname} | known))


def test_a_name_that_nobody_registered_is_not_served() -> None:
    assert site_for(facts("a.example.com"), Settings()) is None
    assert site_for(facts("a.example.com", own_certificate="c", wildcard_certificate="w"), Settings()) is None


@pytest.mark.parametrize("state", list(DomainState))
def test_a_registered_name_is_served_in_the_states_for_it_and_on_no_other_ground_in_the_others(state: DomainState) -> None:
    known = facts(
        "a.customers.example",
        state=state.value,
        workspace_id="one",
        origin="http://o",
        gate_workspace_id="two",
        gate_origin="",
        fresh_until=9.0,
        own_certificate="c",
    )
    served = state in ANSWERED or state is DomainState.AWAITING_CUTOVER
    suspended = state is DomainState.SUSPENDED
    expected = Site(workspace="one", origin="http://o", certificate="c", suspended=suspended) if served else None
    assert site_for(known, Settings(patterns=PATTERNS)) == expected


@pytest.mark.parametrize("state", sorted(ANSWERED))
def test_a_registered_name_is_in_good_order_while_it_is_active_or_the_operators_word(state: DomainState) -> None:
    known = {"workspace_id": "one", "state": state.value, "created_at": 10.0, "served_since": 30.0}
    for method, good in (("cname", state is DomainState.ACTIVE), ("", state in (DomainState.ACTIVE, DomainState.VERIFIED))):
        site = site_for(facts("a.test", **known, method=method, active_at=20.0, own_certificate="c"), Settings())
        assert site is not None
        assert site.stable_since == (30.0 if good else 0.0)
    late = site_for(facts("a.test", **known, method="", active_at=40.0, own_certificate="c"), Settings())
    assert late is not None
    assert late.stable_since == (40.0 if state in (DomainState.ACTIVE, DomainState.VERIFIED) else 0.0)
    without = site_for(facts("a.test", **known, method="", active_at=20.0), Settings())
    assert without is not None
    assert without.stable_since == 0.0


def test_names_that_nobody_registered_are_in_good_order_since_their_first_certificate() -> None:
    for known, settings in (
        ({"wildcard_certificate": "c"}, Settings(edge_names=("*.edge.test",))),
        ({"own_certificate": "c"}, Settings(patterns=("*.edge.test",))),
        ({"own_certificate": "c", "fresh_until": 9.0}, Settings()),
    ):
        name = next(iter((*settings.edge_names, "a.edge.test")))
        for since in (30.0, None):
            site = site_for(facts(name, **known, served_since=since), settings)
            assert site is not None
            assert site.stable_since == (since or 0.0)


def test_own_settings_are_published_and_none_are_nothing() -> None:
    known = {"state": "active", "workspace_id": "one"}
    for stored, published in ((None, None), ("", None), ('{"hsts":"1d","later":1}', Policies(hsts="1d"))):
        site = site_for(facts("a.test", **known, policies=stored), Settings())
        assert site is not None
        assert site.policies == published


def test_a_name_that_awaits_its_cut_over_is_served_once_it_has_its_certificate_and_gets_none_by_a_visit() -> None:
    waiting = {"state": "awaiting_cutover", "workspace_id": "one"}
    assert site_for(facts("a.example.com", **waiting), Settings()) is None
    site = site_for(facts("a.example.com", **waiting, wildcard_certificate="w"), Settings())
    assert site == Site(workspace="one", certificate="w")


@pytest.mark.parametrize("state", sorted(SERVED | {DomainState.AWAITING_CUTOVER}))
def test_a_customers_name_is_new_until_it_is_active_and_one_by_the_operators_word_never(state: DomainState) -> None:
    known = {"state": state.value, "workspace_id": "one", "own_certificate": "c"}
    site = site_for(facts("a.example.com", **known, method="cname"), Settings())
    assert site is not None
    assert site.new == (state not in (DomainState.ACTIVE, DomainState.ATTENTION))
    assert site_for(facts("a.example.com", **known, method=""), Settings()) == Site(workspace="one", certificate="c")


def test_redirect_and_maintenance_are_in_the_map() -> None:
    known = facts("a.example.com", state="active", workspace_id="one", redirect_to="b.example.com", maintenance=True)
    assert site_for(known, Settings()) == Site(workspace="one", redirect_to="b.example.com", maintenance=True)


def test_a_route_from_the_gate_is_served_with_its_freshness() -> None:
    known = facts("a.example.com", gate_workspace_id="two", gate_origin="http://g", fresh_until=9.0, wildcard_certificate="w")
    site = Site(workspace="two", origin="http://g", certificate="w", source="gate", fresh_until=9.0)
    assert site_for(known, Settings()) == site


def test_a_name_admitted_by_pattern_is_in_the_map_once_it_has_its_own_certificate() -> None:
    rules = Settings(patterns=PATTERNS)
    assert site_for(facts("a.customers.example", wildcard_certificate="w"), rules) is None
    assert site_for(facts("a.customers.example", own_certificate="c"), rules) == Site(certificate="c", source="pattern")
    assert site_for(facts("exact.example.org", own_certificate="c"), rules) == Site(certificate="c", source="pattern")
    assert site_for(facts("a.b.customers.example", own_certificate="c"), rules) is None


def test_nobodys_registration_takes_over_a_name_of_the_platform() -> None:
    known = facts("edge.example.net", state="active", workspace_id="thief", origin="http://t", own_certificate="c")
    assert site_for(known, Settings(edge_names=EDGE)) == Site(certificate="c", source="edge")


def content(store: Store, now: float = NOW) -> MapContent:
    return MapContent(store, Settings(EDGE, PATTERNS), lambda: now)


async def test_what_the_store_has_is_written_and_what_it_has_not_is_removed(store: Store) -> None:
    await add(store, "a.example.com")
    await add(store, "pending.example.com", state=DomainState.PENDING_VALIDATION)
    await store.add_certificate(certificate("c1", "a.example.com"), NOW)
    challenge = Challenge(hostname="a.example.com", token="t")
    await store.put_challenge("http:a/t", challenge, NOW)
    asked = content(store)
    site = Site(workspace="one", certificate="c1", stable_since=NOW)
    assert await asked.of("sites", ["a.example.com", "gone.example.com", "pending.example.com"]) == (
        [("sites", "a.example.com", site)],
        [("sites", "gone.example.com"), ("sites", "pending.example.com")],
    )
    puts, deletes = await asked.of("certificates", ["c1", "c2"])
    assert ([key for _, key, _ in puts], deletes) == (["c1"], [("certificates", "c2")])
    assert await asked.of("challenges", ["x", "http:a/t"]) == ([("challenges", "http:a/t", challenge)], [("challenges", "x")])


async def test_tickets_are_one_record(store: Store) -> None:
    assert await content(store).of("tickets", ["current"]) == ([], [("tickets", "current")])
    tickets = Tickets(secrets=(b"s",), starts=(3600,))
    await store.save_tickets(tickets, NOW)
    puts, deletes = await content(store).of("tickets", ["current"])
    assert [(database, key) for database, key, _ in puts] == [("tickets", "current")]
    assert deletes == []


async def test_a_certificate_counts_as_long_as_the_clock_says_that_it_lasts(store: Store) -> None:
    await add(store, "a.example.com")
    await store.add_certificate(certificate("c1", "a.example.com", until=NOW + DAY), NOW)
    for now, expected in ((NOW, "c1"), (NOW + 2 * DAY, "")):
        ((_, _, site),), _ = await content(store, now).of("sites", ["a.example.com"])
        assert isinstance(site, Site)
        assert site.certificate == expected


async def test_keys_come_in_parts_in_their_order(store: Store) -> None:
    for name in "cab":
        await add(store, f"{name}.example.com")
        await store.add_certificate(certificate(f"c{name}", f"{name}.example.com"), NOW)
    asked = content(store)
    for database, keys in (
        ("sites", ["a.example.com", "b.example.com", "c.example.com"]),
        ("certificates", ["ca", "cb", "cc"]),
        ("challenges", []),
    ):
        found: list[str] = []
        while part := await asked.keys(database, found[-1] if found else "", 2):
            assert len(part) <= 2
            found += part
        assert found == keys
