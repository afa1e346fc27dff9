"""What becomes of certificates is told, once each, with what a subscriber needs."""

import asyncio

import msgspec
import pytest

from edgeproxy.control import events
from edgeproxy.control.issuance import telling
from edgeproxy.control.issuance.service import Issuance
from edgeproxy.control.webhooks.hearing import Hearing
from edgeproxy.errors import EdgeError, Fault, IssuanceError, StateError

NAME = "a.example"


@pytest.fixture
def told():
    found: list[events.Event] = []
    end = events.subscribe(found.append)
    yield found
    end()


@pytest.fixture
async def service(world):
    made = Issuance(world.config("internal"), world.store, world.publisher, world.sealer, world.clock)
    yield made
    await made.close()


async def test_the_first_certificate_is_issued_and_the_next_one_renewed(world, service, told):
    await world.register(NAME)
    first = await service.issue(NAME)
    second = await service.issue(NAME, force=True)
    assert [event.name for event in told] == ["certificate.issued", "certificate.renewed"]
    fields = told[0].fields
    assert (fields["hostname"], fields["certificate_id"], fields["ca"]) == (NAME, first.id, "internal")
    assert fields["not_after"] == first.not_after
    assert int(fields["serial"], 16) > 0
    assert "replaces" not in fields
    assert (told[1].fields["certificate_id"], told[1].fields["replaces"]) == (second.id, first.id)


async def test_a_failure_tells_its_reason_and_what_stays_in_use(world, told):
    class Broken(_Broken):
        error = IssuanceError("The CA says no.", fault=Fault.CUSTOMER_DNS)

    await world.register(NAME)
    good = Issuance(world.config("internal"), world.store, world.publisher, world.sealer, world.clock)
    present = await good.issue(NAME)
    await good.close()
    told.clear()
    bad = Issuance(world.config("internal"), world.store, world.publisher, world.sealer, world.clock, issuer=Broken())  # type: ignore[arg-type]
    with pytest.raises(IssuanceError):
        await bad.issue(NAME, force=True)
    await bad.close()
    (event,) = told
    assert event.name == "certificate.failed"
    assert (event.fields["error"], event.fields["fault"]) == ("The CA says no.", "customer_dns")
    assert (event.fields["certificate_id"], event.fields["not_after"]) == (present.id, present.not_after)
    assert event.fields["next_try_in"] > 0


def test_a_failed_first_certificate_has_none_to_tell_of():
    event = telling.failed(NAME, IssuanceError("no"), None, ca="ca.example", next_try_in=60.4)
    assert event.fields["certificate_id"] is None
    assert event.fields["next_try_in"] == 60


async def test_an_expiry_that_nears_is_told_with_what_went_wrong(world, service):
    await world.register(NAME)
    stored = await service.issue(NAME)
    event = telling.expiring(NAME, stored, stored.not_after - 100, error="The CA says no.")
    assert (event.name, event.kept) == ("certificate.expiring", False)
    assert (event.fields["seconds_left"], event.fields["error"]) == (100, "The CA says no.")
    event = telling.expiring(NAME, stored, stored.not_after + 5, error="The CA says no.")
    assert (event.name, event.fields["seconds_left"]) == ("certificate.expired", -5)


async def outbox(world):
    return [event for event in await world.store.events_after(0, 100) if event.type.startswith("certificate.")]


async def test_a_process_that_dies_once_the_certificate_is_stored_has_told_of_it(world, service, told, monkeypatch):
    reached = asyncio.Event()

    async def dies(*_: object) -> None:
        reached.set()
        await asyncio.Event().wait()

    await world.register(NAME)
    with monkeypatch.context() as patch:
        patch.setattr("edgeproxy.control.issuance.issuing.until_published", dies)
        task = asyncio.create_task(service.issue(NAME))
        await asyncio.wait_for(reached.wait(), 60)
        await service.close()
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
    stored = await world.store.current_certificate(NAME)
    [event] = await outbox(world)
    assert (event.type, event.subject) == ("certificate.issued", NAME)
    data = msgspec.json.decode(event.data)
    assert (data["domain"], data["certificate_id"], data["workspace_id"] is not None) == (NAME, stored.id, True)
    assert data["not_after"].endswith("Z")
    assert told == [], "nobody was left to hear of it"


async def test_without_what_is_told_of_it_no_certificate_is_stored(world, service, monkeypatch):
    async def fails(*_: object) -> None:
        raise StateError("The disk is full.")

    await world.register(NAME)
    monkeypatch.setattr("edgeproxy.control.store.certificates.happened", fails)
    with pytest.raises(EdgeError):
        await service.issue(NAME)
    assert await world.store.current_certificate(NAME) is None
    assert await outbox(world) == []


async def test_what_is_kept_with_what_it_tells_is_not_kept_again_by_who_hears_of_it(world, service, told):
    heard = Hearing(world.store, world.clock)
    await world.register(NAME)
    await service.issue(NAME)
    events.tell(telling.failed(NAME, IssuanceError("no"), None, ca="ca.example", next_try_in=60.4, kept=False))
    await heard.close()
    assert [event.type for event in await outbox(world)] == ["certificate.issued", "certificate.failed"]
    assert [event.kept for event in told] == [True, False]


class _Broken:
    directory = "https://ca.example/dir"
    wildcards = True
    replaces = False
    error: IssuanceError

    async def issue(self, _name, _progress):
        raise self.error

    async def close(self):
        pass


async def test_a_name_that_is_parked_and_back_is_told_with_its_reason(world, told):
    await world.register(NAME)
    service = Issuance(world.config("internal"), world.store, world.publisher, world.sealer, world.clock)
    stored = await service.issue(NAME)
    await service.close()
    told.clear()
    events.tell(telling.parked(NAME, stored, 5.0, detail="It is elsewhere."))
    events.tell(telling.unparked(NAME, stored))
    assert [event.name for event in told] == ["certificate.parked", "certificate.unparked"]
    assert (told[0].fields["since"], told[0].fields["detail"]) == (5.0, "It is elsewhere.")
    assert told[1].fields["certificate_id"] == stored.id


@pytest.mark.parametrize(
    ("ca", "told"),
    [
        ("https://ca.example:14000/dir", "ca.example:14000"),
        ("ca.example:14000", "ca.example:14000"),
        ("internal", "internal"),
        ("custom", "custom"),
    ],
)
def test_a_ca_is_told_by_its_host(ca: str, told: str):
    assert telling.about(NAME, None, ca=ca)["ca"] == told
