"""Redirects and the transactions that they are part of."""

from __future__ import annotations

import asyncio

import pytest
from sqlalchemy import select

from edgeproxy.control.store import DomainChange, Store
from edgeproxy.control.store.schema import REDIRECTS, domains
from edgeproxy.errors import InvalidName
from edgeproxy.model import DomainState
from tests.control.store.making import NOW


async def add(store: Store, hostname: str, workspace: str = "one", redirect_to: str = "") -> None:
    state = DomainState.VERIFIED
    await store.add_domain(hostname, workspace, redirect_to=redirect_to, state=state, actor="test", now=NOW)


async def redirect(store: Store, hostname: str, target: str) -> None:
    await store.change_domain(hostname, DomainChange(redirect_to=target), actor="test", now=NOW)


async def published(store: Store, hostname: str) -> str | None:
    (facts,) = await store.site_facts([hostname], NOW)
    return facts.redirect_to


async def test_a_target_is_a_domain_of_the_same_workspace(store: Store) -> None:
    await add(store, "b.example.com")
    await add(store, "x.example.com", "two")
    await add(store, "a.example.com", redirect_to="b.example.com")
    assert await published(store, "a.example.com") == "b.example.com"
    for wrong in ("x.example.com", "none.example.com", "a.example.com"):
        with pytest.raises(InvalidName):
            await redirect(store, "a.example.com", wrong)
    with pytest.raises(InvalidName):
        await add(store, "c.example.com", redirect_to="x.example.com")
    assert await store.get_domain("c.example.com") is None
    assert await published(store, "a.example.com") == "b.example.com"


async def test_two_that_redirect_to_each_other_at_once_do_not_both_get_it(store: Store) -> None:
    await add(store, "a.example.com")
    await add(store, "b.example.com")
    wishes = redirect(store, "a.example.com", "b.example.com"), redirect(store, "b.example.com", "a.example.com")
    results = await asyncio.gather(*wishes, return_exceptions=True)
    assert sorted(type(result).__name__ for result in results) == ["InvalidName", "NoneType"]


@pytest.mark.parametrize(("target", "registered"), [("b.example.com", "b.example.com"), ("x.b.example.com", "*.b.example.com")])
async def test_a_target_that_is_gone_or_anothers_is_not_redirected_to(store: Store, target: str, registered: str) -> None:
    await add(store, registered)
    await add(store, "a.example.com", redirect_to=target)
    await add(store, "unconcerned.example.com")
    assert await store.redirecting_to(["nothing.example.com", registered]) == ["a.example.com"]
    await store.remove_domain(registered, actor="test", now=NOW)
    assert await published(store, "a.example.com") == ""
    await add(store, registered, "two")
    assert await published(store, "a.example.com") == ""
    await store.remove_domain(registered, actor="test", now=NOW)
    await add(store, registered)  # its own workspace has it again
    assert await published(store, "a.example.com") == target


async def test_a_name_of_anothers_own_goes_before_a_wildcard_of_the_same_workspace(store: Store) -> None:
    await add(store, "*.b.example.com")
    await add(store, "a.example.com", redirect_to="x.b.example.com")
    await add(store, "x.b.example.com", "two")
    assert await published(store, "a.example.com") == ""


async def test_who_redirects_is_found_without_looking_at_all_domains(store: Store) -> None:
    query = select(domains.c.hostname).where(REDIRECTS, domains.c.redirect_to == "b.example.com")
    text = str(query.compile(compile_kwargs={"literal_binds": True}))
    async with store.database.read() as connection:
        plan = (await connection.exec_driver_sql(f"EXPLAIN QUERY PLAN {text}")).all()
    assert "domains_by_redirect" in str(plan)
