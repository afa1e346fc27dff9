"""Domains that are proven by mail, over a real store and a real mail server."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator
from typing import Any

import msgspec
import pytest

from edgeproxy.config.mail import Mail
from edgeproxy.config.platform import Api, Platform
from edgeproxy.config.structs import Config
from edgeproxy.config.visitors import Listen
from edgeproxy.control.domains.mail_proof import LIFETIME, PAUSES, TRIES, ProofRefused, TooManyMails
from edgeproxy.control.domains.mail_proving import MailProving
from edgeproxy.control.mail import Mailer, MailFailed
from edgeproxy.control.store import Domain, Store
from edgeproxy.model import DomainState
from edgeproxy.units import Duration
from tests.control.store.making import NOW
from tests.mailbox import Mailbox, Received

HOST = "gallery.client-domain.co.uk"


class World:
    def __init__(self, store: Store, mailbox: Mailbox) -> None:
        self.store, self.mailbox, self.now = store, mailbox, NOW
        self.woken = asyncio.Event()
        self.proving = self.made()

    def made(self, **mail: Any) -> MailProving:
        wanted: dict[str, Any] = {"server": "127.0.0.1", "port": self.mailbox.port, "security": "none"}
        settings = Mail(**(wanted | {"sender": "edge@ve.ai", "timeout": Duration(20)} | mail))
        config = Config(
            api=Api(hostname="api.ve.ai"), platform=Platform(name="ve.ai"), listen=Listen(public_https_port=8443), mail=settings
        )
        return MailProving(config, self.store, Mailer(config), lambda: self.now, key=b"k" * 32, wake=self.woken.set)

    async def add(self, host: str = HOST, **more: object) -> Domain:
        domain = await self.store.add_domain(host, "acme", state=DomainState.PENDING_VALIDATION, actor="t", now=self.now)
        changed = msgspec.structs.replace(domain, **more)
        done = await self.store.advance_domain(domain, changed, actor="t", now=self.now)
        assert done is not None
        return done

    async def send(self, domain: Domain) -> tuple[str, str, Received]:
        """(link, code, mail)."""
        await self.proving.send(domain, actor="uid:0")
        mail = self.mailbox.next()
        part = mail.message.get_body(("plain",))
        assert part is not None
        text = part.get_content()
        (link,) = re.findall(r"https://api\.ve\.ai:8443/confirm/(\S+)", text)
        (code,) = re.findall(r"[0-9]{4} [0-9]{4}", text)
        return link, code, mail

    async def refused(self, code: str, doing: Any) -> None:
        with pytest.raises(ProofRefused) as raised:
            await doing
        assert raised.value.code == code


@pytest.fixture
async def world(store: Store) -> AsyncIterator[World]:
    with Mailbox() as mailbox:
        yield World(store, mailbox)


async def test_a_domain_is_proven_by_the_code_once(world):
    domain = await world.add(error_code="no_record", error_detail="x", error_fault="customer_dns")
    _, code, mail = await world.send(domain)
    assert mail.recipients == [
        f"{part}@client-domain.co.uk" for part in ("admin", "administrator", "webmaster", "hostmaster", "postmaster")
    ]
    world.now += 100
    proven = await world.proving.confirm_code(domain, code, actor="token:1")
    assert world.woken.is_set()
    assert proven == await world.store.get_domain(HOST)
    assert (proven.state, proven.verified_at, proven.method) == (DomainState.AWAITING_CUTOVER, NOW + 100, "email")
    assert (proven.next_look, proven.looking_since, proven.error_code) == (NOW + 100, NOW + 100, "")
    assert [event.type for event in await world.store.events_after(0, 10)][-1:] == ["domain.verified"]
    (entry,) = (each for each in await world.store.list_audit(100, subject=HOST) if each.action == "domain.state")
    assert (entry.actor, entry.detail) == ("token:1", "pending_validation to awaiting_cutover, proven by mail")
    await world.refused("no_mail", world.proving.confirm_code(domain, code, actor="t"))


async def test_a_domain_is_proven_by_the_link_once_and_looking_at_it_proves_nothing(world):
    domain = await world.add(parked_at=NOW, state=DomainState.PARKED, method="cname")
    link, code, _ = await world.send(domain)
    for _ in range(3):
        assert (await world.proving.of_link(link)).hostname == HOST
    assert (await world.store.get_domain(HOST)).state is DomainState.PARKED
    proven = await world.proving.confirm_link(link)
    assert (proven.state, proven.parked_at) == (DomainState.AWAITING_CUTOVER, None)
    assert await world.proving.of_link(link) is None
    await world.refused("no_mail", world.proving.confirm_link(link))
    await world.refused("no_mail", world.proving.confirm_code(domain, code, actor="t"))
    await world.refused("no_mail", world.proving.confirm_link("x" * 43))


async def test_the_store_has_digests_only(world, tmp_path):
    link, code, _ = await world.send(await world.add())
    await world.store.close()
    data = b"".join(path.read_bytes() for path in tmp_path.glob("edgeproxy.db*"))
    assert HOST.encode() in data
    assert not any(secret.encode() in data for secret in (link, code, code.replace(" ", "")))


async def test_codes_may_be_tried_a_few_times_and_then_not_even_the_right_one_counts(world):
    domain = await world.add()
    _, code, _ = await world.send(domain)
    wrong = f"{(int(code.replace(' ', '')) + 1) % 10**8:08d}"
    for _ in range(TRIES):
        await world.refused("wrong_code", world.proving.confirm_code(domain, wrong, actor="t"))
    await world.refused("too_many_tries", world.proving.confirm_code(domain, code, actor="t"))
    world.now += PAUSES[0]
    _, code, _ = await world.send(domain)
    assert (await world.proving.confirm_code(domain, code, actor="t")).verified_at


async def test_tries_at_the_same_moment_are_counted_one_by_one(world):
    domain = await world.add()
    _, code, _ = await world.send(domain)
    wrong = f"{(int(code.replace(' ', '')) + 1) % 10**8:08d}"
    tried = [world.proving.confirm_code(domain, wrong, actor="t") for _ in range(20)]
    found = await asyncio.gather(*tried, return_exceptions=True)
    assert (
        sorted(error.code for error in found if isinstance(error, ProofRefused)) == ["too_many_tries"] * 15 + ["wrong_code"] * 5
    )


async def test_an_older_mail_and_one_whose_time_is_over_count_no_more(world):
    domain = await world.add()
    old_link, old_code, _ = await world.send(domain)
    with pytest.raises(TooManyMails, match="1 s ago"):
        await world.proving.send(domain, actor="t")
    world.now += PAUSES[0]
    link, code, _ = await world.send(domain)
    assert await world.proving.of_link(old_link) is None
    if old_code != code:
        await world.refused("wrong_code", world.proving.confirm_code(domain, old_code, actor="t"))
    world.now += LIFETIME
    assert await world.proving.of_link(link) is None
    await world.refused("no_mail", world.proving.confirm_code(domain, code, actor="t"))


async def test_a_mail_that_was_not_taken_leaves_the_one_before_and_can_be_tried_at_once(world):
    domain = await world.add()
    broken = world.made(port=1, server="127.0.0.1")
    for _ in range(2):
        with pytest.raises(MailFailed):
            await broken.send(domain, actor="t")
    link, code, _ = await world.send(domain)
    world.now += PAUSES[0]
    with pytest.raises(MailFailed):
        await broken.send(domain, actor="t")
    assert await world.proving.of_link(link) is not None
    assert (await world.proving.confirm_code(domain, code, actor="t")).verified_at


async def test_what_no_mail_can_prove_gets_none(world):
    for host, code, more in (
        ("*.example.com", "proof_needed", {}),
        ("held.example.com", "proof_needed", {"must_prove": True}),
        ("done.example.com", "nothing_to_prove", {"state": DomainState.ACTIVE, "verified_at": NOW}),
        ("off.example.com", "nothing_to_prove", {"state": DomainState.SUSPENDED}),
    ):
        await world.refused(code, world.proving.send(await world.add(host, **more), actor="t"))
    assert world.mailbox.connections == 0


async def test_a_mail_proves_nothing_for_whoever_has_the_name_afterwards(world):
    domain = await world.add()
    link, code, _ = await world.send(domain)
    await world.store.remove_domain(HOST, actor="t", now=world.now)
    await world.refused("no_mail", world.proving.confirm_link(link))
    await world.store.add_domain(HOST, "other", state=DomainState.PENDING_VALIDATION, actor="t", now=world.now)
    await world.refused("no_mail", world.proving.confirm_link(link))
    theirs = await world.store.get_domain(HOST)
    await world.refused("no_mail", world.proving.confirm_code(theirs, code, actor="t"))
    assert (await world.store.get_domain(HOST)).verified_at is None


async def test_many_names_of_one_domain_are_one_domains_mail(world):
    for number in range(10):
        await world.proving.send(await world.add(f"h{number}.example.com"), actor="t")
    with pytest.raises(TooManyMails, match="to this domain"):
        await world.proving.send(await world.add("h10.example.com"), actor="t")
    await world.proving.send(await world.add("h.example.org"), actor="t")
