"""Rows of mails that were sent to prove domains."""

from __future__ import annotations

import msgspec
import pytest

from edgeproxy.control.store import MailProof, Store
from edgeproxy.control.store.mail_proofs import KEPT_SECONDS
from tests.control.store.making import DAY, NOW


def proof(host: str = "a.example.com", **more: object) -> MailProof:
    wanted = {
        "hostname": host,
        "workspace_id": "acme",
        "addresses": "admin@example.com postmaster@example.com",
        "link_digest": host.encode(),
        "code_digest": b"code",
        "sent_at": NOW,
        "expires_at": NOW + DAY,
    }
    return MailProof(**(wanted | more))  # type: ignore[arg-type]


async def put(store: Store, one: MailProof, **more: object) -> None:
    await store.put_mail_proof(one, actor="uid:0", now=one.sent_at, **more)  # type: ignore[arg-type]


async def test_the_last_mail_of_a_name_counts_by_its_name_and_by_its_link(store: Store) -> None:
    await put(store, proof())
    assert await store.mail_proof("a.example.com") == proof()
    assert await store.mail_proof_of_link(b"a.example.com") == proof()
    await put(store, proof(link_digest=b"new", sends=2, sent_at=NOW + 60))
    assert await store.mail_proof_of_link(b"a.example.com") is None
    assert (await store.mail_proof_of_link(b"new")) == proof(link_digest=b"new", sends=2, sent_at=NOW + 60)
    await put(store, proof(), audit=False)
    entries = await store.list_audit(10, subject="a.example.com")
    assert [(each.action, each.actor) for each in entries] == [("domain.mailed", "uid:0")] * 2
    assert entries[0].detail == "workspace acme, to admin@example.com postmaster@example.com"
    await store.delete_mail_proof("a.example.com")
    assert await store.mail_proof("a.example.com") is None


async def test_tries_are_counted_and_an_end_is_only_that_of_the_mail_that_was_seen(store: Store) -> None:
    assert await store.note_mail_try("a.example.com") == 0
    await put(store, proof())
    assert [await store.note_mail_try("a.example.com") for _ in range(3)] == [1, 2, 3]
    await store.end_mail_proof(proof(link_digest=b"older"))
    assert await store.mail_proof("a.example.com") == proof(tries=3)
    await store.end_mail_proof(proof())
    assert await store.mail_proof("a.example.com") == proof(tries=3, expires_at=0.0)


async def test_mails_are_counted_by_their_addresses_and_by_workspace(store: Store) -> None:
    await put(store, proof(sends=3))
    await put(store, proof("b.example.com", workspace_id="other"))
    await put(store, proof("c.example.org", addresses="admin@example.org"))
    await put(store, proof("d.example.com", sent_at=NOW - DAY))
    assert await store.mails_sent(proof().addresses, "acme", NOW - DAY) == (4, 4)
    assert await store.mails_sent("nobody@example.com", "nobody", 0.0) == (0, 0)


async def test_old_ones_are_forgotten(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("edgeproxy.control.store.base.CLEAN_EVERY", 1)
    old = proof(sent_at=NOW - KEPT_SECONDS)
    await put(store, old)
    await put(store, msgspec.structs.replace(proof("b.example.com")))
    assert await store.mail_proof("a.example.com") is None
