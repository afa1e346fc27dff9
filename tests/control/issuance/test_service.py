"""Certificates on demand: who may, one issuance per name, what is remembered."""

import asyncio
import contextlib

import httpx2
import pytest
from cryptography import x509

from edgeproxy.config.structs import Api, Platform
from edgeproxy.control.issuance import issuer as port
from edgeproxy.control.issuance.acme.issuer import AcmeIssuer
from edgeproxy.control.issuance.acme.problems import CaRefused
from edgeproxy.control.issuance.certificates import load_key
from edgeproxy.control.issuance.gate import Gate
from edgeproxy.control.issuance.internal import InternalIssuer
from edgeproxy.control.issuance.service import (
    BUSY_SECONDS,
    CA_TROUBLE_SECONDS,
    DENIAL_SECONDS,
    FAILURE_SECONDS,
    Issuance,
    Outcome,
)
from edgeproxy.control.store import GateRoute
from edgeproxy.errors import Fault, InvalidName, IssuanceDenied, IssuanceError, MapError, StateError
from edgeproxy.limits import Limits
from edgeproxy.model import DomainState
from tests.control.issuance.conftest import changed
from tests.control.issuance.fakeca import DIRECTORY, Refuse, answer

NAME = "a.example"


class Meter:
    def __init__(self):
        self.orders, self.seconds, self.gates = [], [], []
        self.limited = 0

    def acme_order(self, ca, result):
        self.orders.append((ca, result))

    def issued(self, seconds):
        self.seconds.append(seconds)

    def gate(self, result):
        self.gates.append(result)

    def new_name_limited(self):
        self.limited += 1


class GateAnswers(httpx2.AsyncBaseTransport):
    def __init__(self):
        self.status, self.body, self.headers = 200, b"", {}

    async def handle_async_request(self, _request):
        return answer(self.status, self.headers, self.body)


@pytest.fixture
def meter():
    return Meter()


@pytest.fixture
def gate_answers():
    return GateAnswers()


@pytest.fixture
async def service(world, meter, gate_answers):
    """Makes services over one store, as processes after one another would."""
    made = []

    def make(config=None, **options):
        config = config or world.config("internal")
        issuer = None
        if config.issuance.directory == DIRECTORY:
            parts = world.store, world.publisher, world.sealer, world.clock
            issuer = AcmeIssuer(config, *parts, network=world.ca, monotonic=world.clock)
        gate = None
        if config.issuance.allow.gate:
            gate = Gate(config, world.clock, gate_answers)
        options = {"issuer": issuer, "gate": gate, "meter": meter} | options
        made.append(Issuance(config, world.store, world.publisher, world.sealer, world.clock, **options))
        return made[-1]

    yield make
    for one in made:
        await one.close()


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
    await _until(lambda: not one.pending)
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
    await _until(lambda: not one.pending)
    first = asyncio.create_task(one.obtain("b.customers.example", "198.51.100.1"))
    await _until(lambda: one.pending)
    assert await one.obtain("b.customers.example", "192.0.2.1") == Outcome(True)
    assert await first == Outcome(True)


# What is remembered


async def test_a_failure_is_remembered_across_processes_with_growing_pauses(world, service, meter):
    await world.register(NAME)
    world.ca.fails = {"tls-alpn-01": "connection", "http-01": "connection"}
    one = service(world.config())
    pauses = []
    for _ in range(5):
        outcome = await one.obtain(NAME, "")
        assert (outcome.ok, outcome.denied) == (False, False)
        assert "could not connect to a.example" in outcome.detail
        failure = await world.store.failure(NAME)
        assert failure.fault == "customer_dns"
        pauses.append(failure.next_try - world.clock())
        orders = len(world.ca.orders)
        again = await service(world.config()).obtain(NAME, "")
        assert again.detail == outcome.detail
        assert 0 < again.remember <= FAILURE_SECONDS
        assert len(world.ca.orders) == orders, "nothing was tried"
        world.clock.ahead += pauses[-1] + 1
    for pause, least in zip(pauses, [60, 600, 6000, 86400, 86400], strict=True):
        assert least - 2 <= pause <= least * 1.1
    assert meter.orders == [("ca.example", "failed")] * 5


async def test_success_forgets_the_failures(world, service):
    await world.register(NAME)
    one = service(world.config())
    world.ca.fails = {"tls-alpn-01": "dns"}
    await one.obtain(NAME, "")
    world.ca.fails = {}
    world.clock.ahead += 100
    assert await one.obtain(NAME, "") == Outcome(True)
    await _until(lambda: not one.pending)
    assert await world.store.failure(NAME) is None


async def test_a_ca_in_trouble_is_asked_again_soon_however_often_it_failed(world, service):
    await world.register(NAME)
    one = service(world.config())
    for _ in range(3):
        world.ca.plan("dir", "refuse")
        outcome = await one.obtain(NAME, "")
        assert "cannot be reached" in outcome.detail
        failure = await world.store.failure(NAME)
        assert failure.fault == "ca"
        assert failure.next_try - world.clock() <= CA_TROUBLE_SECONDS
        world.clock.ahead += CA_TROUBLE_SECONDS + 1
    assert await one.obtain(NAME, "") == Outcome(True)


async def test_a_retry_after_is_kept(world, service):
    await world.register(NAME)
    world.ca.plan("new", Refuse("rateLimited", 429, headers={"retry-after": "7200"}))
    await service(world.config()).obtain(NAME, "")
    assert (await world.store.failure(NAME)).next_try - world.clock() == pytest.approx(7200, abs=5)


async def test_what_failed_before_a_domain_was_registered_again_does_not_count(world, service):
    await world.register(NAME)
    one = service(world.config())
    world.ca.fails = {"tls-alpn-01": "dns"}
    await one.obtain(NAME, "")
    world.ca.fails = {}
    await world.store.remove_domain(NAME, actor="test", now=world.clock())
    world.clock.ahead += 1
    await world.register(NAME)
    assert await one.obtain(NAME, "") == Outcome(True)


async def test_an_operators_mistake_is_forgotten_by_the_next_process(world, service):
    await world.register(NAME)
    world.ca.meta = {"termsOfService": "https://ca.example/terms"}
    one = service(world.config(agree_terms=False))
    for _ in range(3):
        assert "issuance.agree_terms" in (await one.obtain(NAME, "")).detail
    assert world.ca.asked == ["dir"]
    assert await service(world.config()).obtain(NAME, "") == Outcome(True)


async def test_too_many_names_at_once_are_turned_away(world, service):
    await world.register(NAME, "b.example", "c.example")
    world.ca.polls_needed = 10**9
    one = service(changed(world.config(), limits=Limits(pending_issuances=2)))
    waiting = [asyncio.create_task(one.obtain(name, "")) for name in (NAME, "b.example")]
    await _until(lambda: one.pending == 2)
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
    await _until(lambda: world.ca.count("challenge") == 1)
    await one.close()
    outcome = await waiting
    assert not outcome.ok
    assert "being stopped" in outcome.detail
    assert await world.challenges() == []
    world.ca.polls_needed = 0
    assert await service(world.config()).obtain(NAME, "") == Outcome(True)
    assert len(world.ca.orders) == 1


async def test_a_certificate_that_was_stored_already_is_no_trouble(world, service):
    """The process ended between storing the certificate and forgetting the order."""
    await world.register(NAME)
    first = service(world.config())
    stored = await first.issue(NAME)
    await _until(lambda: not first.pending)
    key = world.sealer.open(stored.sealed_key, b"key:" + stored.id.encode())
    from edgeproxy.control.store import Order

    row = Order(hostname=NAME, directory=DIRECTORY, url="https://ca.example/order/0", step="validated", key=key, started_at=1.0)
    await world.store.save_order(row, 1.0)
    again = await service(world.config()).issue(NAME, force=True)
    assert again.id == stored.id
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
    await _until(lambda: not one.pending)
    second = await one.issue(NAME, force=True)
    assert second.id != first.id
    assert (await world.store.current_certificate(NAME)).id == second.id


# The gate


def gated(world, **settings):
    return world.config("internal", allow={"gate": "http://gate.example/"}, **settings)


async def test_a_yes_of_the_gate_routes_and_issues(world, service, gate_answers, meter):
    gate_answers.body = b'{"workspace_id": "spandantest", "origin": "https://8.8.8.8"}'
    gate_answers.headers = {"cache-control": "max-age=60"}
    one = service(gated(world))
    assert await one.obtain(NAME, "192.0.2.1") == Outcome(True)
    route = await world.store.get_gate_route(NAME)
    assert (route.workspace_id, route.origin) == ("spandantest", "https://8.8.8.8")
    assert route.fresh_until == pytest.approx(world.clock() + 60, abs=5)
    assert meter.gates == ["allowed"]


async def test_a_no_of_the_gate_denies_for_its_own_lifetime(world, service, gate_answers, meter):
    gate_answers.status, gate_answers.headers = 404, {"cache-control": "max-age=17"}
    one = service(gated(world))
    for _ in range(1000):
        outcome = await one.obtain(NAME, "")
        assert (outcome.ok, outcome.denied) == (False, True)
        assert 0 < outcome.remember <= 17
    assert one._gate.asked == 1
    assert meter.orders == []


async def test_a_gate_in_trouble_says_not_now(world, service, gate_answers):
    gate_answers.status = 500
    outcome = await service(gated(world)).obtain(NAME, "")
    assert (outcome.ok, outcome.denied) == (False, False)
    assert outcome.detail == "The gate answered 500."
    assert 0 < outcome.remember <= 10


async def test_a_gate_in_trouble_does_not_touch_names_that_have_their_certificate(world, service, gate_answers):
    one = service(gated(world))
    await one.obtain(NAME, "")
    gate_answers.status = 500
    world.clock.ahead = 3600
    assert await one.obtain(NAME, "") == Outcome(True)


async def test_refreshing_takes_over_what_the_gate_says_now(world, service, gate_answers):
    one = service(gated(world))
    gate_answers.body = b'{"workspace_id": "one"}'
    await one.obtain(NAME, "")
    gate_answers.body = b'{"workspace_id": "two"}'
    await one.refresh_gate(NAME)
    assert (await world.store.get_gate_route(NAME)).workspace_id == "two"


async def test_refreshing_removes_a_route_only_by_a_no(world, service, gate_answers):
    one = service(gated(world))
    await one.obtain(NAME, "")
    gate_answers.status = 503
    await one.refresh_gate(NAME)
    assert await world.store.get_gate_route(NAME) is not None
    gate_answers.status = 410
    world.clock.ahead = 60
    await one.refresh_gate(NAME)
    assert await world.store.get_gate_route(NAME) is None


async def test_refreshing_what_is_no_route_asks_nobody(world, service):
    one = service(gated(world))
    await one.refresh_gate("stranger.example")
    await one.refresh_gate("not a name")
    assert one._gate.asked == 0
    await service().refresh_gate(NAME)


async def test_the_same_answer_from_memory_is_not_written_again(world, service):
    one = service(gated(world))
    await one.obtain(NAME, "")
    before = await world.store.head_change()
    await world.store.remove_certificate((await world.store.current_certificate(NAME)).id, world.clock())
    removed = await world.store.head_change()
    await one.obtain(NAME, "")
    changes = await world.store.changes_after(removed, 100)
    assert [change.database for change in changes] == ["certificates", "sites"]
    assert before < removed


async def test_a_gate_that_was_taken_out_of_the_configuration_leaves_its_routes_denied(world, service):
    route = GateRoute(hostname=NAME, fresh_until=world.clock() + 60)
    await world.store.put_gate_route(route, world.clock())
    assert (await service().obtain(NAME, "")).denied


# Trouble of our own


async def test_a_store_that_fails_is_told_and_nothing_remembered_of_the_name(world, service, monkeypatch):
    await world.register(NAME)
    one = service()

    async def full(*_arguments):
        raise StateError("The disk is full.", retryable=True)

    monkeypatch.setattr(world.store, "add_certificate", full)
    outcome = await one.obtain(NAME, "")
    assert (outcome.ok, outcome.denied, outcome.detail) == (False, False, "The disk is full.")
    assert await world.store.failure(NAME) is None
    with pytest.raises(IssuanceError) as caught:
        await one.issue(NAME)
    assert caught.value.fault is Fault.OPERATOR


async def test_a_map_that_does_not_follow_ends_the_waiting(world, service, monkeypatch):
    await world.register(NAME)
    monkeypatch.setattr(port, "PUBLISH_TIME", 0.01)

    async def never(_number):
        await asyncio.Event().wait()

    monkeypatch.setattr(world.publisher, "published", never)
    outcome = await service().obtain(NAME, "")
    assert "does not follow the store" in outcome.detail
    monkeypatch.undo()
    monkeypatch.setattr(port, "PUBLISH_TIME", 0.01)
    monkeypatch.setattr(world.publisher, "published", never)
    with pytest.raises(MapError):
        await service().obtain(NAME, "")


async def test_what_nobody_foresaw_is_logged_and_told_without_its_inside(world, service, capsys):
    await world.register(NAME)

    class Broken:
        directory, wildcards = "internal", True

        async def issue(self, _name, _progress):
            raise ZeroDivisionError("secret inside")

        async def settled(self, _name):
            return None

        async def close(self):
            return None

    outcome = await service(issuer=Broken()).obtain(NAME, "")
    assert outcome.detail == "Something went wrong in the edge; its log tells what."
    assert "ZeroDivisionError" in capsys.readouterr().out


async def test_the_configuration_chooses_the_issuer(world):
    for directory, kind in (("internal", InternalIssuer), (DIRECTORY, AcmeIssuer)):
        one = Issuance(world.config(directory), world.store, world.publisher, world.sealer, world.clock)
        assert isinstance(one._issuer, kind)
        await one.close()


async def _until(condition):
    async with asyncio.timeout(30):
        while not condition():
            await asyncio.sleep(0.005)
