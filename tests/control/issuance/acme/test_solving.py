"""Whether a challenge can be used, and that its answer comes and goes."""

import asyncio

import pytest

from edgeproxy.config.dns import Dns
from edgeproxy.config.visitors import Listen
from edgeproxy.control.issuance.acme import solving as module
from edgeproxy.control.issuance.acme.account import Account, Accounts
from edgeproxy.control.issuance.acme.challenges import NotApplicable
from edgeproxy.control.issuance.acme.problems import CaRefused
from edgeproxy.control.issuance.acme.solving import Solving
from edgeproxy.control.issuance.acme.transport import Transport
from edgeproxy.control.issuance.acme.trials import NOT_OFFERED
from edgeproxy.control.issuance.acme.wire import Challenge
from edgeproxy.control.store import Order
from edgeproxy.errors import Fault, StateError
from tests.control.dns.answering import scripted
from tests.control.issuance.conftest import changed
from tests.control.issuance.fakeca import DIRECTORY

NAME, WILD = "a.example", "*.a.example"
WHERE = "_validation-persist.a.example"


@pytest.fixture
async def dns():
    async with scripted() as server:
        yield server


@pytest.fixture
async def make(world, dns, seconds):
    """Makes what is tested, for the CA and the resolver of the test."""
    made = []

    def make(**sections):
        config = changed(world.config(), **({"dns": Dns(resolvers=(dns.address,))} | sections))
        transport = Transport(DIRECTORY, "", world.clock, seconds, world.ca, seconds.sleep)
        made.append(transport)
        accounts = Accounts(config, world.store, transport, world.clock)
        solving = Solving(config, world.store, world.publisher, world.sealer, world.clock, transport, accounts, seconds.sleep)
        return solving, accounts

    yield make
    for transport in made:
        await transport.close()


def offered(kind, **fields):
    return Challenge(type=kind, url="u", **fields)


async def told(work):
    with pytest.raises(NotApplicable) as caught:
        await work
    return caught.value


async def test_what_the_configuration_lacks_is_told_before_anybody_is_asked(world, dns, make):
    solving, _ = make(listen=Listen(http=()))
    await solving.check("tls-alpn-01", NAME)
    assert (await told(solving.check("http-01", NAME))).fault is Fault.OPERATOR
    assert (await told(solving.check("dns-01", NAME))).fault is Fault.OPERATOR
    assert dns.asked == []
    assert world.ca.asked == []


async def test_dns_01_needs_the_cname(dns, make):
    solving, _ = make(dns=Dns(resolvers=(dns.address,), zone="acme.edge.example"))
    assert "_acme-challenge.a.example is not a CNAME" in (await told(solving.check("dns-01", NAME))).detail


async def test_the_persistent_record_is_looked_for_and_shown(world, dns, make):
    world.ca.meta = {"caaIdentities": ["ca.example"]}
    solving, accounts = make()
    account = (await accounts.get()).kid
    wanted = f"ca.example; accounturi={account}"
    error = await told(solving.check("dns-persist-01", NAME))
    assert error.detail == f'{WHERE} is not set. Its owner must set {WHERE} to TXT "{wanted}".'
    assert error.fault is Fault.CUSTOMER_DNS
    dns.zone[WHERE, "TXT"] = ['"v=other"', f'"ca.example; accounturi={account}9"']
    error = await told(solving.check("dns-persist-01", NAME))
    assert "is there, but its accounturi is another one. Its owner" in error.detail
    dns.zone[WHERE, "TXT"].append(f'"ca.example;" " accounturi={account}"')
    await solving.check("dns-persist-01", NAME)
    error = await told(solving.check("dns-persist-01", WILD))
    assert f'policy=wildcard. Its owner must set {WHERE} to TXT "{wanted}; policy=wildcard".' in error.detail
    dns.broken.add(WHERE)
    assert "cannot be seen" in (await told(solving.check("dns-persist-01", NAME))).detail


async def test_a_ca_that_does_not_tell_its_names_beforehand_is_believed_what_the_record_says(dns, make):
    solving, accounts = make()
    account = await accounts.get()
    assert "<the CA's domain>" in (await told(solving.check("dns-persist-01", NAME))).detail
    dns.zone[WHERE, "TXT"] = [f'"ca2.example; accounturi={account.kid}"']
    await solving.check("dns-persist-01", NAME)
    challenge = offered("dns-persist-01", issuer_domain_names=("ca1.example", "ca2.example"))
    await solving.show(NAME, challenge, account)
    assert solving.known_issuers() == ("ca1.example", "ca2.example")
    assert "ca1.example; accounturi" in (await told(solving.check("dns-persist-01", "b.example"))).detail


async def test_the_account_uri_of_the_challenge_counts_before_the_account_s_url(dns, make):
    solving, accounts = make()
    account = await accounts.get()
    dns.zone[WHERE, "TXT"] = ['"ca.example; accounturi=urn:account:7"']
    challenge = offered("dns-persist-01", issuer_domain_names=("ca.example",), accounturi="urn:account:7")
    await solving.show(NAME, challenge, account)


async def test_a_challenge_without_usable_issuers_is_as_good_as_none(make):
    solving, accounts = make()
    with pytest.raises(CaRefused, match="no usable issuer domain name") as caught:
        await solving.show(NAME, offered("dns-persist-01", issuer_domain_names=("A B",)), await accounts.get())
    assert caught.value.problem == NOT_OFFERED


@pytest.mark.parametrize(("kind", "key"), [("http-01", "http:a.example/tok"), ("tls-alpn-01", "alpn:a.example")])
async def test_answers_of_the_map_come_and_go(world, make, kind, key):
    solving, accounts = make()
    await solving.show(NAME, offered(kind, token="tok"), await accounts.get())
    assert await world.challenges() == [key]
    await solving.hide(NAME)
    assert await world.challenges() == []


async def test_no_token_gets_anywhere(make):
    solving, _ = make(dns=Dns(zone="acme.edge.example"))
    account = Account("u", None, "thumb")  # type: ignore[arg-type]
    for kind in ("http-01", "tls-alpn-01", "dns-01"):
        with pytest.raises(CaRefused, match="without a usable token"):
            await solving.show(NAME, offered(kind, token="../x"), account)


async def test_trouble_at_tidying_covers_nothing_and_takes_no_time(world, make, monkeypatch):
    solving, _ = make()

    async def full(*_):
        raise StateError("The disk is full.")

    monkeypatch.setattr(world.store, "delete_challenges", full)
    await solving.hide_or_say(NAME)
    monkeypatch.setattr(module, "HIDE_TIME", 0.01)

    async def slow(*_):
        await asyncio.sleep(3600)

    monkeypatch.setattr(world.store, "delete_challenges", slow)
    await solving.hide_or_say(NAME)


async def test_what_was_left_is_swept_for_names_without_an_order(world, make):
    solving, _ = make(dns=Dns(zone="acme.edge.example"))
    place = solving._dns.places[0]
    for name in (NAME, "b.example"):
        await place.put(name, "value")
    row = Order(hostname=NAME, directory=DIRECTORY, step="ordered", key=b"k", started_at=1.0)
    await world.store.save_order(row, 1.0)
    await solving.sweep()
    assert await place.left_behind() == [NAME]
    await world.store.delete_order(NAME)
    await solving.sweep_at_times()
    assert await place.left_behind() == [NAME]
    world.clock.ahead = module.SWEEP_SECONDS + 1
    await solving.sweep_at_times()
    assert await place.left_behind() == []


async def test_what_cannot_be_swept_is_said_and_tried_again(world, make, monkeypatch):
    solving, _ = make(dns=Dns(zone="acme.edge.example"))
    tries = []

    async def broken(*_):
        tries.append(1)
        raise StateError("The disk is gone.")

    monkeypatch.setattr(solving._dns, "sweep", broken)
    for hour in (1, 2):
        world.clock.ahead = hour * module.SWEEP_SECONDS + 1
        for _ in range(2):
            await solving.sweep_at_times()
    assert len(tries) == 2
