"""Uploads and their end, revocation and what takes its place, over a real store and publisher."""

import asyncio

import pytest
from cryptography import x509
from structlog.testing import capture_logs

from edgeproxy.config.platform import Platform
from edgeproxy.config.visitors import Tls
from edgeproxy.control import events
from edgeproxy.control.issuance.acme.problems import CaRefused
from edgeproxy.control.issuance.acme.revocation import Revoker
from edgeproxy.control.issuance.certificates import load_key
from edgeproxy.control.issuance.lifecycle import WARN_DAYS, Lifecycle, days_warned_of
from edgeproxy.control.issuance.upkeep import Upkeep
from edgeproxy.control.issuance.upload import Roots
from edgeproxy.errors import Conflict, Fault, InvalidCertificate, IssuanceDenied, IssuanceError, NotFound
from edgeproxy.model import DomainState
from tests.authorities import Authority, key_text, new_key, pem
from tests.control.issuance.conftest import changed
from tests.control.issuance.fakeca import DIRECTORY, Refuse, answer

NAME = "shop.example.com"
DAY = 86_400.0
ROOT = Authority("Root")
LOWER = Authority("Lower", ROOT)
KEY = new_key()


def chain(*names, days=60.0, key=KEY):
    return pem(LOWER.sign(*(names or (NAME,)), key=key, days=days), LOWER.certificate)


@pytest.fixture
def told(monkeypatch):
    """The events, as they come."""
    told: list[events.Event] = []
    monkeypatch.setattr(events, "_subscribers", [told.append])
    return told


@pytest.fixture
def lifecycle(world, service):
    """Makes lifecycles, each over an issuance service of its own."""

    def make(config=None):
        config = config or world.config()
        issuance = service(config)
        revoker = Revoker(config, world.store, world.clock, world.clock, network=world.ca)
        parts = config, world.store, world.publisher, world.sealer, issuance, issuance._issuer, revoker, world.clock
        return Lifecycle(*parts, roots=lambda: Roots([ROOT.certificate]))

    return make


async def upload(one, text="", key=KEY, name=NAME, auto_renew=True):
    return await one.upload(name, text or chain(), key_text(key), auto_renew=auto_renew, actor="uid:0")


async def served(world, name=NAME):
    return await world.store.current_certificate(name, world.clock())


async def idle(one):
    async with asyncio.timeout(60):
        while one._issuance.pending:
            await asyncio.sleep(0.005)


async def test_an_upload_is_served_when_it_returns(world, lifecycle, told):
    await world.register(NAME)
    one = lifecycle()
    own = await one._issuance.issue(NAME)
    await idle(one)
    uploaded = await upload(one, pem(ROOT.certificate, LOWER.certificate) + chain())
    assert uploaded.notes != ()
    stored = await served(world)
    assert stored.id == uploaded.certificate.id
    assert (stored.issuer, stored.names, stored.custom) == ("custom", (NAME,), True)
    assert world.publisher.reached == await world.store.head_change()
    opened = world.sealer.open(stored.sealed_key, b"key:" + stored.id.encode())
    assert load_key(opened).private_numbers() == KEY.private_numbers()
    assert (await world.store.history_of(NAME))[0].added_by == "uid:0"
    event = told[-1]
    assert (event.name, event.fields["hostname"], event.fields["actor"]) == ("certificate.uploaded", NAME, "uid:0")
    assert await world.store.get_certificate(own.id) is not None


async def test_the_key_is_on_no_disk_in_no_log_and_in_no_event(world, lifecycle, told):
    await world.register(NAME)
    one = lifecycle()
    key = new_key()
    with capture_logs() as logged:
        await upload(one, chain(key=key), key)
        for wrong in (new_key(), KEY):
            with pytest.raises(InvalidCertificate):
                await upload(one, chain(key=key), wrong)
    secret = "".join(key_text(key).splitlines()[1:-1])[60:120]
    number = key.private_numbers().private_value.to_bytes(32, "big")
    everything = repr(logged) + repr(told)
    assert secret not in everything
    for path in world.directory.rglob("*"):
        if path.is_file():
            content = path.read_bytes()
            assert number not in content, path
            assert secret[:40].encode() not in content, path


async def test_a_failure_of_the_name_is_forgotten(world, lifecycle):
    await world.register(NAME)
    one = lifecycle()
    world.ca.fails = {"tls-alpn-01": "dns", "http-01": "dns"}
    with pytest.raises(CaRefused):
        await one._issuance.issue(NAME)
    await idle(one)
    assert await world.store.failure(NAME) is not None
    await upload(one)
    assert await world.store.failure(NAME) is None


async def test_only_names_that_are_served_here_take_an_upload(world, lifecycle):
    one = lifecycle(changed(world.config(), platform=Platform(name="ve.ai")))
    with pytest.raises(IssuanceDenied, match="is not registered here"):
        await upload(one)
    await world.register(NAME, state=DomainState.PENDING_VALIDATION)
    with pytest.raises(IssuanceDenied, match="not verified yet"):
        await upload(one)
    with pytest.raises(Conflict, match=r"is served as one of \*\.ve\.ai") as caught:
        await upload(one, chain("a.ve.ai"), name="a.ve.ai")
    assert caught.value.fault is Fault.CLIENT
    await upload(one, chain("*.ve.ai"), name="*.ve.ai")
    await world.register("*.cust.example")
    with pytest.raises(Conflict, match=r"register a\.cust\.example by itself"):
        await upload(one, chain("a.cust.example"), name="a.cust.example")
    await upload(one, chain("*.cust.example"), name="*.cust.example")
    assert (await served(world, "a.cust.example")).custom


async def test_the_edge_does_not_renew_it_while_it_lasts_and_replaces_it_on_its_last_day(world, lifecycle):
    await world.register(NAME)
    one = lifecycle()
    uploaded = (await upload(one, chain(days=100))).certificate
    upkeep = Upkeep(one._issuance, world.store, one._issuance._issuer, world.clock)
    for days in (1, 40, 70, 98.9):
        world.clock.ahead = days * DAY
        await upkeep.renew_due()
        assert (await served(world)).id == uploaded.id
    assert world.ca.orders == []
    world.clock.ahead = 99.1 * DAY
    await upkeep.renew_due()
    assert (await served(world)).issuer == DIRECTORY
    assert [entry.ended_why for entry in await world.store.history_of(NAME)] == ["", "the edge's own took its place"]


async def test_one_that_must_not_be_replaced_is_not(world, lifecycle):
    await world.register(NAME)
    one = lifecycle()
    await upload(one, chain(days=10), auto_renew=False)
    world.clock.ahead = 9.5 * DAY
    await Upkeep(one._issuance, world.store, one._issuance._issuer, world.clock).renew_due()
    assert world.ca.orders == []
    assert (await served(world)).custom


async def test_a_name_that_is_no_longer_admitted_gets_none_in_its_place(world, lifecycle):
    await world.register(NAME)
    one = lifecycle()
    await upload(one, chain(days=10))
    await world.store.set_domain_state(NAME, DomainState.PARKED, actor="t", now=world.clock())
    world.clock.ahead = 9.5 * DAY
    await Upkeep(one._issuance, world.store, one._issuance._issuer, world.clock).renew_due()
    assert world.ca.orders == []


async def test_its_end_is_told_once_at_30_7_1_and_0_days(world, lifecycle, told):
    await world.register(NAME)
    one = lifecycle()
    await upload(one, chain(days=40))
    told.clear()
    for hour in range(0, 41 * 24, 6):
        world.clock.ahead = hour * 3600.0
        await one.look()
    assert [(event.name, event.fields.get("days")) for event in told] == [
        ("certificate.expiring", 30),
        ("certificate.expiring", 7),
        ("certificate.expiring", 1),
        ("certificate.expired", None),
    ]
    assert told[0].fields["hostname"] == NAME
    assert told[0].fields["auto_renew"] is True


async def test_one_uploaded_late_is_told_of_once(world, lifecycle, told):
    await world.register(NAME)
    one = lifecycle()
    await upload(one, chain(days=5))
    told.clear()
    await one.look()
    await lifecycle().look()
    assert [event.fields["days"] for event in told] == [7]


def test_of_several_warnings_that_are_due_the_most_urgent_counts():
    assert [days_warned_of(days * DAY, 0.0) for days in (30, 29, 7, 6.9, 1, 0.5, 0, -3)] == [30, 30, 7, 7, 1, 1, 0, 0]
    assert list(WARN_DAYS) == sorted(WARN_DAYS, reverse=True)


async def test_removing_it_goes_back_to_the_edges_own(world, lifecycle, told):
    await world.register(NAME)
    one = lifecycle()
    own = await one._issuance.issue(NAME)
    uploaded = (await upload(one)).certificate
    assert (await one.remove_upload(NAME, force=False, actor="uid:7")).id == own.id
    assert await world.store.get_certificate(uploaded.id) is None
    assert len(world.ca.orders) == 1
    assert told[-1].name == "certificate.removed"
    with pytest.raises(NotFound, match="No certificate was uploaded"):
        await one.remove_upload(NAME, force=False, actor="uid:7")


async def test_where_there_is_none_it_is_obtained_first(world, lifecycle):
    await world.register(NAME)
    one = lifecycle()
    uploaded = (await upload(one)).certificate
    during = []
    world.ca.plan("finalize", lambda: during.append(asyncio.ensure_future(served(world))))
    own = await one.remove_upload(NAME, force=False, actor="uid:7")
    assert own.issuer == DIRECTORY
    assert (await during[0]).id == uploaded.id


async def test_where_that_fails_it_stays_unless_forced(world, lifecycle):
    await world.register(NAME)
    one = lifecycle()
    await upload(one)
    world.ca.fails = {"tls-alpn-01": "dns", "http-01": "dns"}
    with pytest.raises(IssuanceError, match=r"left in place.*look up shop.example.com.*certs remove shop.example.com --force"):
        await one.remove_upload(NAME, force=False, actor="uid:7")
    assert (await served(world)).custom
    assert await one.remove_upload(NAME, force=True, actor="uid:7") is None


async def test_of_a_name_that_is_gone_it_is_removed_without_more(world, lifecycle):
    await world.register(NAME)
    one = lifecycle()
    await upload(one)
    await world.store.remove_domain(NAME, actor="t", now=world.clock())
    assert await one.remove_upload(NAME, force=False, actor="uid:7") is None


async def test_it_cannot_be_renewed_or_revoked_here(world, lifecycle):
    await world.register(NAME)
    one = lifecycle()
    await one.refuse_to_renew_an_upload(NAME)
    await upload(one, chain(days=10))
    with pytest.raises(Conflict, match="only its CA can renew it"):
        await one.refuse_to_renew_an_upload(NAME)
    with pytest.raises(Conflict, match="only its CA can revoke it"):
        await one.revoke(NAME, "superseded", actor="uid:0")
    world.clock.ahead = 9.5 * DAY
    await one.refuse_to_renew_an_upload(NAME)


async def test_what_openssl_does_not_take_is_refused(world, lifecycle, monkeypatch):
    await world.register(NAME)

    def refuses(_issued):
        raise InvalidCertificate("no")

    monkeypatch.setattr("edgeproxy.control.issuance.lifecycle.check_loads", refuses)
    with pytest.raises(InvalidCertificate):
        await upload(lifecycle())
    assert await served(world) is None


async def test_what_is_revoked_is_replaced_at_once_with_a_new_key(world, lifecycle, told):
    await world.register(NAME)
    one = lifecycle()
    old = await one._issuance.issue(NAME)
    revoked = await one.revoke(NAME, "keyCompromise", actor="uid:0")
    serial = x509.load_pem_x509_certificate(old.chain).serial_number
    assert world.ca.revoked == [(serial, 1, "account")]
    new = await served(world)
    assert new.id == revoked.replacement.id != old.id
    keys = [x509.load_pem_x509_certificate(stored.chain).public_key() for stored in (old, new)]
    assert keys[0] != keys[1]
    assert await world.store.get_certificate(old.id) is None
    first = (await world.store.history_of(NAME))[-1]
    assert (first.ended_by, first.ended_why, first.serial) == ("uid:0", "revoked: keyCompromise", f"{serial:x}")
    assert f"with the serial number {serial:x} is revoked" in revoked.detail
    assert "A new one with a new key has taken its place." in revoked.detail
    assert [event.name for event in told if event.name == "certificate.revoked"] == ["certificate.revoked"]


async def test_a_name_that_may_have_none_any_more_gets_none_and_its_key_is_destroyed(world, lifecycle):
    await world.register(NAME)
    one = lifecycle()
    old = await one._issuance.issue(NAME)
    await world.store.remove_domain(NAME, actor="t", now=world.clock())
    revoked = await one.revoke(NAME, "cessationOfOperation", actor="uid:0")
    assert revoked.replacement is None
    assert "None takes its place: shop.example.com is not registered here." in revoked.detail
    assert await world.store.get_certificate(old.id) is None


async def test_its_companion_is_revoked_and_destroyed_with_it(world, lifecycle):
    await world.register(NAME)
    one = lifecycle(changed(world.config(), tls=Tls(second_key_type="rsa2048")))
    await one._issuance.issue(NAME)
    await idle(one)
    await one._issuance._issuing.companions.see_to_it(one._issuance)
    old = await served(world)
    assert old.companion is not None
    serials = [x509.load_pem_x509_certificate(each.chain).serial_number for each in (old, old.companion)]
    revoked = await one.revoke(NAME, "keyCompromise", actor="uid:0")
    assert world.ca.revoked == [(serial, 1, "account") for serial in serials]
    assert (await served(world)).id == revoked.replacement.id != old.id
    assert revoked.replacement.companion is None, "a revoked one stays beside nothing"
    ended = {entry.certificate_id: entry.ended_why for entry in await world.store.history_of(NAME)}
    assert ended[old.companion.id]


async def test_one_that_is_not_in_use_any_more_is_revoked_by_its_id(world, lifecycle):
    await world.register(NAME)
    one = lifecycle()
    old = await one._issuance.issue(NAME)
    await idle(one)
    new = await one._issuance.issue(NAME, force=True)
    revoked = await one.revoke(NAME, "superseded", certificate_id=old.id, actor="uid:0")
    assert (await served(world)).id == new.id
    assert revoked.replacement.id == new.id
    assert len(world.ca.orders) == 2
    for wrong in ("nonsense", old.id):
        with pytest.raises(NotFound):
            await one.revoke(NAME, "superseded", certificate_id=wrong, actor="uid:0")


async def test_what_cannot_be_revoked_says_why(world, lifecycle):
    await world.register("*.cust.example", NAME)
    one = lifecycle(world.config("internal"))
    with pytest.raises(NotFound, match="no certificate that could be revoked"):
        await one.revoke(NAME, "superseded", actor="uid:0")
    await one._issuance.issue("*.cust.example")
    with pytest.raises(Conflict, match=r"certs revoke '\*\.cust\.example'"):
        await one.revoke("a.cust.example", "superseded", actor="uid:0")


async def test_the_built_in_ca_has_nothing_to_revoke_with_and_replaces_all_the_same(world, lifecycle):
    await world.register(NAME)
    one = lifecycle(world.config("internal"))
    old = await one._issuance.issue(NAME)
    revoked = await one.revoke(NAME, "keyCompromise", actor="uid:0")
    assert "keeps no list of revoked certificates" in revoked.detail
    assert (await served(world)).id == revoked.replacement.id != old.id


async def test_a_refusal_for_good_changes_nothing(world, lifecycle):
    await world.register(NAME)
    one = lifecycle()
    old = await one._issuance.issue(NAME)
    world.ca.plan("revoke", Refuse("badRevocationReason"))
    with pytest.raises(CaRefused, match="does not take this reason"):
        await one.revoke(NAME, "affiliationChanged", actor="uid:0")
    stored = await served(world)
    assert (stored.id, stored.revocation, stored.renew_at) == (old.id, None, pytest.approx(old.renew_at))


async def test_a_ca_that_is_away_is_asked_again_until_it_takes_it(world, lifecycle):
    await world.register(NAME)
    one = lifecycle()
    old = await one._issuance.issue(NAME)
    await idle(one)
    world.ca.plan("revoke", answer(503))
    with pytest.raises(IssuanceError, match="tried again by itself") as caught:
        await one.revoke(NAME, "superseded", actor="uid:0")
    assert caught.value.retryable
    assert (await served(world)).revocation == "superseded"
    world.ca.plan("revoke", answer(503))
    await one.look()
    assert world.ca.revoked == []
    await lifecycle().look()  # another process
    assert [number for _, number, _ in world.ca.revoked] == [4]
    assert (await served(world)).id != old.id
    assert await world.store.get_certificate(old.id) is None
    assert await world.store.revocations() == []


async def test_while_the_ca_is_away_only_one_of_many_is_asked_for(world, lifecycle):
    one = lifecycle()
    names = [f"n{number}.example" for number in range(4)]
    await world.register(*names)
    for name in names:
        stored = await one._issuance.issue(name)
        await world.store.begin_revocation(stored.id, "superseded", actor="t", now=world.clock())
    before = world.ca.count("revoke")
    world.ca.plan("revoke", *[answer(503) for _ in range(8)])
    await one.look()
    assert world.ca.count("revoke") == before + 1


async def test_without_a_replacement_the_revoked_one_is_served_until_there_is_one(world, lifecycle):
    await world.register(NAME)
    one = lifecycle()
    old = await one._issuance.issue(NAME)
    await idle(one)
    world.ca.fails = {"tls-alpn-01": "dns", "http-01": "dns"}
    revoked = await one.revoke(NAME, "keyCompromise", actor="uid:0")
    assert revoked.replacement is None
    assert "It is served until another can be obtained" in revoked.detail
    assert (await served(world)).id == old.id
    assert (await served(world)).revoked_at is not None
    with pytest.raises(Conflict, match="revoked already"):
        await one.revoke(NAME, "keyCompromise", actor="uid:0")
    world.ca.fails = {}
    world.clock.ahead = 2 * DAY
    await Upkeep(one._issuance, world.store, one._issuance._issuer, world.clock).renew_due()
    assert (await served(world)).id != old.id
    assert await world.store.remove_expired_certificates(world.clock() - DAY, world.clock()) == 1
    assert await world.store.get_certificate(old.id) is None


async def test_a_renewal_has_another_key(world, lifecycle):
    await world.register(NAME)
    one = lifecycle()
    keys = set()
    for _ in range(3):
        stored = await one._issuance.issue(NAME, force=True)
        await idle(one)
        opened = world.sealer.open(stored.sealed_key, b"key:" + stored.id.encode())
        keys.add(key_text(load_key(opened)))
    assert len(keys) == 3


async def test_the_accounts_key_is_changed_and_that_is_noted(world, lifecycle, told):
    await world.register(NAME)
    one = lifecycle()
    await one._issuance.issue(NAME)
    await one.roll_over(actor="uid:0")
    assert world.ca.count("keychange") == 1
    (entry,) = await world.store.list_audit(10, subject=DIRECTORY)
    assert (entry.actor, entry.action) == ("uid:0", "account.rolled_over")
    assert told[-1].name == "account.rolled_over"
    with pytest.raises(IssuanceError, match="has no account"):
        await lifecycle(world.config("internal")).roll_over(actor="uid:0")


async def test_its_task_warns_and_wipes_out_destroyed_keys(world, lifecycle, told):
    await world.register(NAME)
    one = lifecycle()
    stored = (await upload(one, chain(days=3))).certificate
    await world.store.remove_domain(NAME, actor="t", now=world.clock(), destroy_keys=True)
    await world.register(NAME)
    await upload(one, chain(days=3))
    task = asyncio.create_task(one.run())
    try:
        async with asyncio.timeout(60):
            while world.store.database.destroyed.is_set() or not told or told[-1].name != "certificate.expiring":
                await asyncio.sleep(0.01)
        files = [path for path in world.directory.iterdir() if path.is_file()]
        assert not any(stored.sealed_key in path.read_bytes() for path in files)
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
