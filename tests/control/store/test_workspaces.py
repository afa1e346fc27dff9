"""Rows of what workspaces are entitled to."""

from __future__ import annotations

import msgspec
import pytest

from edgeproxy.control.store import Store, Workspace
from edgeproxy.control.store.workspaces import KEPT_SECONDS
from edgeproxy.model import DomainState
from tests.control.store.making import DAY, NOW


def said(one: str = "acme", paid: bool = True, **more: object) -> Workspace:
    wanted = {"workspace_id": one, "paid": paid, "source": "platform", "fresh_until": NOW + 300, "checked_at": NOW}
    return Workspace(**(wanted | more))  # type: ignore[arg-type]


async def put(store: Store, workspace: Workspace, now: float = NOW) -> Workspace:
    return await store.put_workspace(workspace, actor="edge", now=now)


async def test_what_is_said_last_counts_and_each_change_is_in_the_audit_log(store: Store) -> None:
    assert await store.workspace("acme") is None
    await put(store, said(max_domains=5))
    assert await store.workspace("acme") == said(max_domains=5)
    await put(store, said(max_domains=5, checked_at=NOW + 300, fresh_until=NOW + 600), NOW + 300)
    await store.put_workspace(said(paid=False, source="api"), actor="uid:0", now=NOW + 400)
    assert (await store.delete_workspace("acme", actor="uid:0", now=NOW)) == said(
        paid=False, source="api", unpaid_since=NOW + 400
    )
    assert await store.delete_workspace("acme", actor="uid:0", now=NOW) is None
    entries = await store.list_audit(10, subject="acme")
    assert [(each.action, each.actor, each.detail) for each in entries] == [
        ("workspace.paid", "edge", "says the platform, 5 domains at most"),
        ("workspace.unpaid", "uid:0", "says the api"),
        ("workspace.forgotten", "uid:0", "said the api"),
    ]


async def test_since_when_a_workspace_does_not_pay_is_kept_until_it_pays(store: Store) -> None:
    assert (await put(store, said(paid=False, unpaid_since=1.0), NOW)).unpaid_since == NOW
    assert (await put(store, said(paid=False), NOW + DAY)).unpaid_since == NOW
    assert (await put(store, said(paid=False), NOW - DAY)).unpaid_since == NOW - DAY, "that clock was ahead"
    assert (await put(store, said())).unpaid_since is None
    assert (await put(store, said(paid=False), NOW + 2 * DAY)).unpaid_since == NOW + 2 * DAY


async def test_workspaces_with_domains_are_listed_in_pages_with_what_was_said(store: Store) -> None:
    for host, workspace in (("a.example.com", "b"), ("b.example.com", "a"), ("c.example.com", "b"), ("d.example.com", "c")):
        await store.add_domain(host, workspace, state=DomainState.VERIFIED, actor="t", now=NOW)
    await put(store, said("b"))
    await put(store, said("none"))
    assert await store.workspaces_with_domains(2) == [("a", None), ("b", said("b"))]
    assert await store.workspaces_with_domains(2, "b") == [("c", None)]


async def test_all_workspaces_are_listed_in_pages_with_what_was_said_and_how_many_domains_each_has(store: Store) -> None:
    for host, workspace in (("a.example.com", "b"), ("b.example.com", "a"), ("c.example.com", "b"), ("d.example.com", "d")):
        await store.add_domain(host, workspace, state=DomainState.VERIFIED, actor="t", now=NOW)
    await put(store, said("b"))
    await put(store, said("c"))
    assert await store.list_workspaces(2) == [("a", None, 1), ("b", said("b"), 2)]
    assert await store.list_workspaces(2, "b") == [("c", said("c"), 0), ("d", None, 1)]
    assert await store.list_workspaces(2, "d") == []


async def suspend(store: Store, host: str, at: float) -> None:
    domain = await store.get_domain(host)
    assert domain is not None
    after = msgspec.structs.replace(domain, state=DomainState.SUSPENDED, suspended_at=at)
    assert await store.advance_domain(domain, after, actor="edge", now=at)


async def test_domains_are_found_for_which_something_follows(store: Store) -> None:
    hosts = {"late": "a", "old": "b", "new": "c", "paid": "d", "unheard": "e", "stale": "f"}
    for host, workspace in hosts.items():
        for kind in ("served", "suspended"):
            await store.add_domain(f"{kind}.{host}.example", workspace, state=DomainState.ACTIVE, actor="t", now=NOW)
        await suspend(store, f"suspended.{host}.example", NOW - (20 * DAY if host == "old" else DAY))
    await put(store, said("a", paid=False, source="api", fresh_until=NOW), NOW - 10 * DAY)
    await put(store, said("b", paid=False), NOW - 40 * DAY)
    await put(store, said("c", paid=False), NOW - DAY)
    await put(store, said("d"))
    await put(store, said("f", paid=False, fresh_until=NOW - DAY), NOW - 40 * DAY)

    async def unpaid(suspended: bool, limit: int = 10) -> list[tuple[str, str]]:
        found = await store.domains_of_unpaid(
            limit, suspended=suspended, since=NOW - 7 * DAY, suspended_before=NOW - 10 * DAY, certain_at=NOW - 3600
        )
        return [(domain.hostname, workspace.workspace_id) for domain, workspace in found]

    assert await unpaid(False) == [("served.old.example", "b"), ("served.late.example", "a")]
    assert await unpaid(False, 1) == [("served.old.example", "b")]
    assert await unpaid(True) == [("suspended.old.example", "b")]
    back = await store.suspended_domains_of_paid(10, since=NOW - 7 * DAY)
    assert [domain.hostname for domain in back] == [f"suspended.{host}.example" for host in ("new", "paid", "unheard")]
    assert len(await store.suspended_domains_of_paid(2, since=NOW - 7 * DAY)) == 2


async def test_what_nobody_needs_is_forgotten(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("edgeproxy.control.store.base.CLEAN_EVERY", 1)
    await store.add_domain("a.example.com", "has", state=DomainState.VERIFIED, actor="t", now=NOW)
    old = NOW - KEPT_SECONDS
    for workspace in (said("has", checked_at=old), said("api", source="api", checked_at=old), said("gone", checked_at=old)):
        await put(store, workspace, old)
    await put(store, said("new"))
    kept = [one for one in ("has", "api", "gone", "new") if await store.workspace(one) is not None]
    assert kept == ["has", "api", "new"]


async def test_who_stops_paying_next_is_known(store: Store) -> None:
    assert await store.next_unpaid(NOW) is None
    for number, one in enumerate(("a", "b", "c")):
        await put(store, said(one, paid=False), NOW + 10 * number)
    await put(store, said("d"), NOW + 5)
    assert [await store.next_unpaid(after) for after in (NOW - 1, NOW, NOW + 19, NOW + 20)] == [NOW, NOW + 10, NOW + 20, None]
