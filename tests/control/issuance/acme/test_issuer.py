"""One order per name, whatever happens in between."""

import asyncio
import contextlib

import msgspec
import pytest
from cryptography import x509

from edgeproxy.config.dns import Dns
from edgeproxy.config.visitors import Tls
from edgeproxy.control.dns.zone import zone_label
from edgeproxy.control.issuance.acme import dns01
from edgeproxy.control.issuance.acme.challenges import NotApplicable
from edgeproxy.control.issuance.acme.problems import CaRefused
from edgeproxy.control.issuance.acme.renewalinfo import identifier
from edgeproxy.control.issuance.certificates import load_key
from edgeproxy.control.store import Order, StoredCertificate
from edgeproxy.errors import Fault, IssuanceError, StateError
from tests.control.dns.answering import scripted
from tests.control.issuance.acme.conftest import NAME, issue, kinds_tried
from tests.control.issuance.conftest import changed
from tests.control.issuance.fakeca import HOST, Refuse, answer
from tests.ports import free_port


async def test_a_certificate_is_obtained_in_seven_requests_after_the_first(world, issuers):
    issuer = issuers()
    await issuer.prepare()
    assert world.ca.asked == ["dir", "nonce", "account"]
    issued, steps = await issue(issuer)
    assert world.ca.asked[3:] == ["new", "authz", "challenge", "authz", "finalize", "order", "cert"]
    assert issued.names == (NAME,)
    assert x509.load_pem_x509_certificates(issued.chain)[0].public_key() == load_key(issued.key).public_key()
    assert steps == ["Ordering the certificate", "The CA checks a.example by tls-alpn-01", "The CA signs the certificate"]
    assert kinds_tried(world.ca) == ["tls-alpn-01"]
    await issuer.settled(NAME)
    assert await world.store.order_for(NAME) is None
    assert await world.challenges() == []


async def test_the_answer_is_published_before_the_ca_is_told(world, issuers):
    seen = []
    record = world.store.published_challenges

    def told():
        seen.append(world.publisher.reached)

    world.ca.plan("challenge", told)
    before = await world.store.head_change()
    await issue(issuers())
    assert seen[0] >= before + 1
    assert await record(["alpn:" + NAME])


async def test_every_certificate_has_its_own_key(issuers):
    issuer = issuers()
    first, _ = await issue(issuer)
    await issuer.settled(NAME)
    second, _ = await issue(issuer)
    assert first.key != second.key


@pytest.mark.parametrize("kind", ["p384", "rsa2048"])
async def test_keys_are_of_the_configured_kind(world, issuers, kind):
    issued, _ = await issue(issuers(changed(world.config(), tls=Tls(key_type=kind))))
    assert load_key(issued.key).key_size == {"p384": 384, "rsa2048": 2048}[kind]


@pytest.mark.parametrize("name", ["*.example.com", "localhost", "a.localhost"])
async def test_what_acme_cannot_have_is_refused_clearly_without_asking(world, issuers, name):
    with pytest.raises(IssuanceError) as caught:
        await issue(issuers(), name)
    assert caught.value.fault is Fault.OPERATOR
    assert not caught.value.retryable
    assert 'issuance.directory = "internal"' in caught.value.detail
    assert world.ca.asked == []


async def test_a_challenge_that_fails_falls_over_to_the_next(world, issuers):
    world.ca.fails = {"tls-alpn-01": "tls"}
    issued, steps = await issue(issuers())
    assert issued.names == (NAME,)
    assert kinds_tried(world.ca) == ["tls-alpn-01", "http-01"]
    assert "tls-alpn-01 failed; trying http-01" in steps
    assert await world.challenges() == [f"http:{NAME}/{world.ca.orders[1].challenges['http-01']['token']}"]


async def test_the_configured_order_of_challenges_counts(world, issuers):
    world.ca.fails = {"http-01": "connection"}
    await issue(issuers(challenges=("http-01", "dns-01", "tls-alpn-01")))
    assert kinds_tried(world.ca) == ["http-01", "tls-alpn-01"]


async def test_when_every_challenge_fails_the_last_reason_is_told_and_nothing_remains(world, issuers):
    world.ca.fails = {"tls-alpn-01": "tls", "http-01": "connection"}
    with pytest.raises(CaRefused, match=r"could not connect to a\.example on port 80") as caught:
        await issue(issuers())
    assert caught.value.fault is Fault.CUSTOMER_DNS
    assert len(world.ca.orders) == 2
    assert await world.store.order_for(NAME) is None
    assert await world.challenges() == []


@pytest.mark.parametrize("code", ["caa", "dns", "rejectedIdentifier", "rateLimited"])
async def test_a_reason_that_no_challenge_changes_is_not_tried_with_another(world, issuers, code):
    world.ca.fails = {"tls-alpn-01": code}
    with pytest.raises(CaRefused):
        await issue(issuers())
    assert len(world.ca.orders) == 1
    assert await world.challenges() == []


@pytest.fixture
async def dns():
    async with scripted() as server:
        yield server


def by_dns(world, server, *challenges, **dns):
    """A configuration that asks this server and tries these challenges."""
    return changed(world.config(challenges=challenges), dns=Dns(resolvers=(server.address,), **dns))


async def test_when_none_is_left_each_is_told_with_its_reason(world, issuers, dns):
    world.ca.fails = {"tls-alpn-01": "tls", "http-01": "connection"}
    with pytest.raises(CaRefused) as caught:
        await issue(issuers(by_dns(world, dns, "tls-alpn-01", "http-01", "dns-01", zone="acme.edge.example")))
    said = caught.value.detail
    assert said.startswith("No challenge proves a.example to the CA. tls-alpn-01: The TLS handshake")
    assert " http-01: The CA could not connect to a.example on port 80" in said
    wanted = f"{zone_label(NAME)}.acme.edge.example"
    assert f" dns-01: _acme-challenge.a.example is not a CNAME. Its owner must set it to CNAME {wanted}" in said
    assert caught.value.fault is Fault.CUSTOMER_DNS
    assert len(world.ca.orders) == 2


async def test_a_name_that_no_challenge_can_be_used_for_costs_no_order(world, issuers, dns):
    issuer = issuers(by_dns(world, dns, "tls-alpn-01", "dns-01", zone="acme.edge.example"))
    with pytest.raises(NotApplicable, match="Its owner must set it to CNAME"):
        await issue(issuer, "*.a.example")
    assert "new" not in world.ca.asked
    assert await world.store.list_orders() == []


async def test_an_answer_that_cannot_be_put_gives_way_to_another_challenge_of_the_same_order(world, issuers, dns, monkeypatch):
    monkeypatch.setattr(dns01, "OWN_TIME", 0.0)
    monkeypatch.setattr(dns01, "OWN_PATIENCE", 0.2)
    dns.zone["_acme-challenge.a.example", "CNAME"] = [f"{zone_label(NAME)}.acme.edge.example"]
    quiet = f"127.0.0.1:{free_port()}"
    config = by_dns(world, dns, "dns-01", "http-01", zone="acme.edge.example", listen=(quiet,))
    issued, steps = await issue(issuers(config))
    assert issued.challenge == "http-01"
    assert len(world.ca.orders) == 1
    told = steps.index("dns-01 cannot be used; trying http-01")
    assert steps[told - 1] == "The record of a.example for dns-01 is put into the DNS"
    assert [key for key in await world.challenges() if key.startswith("dns:")] == []


async def test_a_challenge_that_is_not_offered_gives_way_within_the_same_order(world, issuers, dns):
    world.ca.offers = ("http-01",)
    issued, _ = await issue(issuers(by_dns(world, dns, "tls-alpn-01", "http-01")))
    assert issued.challenge == "http-01"
    assert len(world.ca.orders) == 1


@pytest.mark.parametrize("name", [NAME, "*.a.example"])
async def test_the_persistent_record_is_enough_for_a_name_and_with_its_policy_for_a_wildcard(world, issuers, dns, name):
    world.ca.offers = ("http-01", "dns-persist-01")
    issuer = issuers(by_dns(world, dns, "dns-persist-01"))
    await issuer.prepare()
    record = f"ca.example; accounturi={(await issuer._accounts.get()).kid}; policy=wildcard"
    dns.zone["_validation-persist.a.example", "TXT"] = [f'"{record}"']
    issued, _ = await issue(issuer, name)
    assert (issued.names, issued.challenge) == ((name,), "dns-persist-01")
    assert await issuer.account() == ((await issuer._accounts.get()).kid, ("ca.example",))


async def test_a_renewal_begins_with_what_worked_last(world, issuers):
    world.ca.fails = {"tls-alpn-01": "tls"}
    first = issuers()
    issued, _ = await issue(first)
    await keep(world, issued)
    await first.settled(NAME)
    world.ca.fails = {}
    renewed, _ = await issue(issuers())
    assert renewed.challenge == "http-01"
    assert kinds_tried(world.ca) == ["tls-alpn-01", "http-01", "http-01"]


async def test_what_worked_is_remembered_though_the_ca_did_not_look_this_time(world, issuers):
    issuer = issuers(challenges=("http-01", "tls-alpn-01"))
    issued, _ = await issue(issuer)
    await keep(world, issued)
    await issuer.settled(NAME)

    def valid():
        order = world.ca.orders[-1]
        order.authorization, order.status = "valid", "ready"

    world.ca.plan("authz", valid)
    again, _ = await issue(issuers())
    assert again.challenge == "http-01"


async def keep(world, issued):
    """Stores a certificate as the service does."""
    stored = StoredCertificate(
        id=issued.id,
        names=issued.names,
        chain=issued.chain,
        sealed_key=b"sealed",
        not_before=issued.not_before,
        not_after=issued.not_after,
        renew_at=issued.not_after,
        challenge=issued.challenge,
    )
    await world.store.add_certificate(stored, world.clock())


async def test_after_all_have_failed_the_next_try_begins_with_all(world, issuers, monkeypatch, dns):
    """Also where the order lived on, because the last one failed here and not at the CA."""
    monkeypatch.setattr(dns01, "OWN_TIME", 0.0)
    monkeypatch.setattr(dns01, "OWN_PATIENCE", 0.2)
    dns.zone["_acme-challenge.a.example", "CNAME"] = [f"{zone_label(NAME)}.acme.edge.example"]
    quiet = f"127.0.0.1:{free_port()}"
    config = by_dns(world, dns, "tls-alpn-01", "dns-01", zone="acme.edge.example", listen=(quiet,))
    world.ca.fails = {"tls-alpn-01": "tls"}
    with pytest.raises(CaRefused, match=r"dns-01: The DNS server of this edge does not answer"):
        await issue(issuers(config))
    world.ca.fails = {}
    issued, _ = await issue(issuers(config))
    assert issued.challenge == "tls-alpn-01"
    assert len(world.ca.orders) == 2, "the order that nobody had failed at the CA was gone on with"


REQUESTS = ["account", "new", "authz", "challenge", "authz", "finalize", "order", "cert"]


@pytest.mark.parametrize("handled", [True, False], ids=["after", "before"])
@pytest.mark.parametrize("place", range(len(REQUESTS)))
async def test_a_process_that_ends_at_any_request_leaves_an_order_that_the_next_one_finishes(world, issuers, place, handled):
    """`handled`: the CA had done what was asked; the process ended before it heard of it."""

    class Ended(BaseException):
        pass

    def end():
        raise Ended

    kind = REQUESTS[place]
    before = REQUESTS[:place].count(kind)
    world.ca.plan(kind, *[lambda: None] * before, *(["lose-and-end"] if handled else [end]))
    original = world.ca.handle_async_request

    async def handle(request):
        plans = world.ca.plans
        ending = plans and plans[0] == (request.url.path.split("/")[1], "lose-and-end")
        if ending:
            plans.pop(0)
        answered = await original(request)
        if ending:
            raise Ended
        return answered

    world.ca.handle_async_request = handle
    issuer = issuers()
    issuer._hide = _nothing  # a process that is killed cleans up nothing
    with pytest.raises(Ended):
        await issue(issuer)
    assert world.ca.plans == []
    successor = issuers()
    if kind != "account":
        assert await successor.unsettled() == [NAME]
    await issue(successor)
    await successor.settled(NAME)
    assert len(world.ca.orders) == 1
    assert len(world.ca.accounts) == 1
    assert await world.challenges() == []
    assert await world.store.order_for(NAME) is None


async def _nothing(_name):
    return None


async def test_an_order_that_the_ca_does_not_have_any_more_is_replaced(world, issuers):
    issuer = issuers()
    await issue(issuer, "b.example")
    key = (await issue(issuer))[0].key
    for url in (f"{HOST}/order/99999", f"{HOST}/order/1"):
        world.ca.orders[1].status = "invalid"
        row = Order(
            hostname=NAME, directory=issuer.directory, url=url, step="ordered", key=key, data=b"http-01", started_at=1.0
        )
        await world.store.save_order(row, 1.0)
        if url.endswith("99999"):
            world.ca.plan("order", Refuse("malformed", 404))
        await issue(issuers())
    assert [order.name for order in world.ca.orders].count(NAME) == 3
    assert kinds_tried(world.ca)[-1] == "http-01", "what was being tried goes on being tried"


async def test_an_order_at_another_directory_is_dropped(world, issuers):
    row = Order(hostname=NAME, directory="https://other.example/dir", url="u", step="ordered", key=b"k", started_at=1.0)
    await world.store.save_order(row, 1.0)
    issuer = issuers()
    assert await issuer.unsettled() == []
    await issue(issuer)
    assert (await world.store.order_for(NAME)).directory == issuer.directory


async def test_a_ca_in_trouble_keeps_the_order_for_later(world, issuers):
    world.ca.plan("finalize", answer(503))
    issuer = issuers()
    with pytest.raises(CaRefused) as caught:
        await issue(issuer)
    assert caught.value.about_the_ca
    assert await world.challenges() == []
    await issue(issuer)
    assert len(world.ca.orders) == 1


async def test_cancelling_removes_the_answer_and_keeps_the_order(world, issuers):
    started = asyncio.Event()
    world.ca.plan("challenge", started.set)
    world.ca.polls_needed = 10**9
    task = asyncio.create_task(issue(issuers()))
    await started.wait()
    task.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await task
    assert await world.challenges() == []
    assert (await world.store.order_for(NAME)).url


async def test_an_unreachable_ca_is_said_to_be_unreachable(world, issuers):
    world.ca.plan("dir", "refuse")
    with pytest.raises(CaRefused, match=r"The certificate authority at ca\.example cannot be reached"):
        await issue(issuers())


async def test_a_store_that_fails_at_tidying_does_not_cover_the_reason(world, issuers, monkeypatch):
    world.ca.fails = {"tls-alpn-01": "caa"}

    async def full(*_arguments):
        raise StateError("The disk is full.", retryable=True)

    monkeypatch.setattr(world.store, "delete_challenges", full)
    with pytest.raises(CaRefused, match="CAA record"):
        await issue(issuers())


async def test_every_unfinished_order_is_found_however_many(world, issuers, monkeypatch):
    issuer = issuers()
    for number in range(7):
        row = Order(hostname=f"n{number}.example", directory=issuer.directory, step="new", key=b"k", started_at=1.0)
        await world.store.save_order(row, 1.0)
    page = world.store.list_orders
    monkeypatch.setattr(world.store, "list_orders", lambda after: page(limit=3, after=after))
    assert len(await issuer.unsettled()) == 7


# Renewal information (RFC 9773)

WINDOW = {"start": "2025-01-02T04:00:00Z", "end": "2025-01-03T04:00:00Z"}


async def renewed(world, issuers, issuer=None):
    """One that has its first certificate in the store, and what is known of that."""
    issuer = issuer or issuers()
    issued, _ = await issue(issuer)
    stored = StoredCertificate(
        id=issued.id,
        names=issued.names,
        chain=issued.chain,
        sealed_key=b"sealed",
        not_before=issued.not_before,
        not_after=issued.not_after,
        renew_at=issued.not_after,
        issuer=issuer.directory,
    )
    await world.store.add_certificate(stored, world.clock())
    await issuer.settled(NAME)
    return issuer, stored


async def test_the_ca_is_asked_when_to_renew_a_certificate_by_its_identifier(world, issuers):
    world.ca.window, world.ca.retry_after = WINDOW, "3600"
    issuer, stored = await renewed(world, issuers)
    assert issuer.replaces
    found = await issuer.suggestion(stored.chain)
    assert (found.start, found.end, found.retry_after) == (1735790400.0, 1735876800.0, 3600.0)
    assert world.ca.asked_about == [identifier(stored.chain)]


async def test_a_ca_without_renewal_information_is_not_asked_and_told_of_nothing_that_is_replaced(world, issuers):
    issuer, stored = await renewed(world, issuers)
    assert not issuer.replaces
    assert not await issuer.suggests()
    assert await issuer.suggestion(stored.chain) is None
    await issue(issuer)
    assert "replaces" not in world.ca.last_order


async def test_before_the_directory_was_read_nobody_knows_whether_orders_replace(world, issuers):
    world.ca.window = WINDOW
    issuer = issuers()
    assert not issuer.replaces
    assert await issuer.suggests()
    assert issuer.replaces


async def test_a_renewal_says_which_certificate_it_replaces(world, issuers):
    world.ca.window = WINDOW
    issuer, stored = await renewed(world, issuers)
    assert "replaces" not in world.ca.last_order
    begun = []

    async def begin(row, replaces):
        begun.append(replaces)
        await world.store.save_order(row, world.clock())

    issuer.begin = begin
    await issue(issuer)
    assert world.ca.last_order["replaces"] == identifier(stored.chain)
    assert begun == [True]


@pytest.mark.parametrize(("problem", "status"), [("alreadyReplaced", 409), ("malformed", 404), ("unauthorized", 403)])
async def test_an_order_that_may_not_replace_is_made_without_and_is_paid_for(world, issuers, problem, status):
    world.ca.window = WINDOW
    issuer, _ = await renewed(world, issuers)
    begun = []

    async def begin(row, replaces):
        before = await world.store.order_for(NAME)
        begun.append((replaces, None if before is None else before.step))
        await world.store.save_order(row, world.clock())

    issuer.begin = begin
    world.ca.plan("new", Refuse(problem, status))
    await issue(issuer)
    assert "replaces" not in world.ca.last_order
    assert begun == [(True, None), (False, "wanted")]
    assert len(world.ca.orders) == 2


async def test_an_order_that_is_refused_for_another_reason_is_not_repeated(world, issuers):
    world.ca.window = WINDOW
    issuer, _ = await renewed(world, issuers)
    world.ca.plan("new", Refuse("rejectedIdentifier", 400))
    with pytest.raises(CaRefused):
        await issue(issuer)
    assert len(world.ca.orders) == 1


async def test_a_certificate_of_another_ca_is_not_told_to_be_replaced(world, issuers):
    world.ca.window = WINDOW
    issuer, stored = await renewed(world, issuers)
    other = msgspec.structs.replace(stored, id="other", issuer="https://elsewhere.example/dir")
    await world.store.add_certificate(other, world.clock())
    await issue(issuer)
    assert "replaces" not in world.ca.last_order
