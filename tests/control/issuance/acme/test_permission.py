"""CAA before an order: what forbids is told, what cannot be looked up does not stand in the way."""

import pytest

from edgeproxy.config.dns import Dns
from edgeproxy.control.issuance.acme import permission
from edgeproxy.control.issuance.acme.permission import CaaForbids, Permission
from edgeproxy.errors import Fault
from tests.control.dns.answering import scripted
from tests.control.issuance.acme.conftest import NAME, issue, kinds_tried
from tests.control.issuance.conftest import changed

CA = ("ca.example",)
BOTH = ("tls-alpn-01", "http-01")


@pytest.fixture
async def dns():
    async with scripted() as server:
        yield server


async def test_the_challenges_that_the_records_allow_are_left(dns):
    one = Permission([dns.address])
    assert await one.methods(NAME, BOTH, CA, "") == BOTH
    dns.zone[NAME, "CAA"] = ['0 issue "ca.example; validationmethods=http-01"']
    assert await one.methods(NAME, BOTH, CA, "") == ("http-01",)


async def test_a_record_that_forbids_is_the_customers_to_change(dns):
    dns.zone[NAME, "CAA"] = ['0 issue "strange.example"']
    with pytest.raises(CaaForbids) as caught:
        await Permission([dns.address]).methods(NAME, BOTH, CA, "")
    assert (caught.value.fault, caught.value.retryable, caught.value.code) == (Fault.CUSTOMER_DNS, True, "caa_forbids")
    assert f'{NAME} CAA 0 issue "ca.example"' in caught.value.detail


async def test_a_dns_that_gives_no_answer_leaves_it_to_the_ca(dns, monkeypatch):
    dns.broken.add(NAME)
    assert await Permission([dns.address]).methods(NAME, BOTH, CA, "") == BOTH
    monkeypatch.setattr(permission, "CAA_SECONDS", 0.2)
    dns.broken.clear()
    dns.silent.add(NAME)
    assert await Permission([dns.address]).methods(NAME, BOTH, CA, "") == BOTH


async def test_without_the_cas_names_nothing_is_asked(dns):
    assert await Permission([dns.address]).methods(NAME, BOTH, (), "") == BOTH
    assert dns.asked == []


async def test_a_forbidden_name_costs_the_ca_no_order(dns, world, issuers):
    world.ca.meta = {"caaIdentities": list(CA)}
    dns.zone[NAME, "CAA"] = ['0 issue ";"']
    issuer = issuers(changed(world.config(), dns=Dns(resolvers=(dns.address,))))
    with pytest.raises(CaaForbids, match="does not let the CA"):
        await issue(issuer)
    assert world.ca.count("new") == 0
    assert await world.store.order_for(NAME) is None
    account = (await world.store.account(issuer.directory)).url
    dns.zone[NAME, "CAA"] = [f'0 issue "ca.example; accounturi={account}; validationmethods=http-01"']
    await issue(issuer)
    assert kinds_tried(world.ca) == ["http-01"]
