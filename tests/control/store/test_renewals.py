"""Which certificates are to be renewed, and in which order."""

from __future__ import annotations

import math

import msgspec
import pytest

from edgeproxy.control.issuance.renewal import urgency
from edgeproxy.control.store import CUSTOM, Store
from tests.control.store.making import DAY, NOW, certificate


async def test_those_due_for_renewal_come_most_urgent_first(store: Store) -> None:
    for one, renew in (("later", 30.0), ("soon", 10.0), ("now", 0.0), ("never", math.inf)):
        await store.add_certificate(certificate(one, f"{one}.example.com", renew=NOW + renew), NOW)
    assert [found.id for found in await store.certificates_to_renew(NOW + 10, 10)] == ["now", "soon"]
    assert [found.id for found in await store.certificates_to_renew(NOW + 10, 1)] == ["now"]
    await store.add_certificate(certificate("renewed", "now.example.com", renew=NOW + 99), NOW)
    assert [found.id for found in await store.certificates_to_renew(NOW + 10, 10)] == ["soon"]
    never = await store.get_certificate("never")
    assert never is not None
    assert never.renew_at == math.inf


async def ids(store: Store, now: float = NOW + 10, limit: int = 100) -> list[str]:
    return [found.id for found in await store.certificates_to_renew(now, limit)]


async def test_what_is_put_off_is_due_all_the_same_and_comes_back_at_its_time(store: Store) -> None:
    await store.add_certificate(certificate("c1", "a.example.com", renew=NOW), NOW)
    await store.put_off("c1", NOW + 60)
    assert await ids(store) == []
    kept = await store.get_certificate("c1")
    assert kept is not None
    assert (kept.renew_at, kept.look_at) == (NOW, NOW + 60)
    assert await ids(store, NOW + 60) == ["c1"]
    await store.set_renewal("c1", NOW)
    assert await ids(store) == ["c1"]


async def test_what_was_put_off_while_the_clock_was_ahead_is_looked_at_now(store: Store) -> None:
    await store.add_certificate(certificate("c1", "a.example.com", renew=NOW), NOW)
    await store.put_off("c1", NOW + 366 * DAY)
    await store.asked_about({"c1": (NOW + 366 * DAY, None)})
    assert await ids(store) == ["c1"]
    assert [stored.id for stored in await store.certificates_to_ask_about("internal", NOW, 10)] == ["c1"]


async def test_the_most_visited_come_first_but_for_those_that_end_soon(store: Store) -> None:
    names = {"idle": 0.0, "some": 5.0, "busy": 50.0, "late": 0.0, "later": 90.0}
    rows = {}
    for one in names:
        until = NOW + DAY * {"late": 5, "later": 6}.get(one, 60)
        rows[one] = msgspec.structs.replace(
            certificate(one, f"{one}.example.com", until=until, renew=NOW), not_before=until - 90 * DAY
        )
        await store.add_certificate(rows[one], NOW)
    await store.save_visits({f"{one}.example.com": heat for one, heat in names.items() if heat}, NOW)
    found = await ids(store, NOW)
    assert found == ["late", "later", "busy", "some", "idle"]
    assert found == sorted(names, key=lambda one: urgency(rows[one].not_before, rows[one].not_after, names[one], NOW))
    assert await ids(store, NOW, 3) == ["late", "later", "busy"]


async def test_the_ca_is_asked_about_what_is_in_use_and_its_own_the_longest_due_first(store: Store) -> None:
    for one, again in (("c1", 20.0), ("c2", 10.0), ("c3", 30.0)):
        await store.add_certificate(certificate(one, f"{one}.example.com"), NOW)
        await store.asked_about({one: (NOW + again, None)})
    other = msgspec.structs.replace(certificate("c4", "c4.example.com"), issuer="https://elsewhere/dir")
    await store.add_certificate(other, NOW)
    await store.add_certificate(certificate("c5", "c2.example.com"), NOW)
    await store.asked_about({"c5": (NOW + 5, None)})
    found = [stored.id for stored in await store.certificates_to_ask_about("internal", NOW + 20, 10)]
    assert found == ["c5", "c1"]
    assert await store.certificates_to_ask_about("internal", NOW + 91 * DAY, 10) == []


async def test_what_the_ca_says_moves_a_renewal_but_not_one_that_was_asked_for_or_ruled_out(store: Store) -> None:
    plans = {"plan": NOW + DAY, "asked": 0.0, "never": math.inf}
    for one, renew in plans.items():
        await store.add_certificate(certificate(one, f"{one}.example.com", renew=renew), NOW)
    await store.asked_about(dict.fromkeys(plans, (NOW + 60, NOW + 7)))
    found = {one: await store.get_certificate(one) for one in plans}
    assert {one: stored.renew_at for one, stored in found.items() if stored} == plans | {"plan": NOW + 7}
    assert {stored.info_at for stored in found.values() if stored} == {NOW + 60}
    await store.asked_about({"plan": (NOW + 120, None)})
    kept = await store.get_certificate("plan")
    assert kept is not None
    assert (kept.renew_at, kept.info_at) == (NOW + 7, NOW + 120)
    await store.asked_about({})


async def test_certificates_are_brought_forward_by_their_serial_numbers(store: Store) -> None:
    for one, issuer in (("a", "internal"), ("b", "internal"), ("c", CUSTOM), ("d", "internal")):
        row = msgspec.structs.replace(certificate(one, f"{one}.example.com"), serial=f"{one}1", issuer=issuer)
        await store.add_certificate(row, NOW)
    await store.add_certificate(certificate("d2", "d.example.com"), NOW)
    await store.put_off("a", NOW + DAY)
    found = await store.bring_forward(["a1", "c1", "d1", "ffff", ""], actor="uid:0", now=NOW)
    assert found == {"a1"}
    assert await ids(store, NOW) == ["a"]
    assert await store.bring_forward([], actor="uid:0", now=NOW) == set()


async def test_a_name_that_went_astray_is_looked_at_again_and_may_come_back(store: Store) -> None:
    await store.add_certificate(certificate("c1", "a.example.com", renew=NOW), NOW)
    await store.went_astray("c1", NOW - DAY, NOW, NOW + 3_600, NOW)
    stored = await store.get_certificate("c1")
    assert stored is not None
    assert (stored.astray_since, stored.parked_at, stored.look_at) == (NOW - DAY, NOW, NOW + 3_600)
    assert await ids(store) == []
    await store.went_astray("c1", None, None, 0.0, NOW)
    assert await ids(store) == ["c1"]


async def test_a_visit_counts_for_the_certificate_that_serves_it_and_strangers_take_no_room(store: Store) -> None:
    await store.add_certificate(certificate("c1", "a.example.com"), NOW)
    await store.add_certificate(certificate("c2", "*.example.com"), NOW)
    hosts = ["a.example.com", "b.example.com", "b.b.example.com", "stranger.example"]
    assert await store.counted_names(hosts) == {"a.example.com": "a.example.com", "b.example.com": "*.example.com"}
    assert await store.counted_names([]) == {}


async def test_visits_are_kept_while_their_name_has_a_certificate(store: Store) -> None:
    await store.add_certificate(certificate("c1", "a.example.com"), NOW)
    await store.save_visits({"a.example.com": 7.0, "b.example.com": 8.0}, NOW)
    await store.save_visits({"a.example.com": 9.0}, NOW + 1)
    await store.save_visits({}, NOW + 2)
    both = {"a.example.com": (9.0, NOW + 1), "b.example.com": (8.0, NOW)}
    assert await store.visits(["a.example.com", "b.example.com", "c.example.com"]) == both
    await store.prune_visits()
    assert await store.visits(list(both)) == {"a.example.com": (9.0, NOW + 1)}


@pytest.mark.parametrize("step", ["begin", "end"])
async def test_a_revoked_certificate_is_looked_at_at_once(store: Store, step: str) -> None:
    await store.add_certificate(certificate("c1", "a.example.com"), NOW)
    await store.put_off("c1", NOW + DAY)
    if step == "begin":
        await store.begin_revocation("c1", "superseded", actor="uid:0", now=NOW)
    else:
        await store.revoked("c1", "superseded", actor="uid:0", now=NOW)
    assert await ids(store, NOW) == ["c1"]
