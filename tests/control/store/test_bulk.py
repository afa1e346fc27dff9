"""Many registrations at once."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from edgeproxy.control.store import ADDED, THERE, Domain, Entry, Store
from edgeproxy.control.store.rows.telling import Beside
from edgeproxy.errors import Conflict, EdgeError, StateError
from edgeproxy.model import DomainState
from tests.control.store.making import NOW, certificate, logged


def domain(hostname: str, workspace: str = "one", **more: Any) -> Domain:
    given: dict[str, Any] = {"state": DomainState.VERIFIED, "created_at": NOW, "updated_at": NOW, "verified_at": NOW} | more
    return Domain(hostname=hostname, workspace_id=workspace, **given)


def entry(hostname: str, workspace: str = "one", *, tells: bool = True, **more: Any) -> Entry:
    return Entry(domains=(domain(hostname, workspace, **more),), actor="uid:7", tells=tells)


def pair(hostname: str, partner: str, **more: Any) -> Entry:
    first = domain(hostname, include_www=True, **more)
    return Entry(domains=(first, msgspec.structs.replace(first, hostname=partner, redirect_to=hostname)), actor="uid:7")


async def outcomes(store: Store, *entries: Entry) -> list[str]:
    found = (await store.add_domains(entries)).outcomes
    return [each.code if isinstance(each, EdgeError) else each for each in found]


async def test_each_row_is_what_one_registration_alone_makes(store: Store) -> None:
    full: dict[str, Any] = {
        "origin": "http://10.0.0.1:80",
        "metadata": '{"name":"Bücher \\"& more\\"\\u0000","a":"\\n"}',
        "policies": '{"hsts":"365d"}',
    }
    assert await outcomes(store, entry("a.example.com", **full), entry("*.b.example.com")) == [ADDED, ADDED]
    assert await store.get_domain("a.example.com") == domain("a.example.com", **full)
    assert await store.get_domain("*.b.example.com") == domain("*.b.example.com")
    assert await store.names_beneath("example.com", "", 10) == ["a.example.com"]
    noted = await store.list_audit(10)
    assert [(each.subject, each.actor, each.action, each.detail, each.at) for each in noted] == [
        (name, "uid:7", "domain.added", "workspace one, verified", NOW) for name in ("a.example.com", "*.b.example.com")
    ]
    one = await store.add_domain("c.example.com", "one", **full, state=DomainState.VERIFIED, actor="uid:7", now=NOW)
    told = await store.last_events(10)
    assert [each.type for each in told] == ["domain.registered"] * 3
    alone, among = msgspec.json.decode(told[2].data), msgspec.json.decode(told[0].data)
    assert {**among, "domain": one.hostname} == alone
    assert (told[0].subject, told[0].workspace_id, told[0].at) == ("a.example.com", "one", NOW)
    assert len({each.id for each in told}) == 3


async def test_the_map_is_told_of_what_was_added_and_of_nothing_else(store: Store) -> None:
    before = await store.head_change()
    found = await store.add_domains([entry("a.example.com"), entry("a.example.com", "two"), entry("b.example.com")])
    assert await logged(store, before) == [("sites", "a.example.com"), ("sites", "b.example.com")]
    assert found.number == await store.head_change() == before + 2
    again = await store.add_domains([entry("a.example.com")])
    assert (again.outcomes, again.number) == ([THERE], 0)
    assert len(await store.last_events(10)) == len(await store.list_audit(10)) == 2


async def test_a_name_is_had_once_within_a_call_too(store: Store) -> None:
    wanted = entry("a.example.com"), entry("a.example.com"), entry("a.example.com", "two")
    found = (await store.add_domains(wanted)).outcomes
    assert found[:2] == [ADDED, THERE]
    assert isinstance(found[2], Conflict)
    assert "domains remove a.example.com" in found[2].detail


async def test_what_nobody_proved_is_not_taken_for_the_operators_word(store: Store) -> None:
    await store.add_domain("a.example.com", "one", state=DomainState.PENDING_VALIDATION, actor="t", now=NOW)
    found = (await store.add_domains([entry("a.example.com")])).outcomes[0]
    assert isinstance(found, Conflict)
    assert found.code == "not_proven"
    assert "pending_validation" in found.detail


async def test_where_it_is_asked_nobody_is_told(store: Store) -> None:
    assert await outcomes(store, entry("a.example.com", tells=False), entry("b.example.com")) == [ADDED, ADDED]
    assert [each.subject for each in await store.last_events(10)] == ["b.example.com"]


async def test_events_tell_the_certificate_and_what_the_row_does_not_say(store: Store) -> None:
    async def describe(domain: Domain) -> Beside:
        return Beside(routing=f"by {domain.hostname}")

    store.database.describe = describe
    await store.add_certificate(certificate("x", "*.example.com"), NOW)
    await store.add_domains([entry("a.example.com"), entry("a.example.org")])
    told = [msgspec.json.decode(each.data) for each in await store.last_events(10)]
    assert [(each["certificate_id"], each["routing"]) for each in told] == [
        ("x", "by a.example.com"),
        (None, "by a.example.org"),
    ]


async def test_a_redirect_leads_within_its_workspace_in_whatever_order_they_come(store: Store) -> None:
    assert await outcomes(
        store,
        entry("to.example.com", redirect_to="a.example.com"),
        entry("a.example.com"),
        entry("on.example.com", redirect_to="to.example.com"),
        entry("away.example.com", redirect_to="b.example.com"),
        entry("b.example.com", "two"),
        entry("lost.example.com", redirect_to="nowhere.example.com"),
        entry("self.example.com", redirect_to="self.example.com"),
        entry("beneath.example.com", redirect_to="x.c.example.com"),
        entry("*.c.example.com"),
    ) == [ADDED, ADDED, ADDED, "invalid_redirect", ADDED, "invalid_redirect", "invalid_redirect", ADDED, ADDED]  # fmt: skip
    assert await store.get_domain("away.example.com") is None
    assert await outcomes(store, entry("later.example.com", redirect_to="on.example.com")) == [ADDED]
    assert await outcomes(store, entry("far.example.com", redirect_to="later.example.com")) == ["invalid_redirect"]


async def test_two_that_redirect_to_each_other_are_refused(store: Store) -> None:
    one, two = entry("a.example.com", redirect_to="b.example.com"), entry("b.example.com", redirect_to="a.example.com")
    assert await outcomes(store, one, two) == ["invalid_redirect", "invalid_redirect"]


async def test_a_pair_comes_whole_or_not_at_all(store: Store) -> None:
    assert await outcomes(store, pair("example.com", "www.example.com"), pair("example.com", "www.example.com")) == [
        ADDED,
        THERE,
    ]
    www = await store.get_domain("www.example.com")
    assert www is not None
    assert (www.redirect_to, www.include_www) == ("example.com", True)
    await store.add_domains([entry("www.example.org")])
    assert await outcomes(store, pair("example.org", "www.example.org")) == ["conflict"]
    assert await store.get_domain("example.org") is None
    assert await outcomes(store, entry("a.net"), pair("example.net", "www.example.net", redirect_to="a.net")) == [ADDED, ADDED]
    wrong = pair("example.info", "www.example.info", redirect_to="www.example.info")
    assert await outcomes(store, wrong) == ["invalid_redirect"]
    assert await store.get_domain("www.example.info") is None


async def test_what_the_map_cannot_have_is_refused_by_itself(store: Store) -> None:
    assert await outcomes(store, entry("a.example.com"), entry("\n"), entry("x" * 600)) == [
        ADDED,
        "invalid_name",
        "invalid_name",
    ]
    assert [each.hostname for each in await store.list_domains(10)] == ["a.example.com"]


async def test_nothing_of_it_remains_where_the_store_fails(store: Store) -> None:
    async def describe(domain: Domain) -> Beside:
        raise StateError(f"No {domain.hostname}.")

    store.database.describe = describe
    with pytest.raises(StateError):
        await store.add_domains([entry("a.example.com", tells=False), entry("b.example.com")])
    assert await store.list_domains(10) == []
    assert await store.list_audit(10) == []
