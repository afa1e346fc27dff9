"""Certificates on demand: who may, one issuance per name, what is remembered."""

import asyncio
import contextlib

import pytest
from cryptography import x509

from edgeproxy.config.platform import Api, Platform
from edgeproxy.control.issuance.acme.issuer import AcmeIssuer
from edgeproxy.control.issuance.acme.problems import CaRefused
from edgeproxy.control.issuance.certificates import load_key
from edgeproxy.control.issuance.internal import InternalIssuer
from edgeproxy.control.issuance.service import (
    BUSY_SECONDS,
    DENIAL_SECONDS,
    FAILURE_SECONDS,
    Issuance,
    Outcome,
)
from edgeproxy.control.store import Failure
from edgeproxy.errors import InvalidName, IssuanceDenied, IssuanceError
from edgeproxy.limits import Limits
from edgeproxy.model import DomainState
from tests.control.issuance.conftest import changed, until
from tests.control.issuance.fakeca import DIRECTORY

NAME = "a.example"


async def test_a_registered_name_gets_a_certificate_that_is_in_the_map(world, service, meter):
    await world.register(NAME)
    one = service()
    assert await one.obtain("A.Example.", "192.0.2.1") == Outcome(True)
    stored = await world.store.current_certificate(NAME)
    assert world.publisher.reached == await world.store.head_change()
    assert stored.issuer == "internal"
    assert stored.not_before < stored.renew_at < stored.not_after
    key = load_key(world.sealer.open(stored.sealed_key, b"key:" + stored.id.encode()))
    assert key.public_key() == x509.load_pem_x509_certificate(stored.chain).public_key()
    assert meter.orders == [("internal", "ok")]
    assert len(meter.seconds) == 1


@pytest.mark.parametrize("name", ["192.0.2.1", "single", "a..b", "\0", "x" * 300 + ".example", ""])
async def test_what_is_not_a_hostname_is_denied_before_anything_is_looked_up(service, name):
    outcome = await service().obtain(name, "192.0.2.1")
    assert (outcome.ok, outcome.denied, outcome.remember) == (False, True, DENIAL_SECONDS)
    assert len(outcome.detail) < 200


async def test_a_name_that_nobody_registered_is_denied(service):
    outcome = await service().obtain(NAME, "192.0.2.1")
    assert outcome == Outcome(False, True, "a.example is not registered here.", DENIAL_SECONDS)


async def test_a_pending_name_is_denied(world, service):
    await world.register(NAME, state=DomainState.PENDING_VALIDATION)
    assert (await service().obtain(NAME, "192.0.2.1")).denied


async def test_a_hundred_handshakes_make_one_order(world, service):
    await world.register(NAME)
    one = service(world.config())
    outcomes = await asyncio.gather(*(one.obtain(NAME, "192.0.2.1") for _ in range(100)))
    assert set(outcomes) == {Outcome(True)}
    assert len(world.ca.orders) == 1


async def test_one_that_was_obtained_while_somebody_asked_is_not_ordered_again(world, service, monkeypatch):
    await world.register(NAME)
    one = service(world.config())
    assert await one.obtain(NAME, "192.0.2.1") == Outcome(True)
    present = one._admissions.present

    async def looked_too_early(name, admission):
        await present(name, admission)

    monkeypatch.setattr(one._admissions, "present", looked_too_early)
    assert await one.obtain(NAME, "192.0.2.1") == Outcome(True)
    assert len(world.ca.orders) == 1


async def test_those_who_leave_do_not_end_the_issuance(world, service):
    await world.register(NAME)
    one = service(world.config())
    waiting = [asyncio.create_task(one.obtain(NAME, "192.0.2.1")) for _ in range(3)]
    while not one.pending:
        await asyncio.sleep(0)
    for task in waiting[:2]:
        task.cancel()
    assert await waiting[2] == Outcome(True)
    with contextlib.suppress(asyncio.CancelledError):
        await waiting[0]


async def test_a_name_with_a_valid_certificate_is_not_issued_again(world, service):
    await world.register(NAME)
    one = service(world.config())
    await one.obtain(NAME, "")
    assert await one.obtain(NAME, "") == Outcome(True)
    assert await service(world.config()).obtain(NAME, "") == Outcome(True)
    assert len(world.ca.orders) == 1


async def test_an_expired_certificate_is_replaced(world, service):
    await world.register(NAME)
    one = service(world.config())
    await one.obtain(NAME, "")
    await until(lambda: not one.pending)
    world.clock.ahead = 100 * 86400
    assert await one.obtain(NAME, "") == Outcome(True)
    assert len(world.ca.orders) == 2


async def test_workspaces_of_the_platform_share_one_wildcard(world, service, meter):
    one = service(changed(world.config("internal"), platform=Platform(name="ve.ai"), api=Api(hostname="api.ve.ai")))
    outcomes = await asyncio.gather(*(one.obtain(f"ws{number}.ve.ai", "") for number in range(20)))
    assert set(outcomes) == {Outcome(True)}
    assert len(meter.orders) == 1
    assert (await world.store.current_certificate("ws1.ve.ai")).names == ("*.ve.ai",)
    assert await one.obtain("ws99.ve.ai", "") == Outcome(True)
    assert (await one.obtain("www.ve.ai", "")).denied
    assert len(meter.orders) == 1


async def test_an_acme_wildcard_is_refused_clearly_and_not_stored_as_a_failure(world, service):
    config = changed(world.config(), platform=Platform(name="ve.ai"))
    outcome = await service(config).obtain("ws1.ve.ai", "")
    assert (outcome.ok, outcome.denied) == (False, False)
    assert "DNS-01" in outcome.detail
    assert outcome.remember == pytest.approx(FAILURE_SECONDS, abs=1)
    assert await world.store.failure("*.ve.ai") is None
    assert world.ca.asked == []


async def test_without_on_demand_nothing_is_issued_at_the_handshake_but_by_the_operator(world, service):
    await world.register(NAME)
    one = service(world.config("internal", on_demand=False))
    outcome = await one.obtain(NAME, "")
    assert (outcome.ok, outcome.denied, outcome.remember) == (False, False, FAILURE_SECONDS)
    await one.issue(NAME)
    assert await one.obtain(NAME, "") == Outcome(True)


async def test_a_network_that_wants_too_many_new_names_gets_no_more_while_others_do(world, service, meter):
    config = changed(world.config("internal", {"patterns": ("*.customers.example",)}), limits=Limits(new_names=3))
    one = service(config)
    names = [f"n{number}.customers.example" for number in range(6)]
    outcomes = [await one.obtain(name, "192.0.2.1") for name in names]
    assert [outcome.ok for outcome in outcomes] == [True] * 3 + [False] * 3
    assert {(outcome.denied, outcome.remember, outcome.limited) for outcome in outcomes[3:]} == {(False, 0.0, True)}
    assert outcomes[3].detail.startswith("192.0.2.0/24 has had certificates obtained for 3 new names")
    assert meter.limited == 3
    assert await one.obtain(names[0], "192.0.2.1") == Outcome(True)  # it has its certificate
    assert await one.obtain(names[3], "198.51.100.1") == Outcome(True)
    assert await one.obtain(names[3], "192.0.2.1") == Outcome(True)
    assert len(meter.orders) == 4


async def test_registered_names_and_those_that_others_wait_for_are_not_counted(world, service, meter):
    config = changed(world.config(allow={"patterns": ("*.customers.example",)}), limits=Limits(new_names=1))
    one = service(config)
    await world.register(*(f"r{number}.example" for number in range(5)))
    for number in range(5):
        assert await one.obtain(f"r{number}.example", "192.0.2.1") == Outcome(True)
    both = (one.obtain("a.customers.example", "192.0.2.1") for _ in range(20))
    assert set(await asyncio.gather(*both)) == {Outcome(True)}
    assert (await one.obtain("b.customers.example", "192.0.2.1")).limited
    await until(lambda: not one.pending)
    first = asyncio.create_task(one.obtain("b.customers.example", "198.51.100.1"))
    await until(lambda: one.pending)
    assert await one.obtain("b.customers.example", "192.0.2.1") == Outcome(True)
    assert await first == Outcome(True)


async def test_what_failed_while_the_clock_was_ahead_is_tried_again(world, service):
    await world.register(NAME)
    ahead = world.clock() + 366 * 86_400
    failure = Failure(name=NAME, count=3, next_try=ahead + 60, detail="refused", fault="ca", updated_at=ahead)
    await world.store.save_failure(failure, ahead)
    assert await service().obtain(NAME, "") == Outcome(True)


async def test_too_many_names_at_once_are_turned_away(world, service):
    await world.register(NAME, "b.example", "c.example")
    world.ca.polls_needed = 10**9
    one = service(changed(world.config(), limits=Limits(pending_issuances=2)))
    waiting = [asyncio.create_task(one.obtain(name, "")) for name in (NAME, "b.example")]
    await until(lambda: one.pending == 2)
    outcome = await one.obtain("c.example", "")
    assert (outcome.ok, outcome.denied, outcome.remember) == (False, False, BUSY_SECONDS)
    assert "limits.pending_issuances" in outcome.detail
    with pytest.raises(IssuanceError, match=r"limits\.pending_issuances"):
        await one.issue("c.example")
    for task in waiting:
        task.cancel()
    await asyncio.gather(*waiting, return_exceptions=True)


async def test_closing_ends_what_waits_and_leaves_the_order_for_the_next_process(world, service):
    await world.register(NAME)
    world.ca.polls_needed = 10**9
    one = service(world.config())
    waiting = asyncio.create_task(one.obtain(NAME, ""))
    await until(lambda: world.ca.count("challenge") == 1)
    await one.close()
    outcome = await waiting
    assert not outcome.ok
    assert "being stopped" in outcome.detail
    assert await world.challenges() == []
    world.ca.polls_needed = 0
    assert await service(world.config()).obtain(NAME, "") == Outcome(True)
    assert len(world.ca.orders) == 1


# The operator


async def test_the_operator_issues_at_once_whatever_failed_before(world, service):
    await world.register(NAME)
    one = service(world.config())
    world.ca.fails = {"tls-alpn-01": "dns"}
    with pytest.raises(CaRefused):
        await one.issue(NAME)
    world.ca.fails = {}
    with pytest.raises(IssuanceError, match="could not look up"):
        await one.issue(NAME, by_operator=False)
    stored = await one.issue(NAME)
    assert stored.names == (NAME,)


async def test_progress_is_told_to_everybody_who_waits(world, service):
    await world.register(NAME)
    one = service(world.config())
    heard: list[list[str]] = [[], []]
    await asyncio.gather(*(one.issue(NAME, progress=heard[place].append) for place in range(2)))
    assert heard[0] == heard[1]
    assert heard[0][-1] == "The CA signs the certificate"


async def test_issuing_says_no_as_policy_does(world, service):
    one = service()
    with pytest.raises(IssuanceDenied, match="not registered here"):
        await one.issue(NAME)
    with pytest.raises(InvalidName):
        await one.issue("not a name")
    await world.register("*.cust.example")
    assert (await one.issue("*.cust.example")).names == ("*.cust.example",)
    assert (await one.issue("x.cust.example")).names == ("*.cust.example",)


async def test_forcing_replaces_a_valid_certificate_with_a_new_key(world, service):
    await world.register(NAME)
    one = service()
    first = await one.issue(NAME)
    assert (await one.issue(NAME)).id == first.id
    await until(lambda: not one.pending)
    second = await one.issue(NAME, force=True)
    assert second.id != first.id
    assert (await world.store.current_certificate(NAME)).id == second.id


async def test_the_configuration_chooses_the_issuer(world):
    for directory, kind in (("internal", InternalIssuer), (DIRECTORY, AcmeIssuer)):
        one = Issuance(world.config(directory), world.store, world.publisher, world.sealer, world.clock)
        assert isinstance(one._issuer, kind)
        await one.close()
