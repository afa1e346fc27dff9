"""What becomes of certificates is told, once each, with what a subscriber needs."""

import pytest

from edgeproxy.control import events
from edgeproxy.control.issuance import telling
from edgeproxy.control.issuance.service import Issuance
from edgeproxy.errors import Fault, IssuanceError

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


async def test_a_failed_first_certificate_has_none_to_tell_of(told):
    telling.failed(NAME, IssuanceError("no"), None, ca="ca.example", next_try_in=60.4)
    assert told[0].fields["certificate_id"] is None
    assert told[0].fields["next_try_in"] == 60


async def test_an_expiry_that_nears_is_told_with_what_went_wrong(world, service, told):
    await world.register(NAME)
    stored = await service.issue(NAME)
    telling.expiring(NAME, stored, stored.not_after - 100, error="The CA says no.")
    assert told[-1].name == "certificate.expiring"
    assert (told[-1].fields["seconds_left"], told[-1].fields["error"]) == (100, "The CA says no.")
    telling.expiring(NAME, stored, stored.not_after + 5, error="The CA says no.")
    assert (told[-1].name, told[-1].fields["seconds_left"]) == ("certificate.expired", -5)


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
    telling.parked(NAME, stored, 5.0, detail="It is elsewhere.")
    telling.unparked(NAME, stored)
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
