"""Domains with what else is told of them."""

from __future__ import annotations

import msgspec

from edgeproxy.control.store import Failure, Sheet, Store
from edgeproxy.model import DomainState
from tests.control.store.making import DAY, NOW, certificate

NAME, OTHER = "shop.example.com", "other.example.com"


async def add(store: Store, *hostnames: str) -> None:
    for hostname in hostnames:
        await store.add_domain(hostname, "one", state=DomainState.VERIFIED, metadata='{"a":"b"}', actor="t", now=NOW)


async def test_a_sheet_is_what_its_parts_say_one_by_one(store: Store) -> None:
    await add(store, NAME, OTHER, "*.wild.example.com", "x.wild.example.com")
    await store.save_failure(Failure(name=NAME, count=3, next_try=NOW + 60, detail="no", fault="ca"), NOW)
    await store.add_certificate(certificate("c1", NAME), NOW)
    await store.add_certificate(certificate("c2", NAME), NOW)
    await store.add_certificate(certificate("w", "*.wild.example.com"), NOW)
    names = [NAME, OTHER, "x.wild.example.com", "*.wild.example.com", "nobody.example.com"]
    found = await store.sheets(names, NOW)
    failures = await store.failures(names)
    certificates = await store.current_certificate_ids(names, NOW)
    assert certificates == {NAME: "c2", "x.wild.example.com": "w", "*.wild.example.com": "w"}
    for name in names[:-1]:
        domain = await store.get_domain(name)
        assert domain is not None
        assert found[name] == Sheet(domain, certificates.get(name), failures.get(name))
        assert await store.sheet(name, NOW) == found[name]
    assert "nobody.example.com" not in found
    assert await store.sheet("nobody.example.com", NOW) is None


async def test_a_certificate_that_has_ended_is_not_told(store: Store) -> None:
    await add(store, NAME)
    await store.add_certificate(certificate("c1", NAME), NOW)
    assert [(await store.sheet(NAME, now)).certificate_id for now in (NOW, NOW + 1000 * DAY)] == ["c1", None]  # type: ignore[union-attr]


async def test_every_field_of_a_domain_comes_through(store: Store) -> None:
    await add(store, NAME)
    before = await store.get_domain(NAME)
    assert before is not None
    given = {"error_code": "no_record", "error_detail": "There is none.", "error_fault": "customer_dns", "must_prove": True}
    after = msgspec.structs.replace(before, **given, looks=4, next_look=NOW + 2, looking_since=NOW, looked_at=NOW)
    await store.advance_domain(before, after, actor="t", now=NOW)
    sheet = await store.sheet(NAME, NOW)
    assert sheet is not None
    assert sheet.domain == await store.get_domain(NAME)
    assert (sheet.domain.must_prove, sheet.domain.looks, sheet.domain.metadata) == (True, 4, '{"a":"b"}')
