"""The doctor over HTTP."""

import time

from edgeproxy.config.dns import Dns
from edgeproxy.control.store import Failure
from tests.control.api.conftest import problem_of
from tests.control.dns.answering import scripted
from tests.control.issuance.conftest import changed

DOCTOR = "/api/v1/infrastructure/doctor"


async def test_it_tells_what_to_change(world):
    async with scripted() as dns, scripted() as other:
        dns.zone = {("domain.edge.example", "A"): ["127.0.0.1"]}
        world.context.config = changed(world.context.config, dns=Dns(resolvers=(dns.address,)))
        answer = await world.client.get(f"{DOCTOR}/Shop.Customer.test", params={"resolvers": other.address})
        assert answer.status_code == 200, answer.text
        found = answer.json()
        assert other.asked
    assert (found["domain"], found["well"]) == ("shop.customer.test", False)
    assert {change["who"] for change in found["changes"]} == {"customer_dns", "operator"}
    assert "CNAME domain.edge.example" in {change["wanted"] for change in found["changes"]}
    assert {finding["about"] for finding in found["findings"]} >= {"registration", "dns"}


async def test_it_tells_of_an_operators_mistake_that_only_the_issuance_remembers(world):
    now = time.time()
    mistake = Failure(name="a.example.com", count=1, next_try=now + 60, detail="There is no ACME directory.", updated_at=now)
    world.issuance.failures["a.example.com"] = mistake
    async with scripted() as dns:
        dns.zone = {("domain.edge.example", "A"): ["127.0.0.1"]}
        world.context.config = changed(world.context.config, dns=Dns(resolvers=(dns.address,)))
        found = (await world.client.get(f"{DOCTOR}/a.example.com")).json()
    assert any("There is no ACME directory. It is tried again" in finding["text"] for finding in found["findings"])


async def test_what_is_no_resolver_is_refused(world):
    answer = await world.client.get(f"{DOCTOR}/shop.customer.test", params={"resolvers": "dns.example"})
    assert "192.0.2.53" in problem_of(answer, 422, "invalid_resolver")["detail"]
    many = ",".join(f"192.0.2.{number}" for number in range(6))
    problem_of(await world.client.get(f"{DOCTOR}/shop.customer.test", params={"resolvers": many}), 422, "too_many_resolvers")
    problem_of(await world.client.get(f"{DOCTOR}/192.0.2.1"), 422, "invalid_name")


async def test_addresses_get_the_usual_port():
    from edgeproxy.control.api.doctor import _resolvers

    assert _resolvers("192.0.2.53, 2001:db8::53,[2001:db8::54]:5353,192.0.2.54:99") == [
        "192.0.2.53:53",
        "[2001:db8::53]:53",
        "[2001:db8::54]:5353",
        "192.0.2.54:99",
    ]
