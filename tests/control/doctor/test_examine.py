"""Facts from a real DNS server, a real CA and a real listener, and what is made of them: every wrong situation once."""

from __future__ import annotations

import json
import time

import dns.resolver
import pytest

from edgeproxy.config.dns import Dns
from edgeproxy.config.issuance import Issuance
from edgeproxy.config.platform import Origin, Platform
from edgeproxy.config.structs import Config
from edgeproxy.config.verification import Verification
from edgeproxy.config.visitors import Listen
from edgeproxy.control.dns.zone import zone_label
from edgeproxy.control.doctor.diagnosis import diagnose
from edgeproxy.control.doctor.examine import examine
from edgeproxy.control.domains.verification.looker import Looker
from edgeproxy.control.domains.verification.seen import State
from edgeproxy.control.domains.verification.wanted import workspace_label
from edgeproxy.control.probe.grading import Grade
from edgeproxy.control.store import Failure, Store
from edgeproxy.errors import Fault
from edgeproxy.model import DomainState
from edgeproxy.published.seal import Sealer
from tests.control.dns.answering import scripted
from tests.control.probe.chains import Authority, tls_server
from tests.control.store.making import put
from tests.integration.caexchange import Answer, Exchange
from tests.integration.caproxy import CaProxy
from tests.integration.servers import ChallengeTestServer, Pebble, require
from tests.ports import free_port

HOST, TARGET = "shop.customer.test", "domain.edge.test"


@pytest.fixture(autouse=True)
def no_system_resolver(monkeypatch):
    """What the machine's own resolver says is not ours to test."""

    def none(*_arguments):
        raise dns.resolver.NoResolverConfiguration

    monkeypatch.setattr(dns.resolver.BaseResolver, "read_resolv_conf", none)


@pytest.fixture
async def store(tmp_path):
    sealer = Sealer(b"s" * 32)
    put(tmp_path)
    store = await Store.open(Config(), tmp_path, sealer, account_sealer=sealer)
    await store.add_domain(HOST, "acme-store", state=DomainState.VERIFIED, actor="test", now=time.time())
    yield store
    await store.close()


@pytest.fixture
async def listener(tmp_path):
    authority = Authority()
    leaf, key = authority.sign(HOST)
    async with tls_server(tmp_path, [leaf, authority.intermediate], key) as port:
        yield port


@pytest.fixture
async def challtestsrv(tmp_path):
    """A name that nobody said anything of has the address 127.0.0.9, where nobody listens."""
    require("pebble-challtestsrv")
    async with ChallengeTestServer(tmp_path) as server:
        await server.manage("set-default-ipv4", ip="127.0.0.9")
        await server.manage("add-a", host=f"{TARGET}.", addresses=["127.0.0.1"])
        yield server


def config(dns_port, port, **changes):
    made = {
        "listen": Listen(https=(f"127.0.0.1:{port}",), http=(f"127.0.0.1:{port}",), public_https_port=port),
        "platform": Platform(cname_target=TARGET),
        "dns": Dns(resolvers=(f"127.0.0.1:{dns_port}",)),
        "issuance": Issuance(directory="internal"),
    }
    return Config(**{**made, **changes})


async def report_of(settings, store, host=HOST, others=()):
    return diagnose(await examine(settings, store, host, time.time, others))


async def test_the_right_cname_is_well_but_for_the_certificate_that_nobody_trusts(store, listener, challtestsrv):
    await challtestsrv.manage("set-cname", host=f"{HOST}.", target=f"{TARGET}.")
    settings = config(challtestsrv.dns_port, listener)
    found = await examine(settings, store, HOST, time.time)
    assert found.served is not None
    assert (found.served.grade, found.apex) == (Grade.UNTRUSTED, False)
    assert [(port.address, port.error) for port in found.ports] == [("127.0.0.1", "")] * 2
    report = diagnose(found)
    assert report.changes == ()
    texts = [finding.text for finding in report.findings]
    assert f"{HOST} is registered for workspace acme-store and verified." in texts
    assert any(text.startswith("The configured resolver (127.0.0.1:") and "as it must be" in text for text in texts)
    assert any("has no DNS resolver" in text for text in texts)  # the system's, told beside


async def test_a_wrong_cname_a_wrong_address_and_a_broken_zone_are_the_customers(store, listener, challtestsrv):
    settings = config(challtestsrv.dns_port, listener)
    (change,) = (await report_of(settings, store)).changes
    assert (change.who, change.present, change.wanted) == (Fault.CUSTOMER_DNS, "A 127.0.0.9", f"CNAME {TARGET}")
    await challtestsrv.manage("set-cname", host=f"{HOST}.", target="elsewhere.test.")
    (change,) = (await report_of(settings, store)).changes
    assert change.present == "CNAME elsewhere.test, A 127.0.0.9"
    await challtestsrv.manage("clear-cname", host=f"{HOST}.")
    await challtestsrv.manage("set-servfail", host=f"{HOST}.")
    (change,) = (await report_of(settings, store)).changes
    assert change.what == f"the name servers of {HOST}"


async def test_another_server_that_answers_for_the_name_is_seen(store, tmp_path, challtestsrv):
    """As a CDN before the edge does: at its address there is a good certificate for the name."""
    authority = Authority()
    leaf, key = authority.sign(HOST)
    (tmp_path / "roots.pem").write_bytes(authority.pem)
    trusted = Issuance(directory="internal", ca_bundle=str(tmp_path / "roots.pem"))
    async with tls_server(tmp_path, [leaf, authority.intermediate], key) as port:
        await challtestsrv.manage("clear-a", host=f"{TARGET}.")
        await challtestsrv.manage("add-a", host=f"{TARGET}.", addresses=["127.0.0.3"])
        await challtestsrv.manage("add-a", host=f"{HOST}.", addresses=["127.0.0.1"])
        changes = (await report_of(config(challtestsrv.dns_port, port, issuance=trusted), store)).changes
    assert [change.what for change in changes] == [f"the DNS records of {HOST}"]
    assert "with a certificate from the one between. If it is a proxy or CDN" in changes[0].why


async def test_no_record_a_zones_top_and_another_resolver(store, listener):
    async with scripted() as server, scripted() as other:
        server.zone = {(TARGET, "A"): ["127.0.0.1"], ("customer.test", "SOA"): ["ns.test. ops.test. 1 2 3 4 5"]}
        settings = config(server.port, listener)
        (change,) = (await report_of(settings, store)).changes
        assert (change.present, change.wanted) == ("there is no such name", f"CNAME {TARGET}")
        await store.add_domain("customer.test", "acme-store", state=DomainState.VERIFIED, actor="test", now=time.time())
        (change,) = (await report_of(settings, store, "customer.test")).changes
        assert change.wanted == "A 127.0.0.1"
        server.zone[HOST, "A"] = ["127.0.0.1"]
        other.zone = {(HOST, "A"): ["127.0.0.8"], (TARGET, "A"): ["127.0.0.1"]}
        report = await report_of(settings, store, others=[other.address])
        assert [change.present for change in report.changes] == ["A 127.0.0.8"]
        assert any(finding.text.startswith(f"The resolver {other.address} sees") for finding in report.findings)
        assert {name for name, *_ in other.asked} == {HOST, TARGET}


async def test_a_wildcard_is_asked_for_by_one_of_its_names(store, listener):
    async with scripted() as server:
        server.zone = {("edgeproxy-probe.w.test", "CNAME"): [TARGET], (TARGET, "A"): ["127.0.0.1"]}
        await store.add_domain("*.w.test", "acme-store", state=DomainState.VERIFIED, actor="test", now=time.time())
        assert (await report_of(config(server.port, listener), store, "*.w.test")).changes == ()


async def test_a_closed_port_is_the_operators(store, challtestsrv):
    await challtestsrv.manage("set-cname", host=f"{HOST}.", target=f"{TARGET}.")
    port = free_port()
    changes = (await report_of(config(challtestsrv.dns_port, port), store)).changes
    assert {(change.who, change.what, change.present) for change in changes} == {
        (Fault.OPERATOR, f"port {port} of 127.0.0.1", "connection refused")
    }


async def test_a_name_that_nobody_registered_and_one_that_failed_are_told(store, listener, challtestsrv):
    settings = config(challtestsrv.dns_port, listener)
    await challtestsrv.manage("add-a", host="stranger.test.", addresses=["127.0.0.1"])
    (change,) = (await report_of(settings, store, "stranger.test")).changes
    assert "edgeproxy domains add stranger.test --workspace W" in change.why
    await challtestsrv.manage("set-cname", host=f"{HOST}.", target=f"{TARGET}.")
    now = time.time()
    await store.save_failure(Failure(name=HOST, count=1, next_try=now + 60, detail="The CA says no."), now)
    report = await report_of(settings, store)
    assert any("failed at" in finding.text and "The CA says no." in finding.text for finding in report.findings)
    assert not report.well


async def with_identities(exchange: Exchange) -> Answer:
    answer = await exchange.pass_on()
    directory = json.loads(answer.body)
    return answer.with_json({**directory, "meta": {**directory.get("meta", {}), "caaIdentities": ["ca.example"]}})


async def test_a_caa_record_that_forbids_is_found_for_the_ca_that_is_configured(store, listener, tmp_path):
    require("pebble", "pebble-challtestsrv")
    async with Pebble(tmp_path) as pebble, CaProxy(tmp_path, pebble) as ca:
        manage = pebble.dns.manage
        await manage("add-a", host=f"{TARGET}.", addresses=["127.0.0.1"])
        await manage("set-cname", host=f"{HOST}.", target=f"{TARGET}.")
        await manage("add-caa", host="customer.test.", policies=[{"tag": "issue", "value": "strange.example"}])
        issuance = Issuance(directory=ca.directory, ca_bundle=str(ca.ca_bundle), agree_terms=True)
        settings = config(pebble.dns.dns_port, listener, issuance=issuance)
        unknown = await report_of(settings, store)
        assert any("does not say by which names" in finding.text for finding in unknown.findings)
        ca.always("directory", with_identities)
        (change,) = (await report_of(settings, store)).changes
        assert change.what == "the CAA records of customer.test"
        assert change.wanted == 'CAA 0 issue "ca.example" beside them, or no CAA record'
        await manage("clear-caa", host="customer.test.")
        assert (await report_of(settings, store)).changes == ()
        await manage("set-servfail", host="customer.test.")
        assert any("could not be looked up" in finding.text for finding in (await report_of(settings, store)).findings)
        await ca.go_down()
        report = await report_of(settings, store)
        assert any("The CA could not be asked" in finding.text for finding in report.findings)
        assert not report.well


async def test_names_under_localhost_are_looked_at_without_dns(store, tmp_path):
    authority = Authority()
    leaf, key = authority.sign("shop.localhost")
    await store.add_domain("shop.localhost", "acme-store", state=DomainState.VERIFIED, actor="test", now=time.time())
    async with tls_server(tmp_path, [leaf, authority.intermediate], key) as port, scripted() as server:
        report = await report_of(config(server.port, port), store, "shop.localhost")
        assert not server.asked
    assert report.changes == ()
    assert {finding.about for finding in report.findings if finding.level == "ok"} == {"registration", "dns", "port"}
    assert any("is not trusted" in finding.text for finding in report.findings)


async def test_names_under_localhost_are_asked_of_the_dns_that_a_demo_has_for_them(store, listener, challtestsrv):
    trial = Verification(localhost=True)
    settings = config(challtestsrv.dns_port, listener, issuance=Issuance(directory="internal"), verification=trial)
    await store.add_domain("shop.customer.localhost", "acme-store", state=DomainState.VERIFIED, actor="test", now=time.time())
    (change,) = (await report_of(settings, store, "shop.customer.localhost")).changes
    assert (change.what, change.wanted) == ("the DNS records of shop.customer.localhost", f"CNAME {TARGET}")


async def test_names_for_which_no_certificate_can_be_obtained_as_the_edge_is_set_up(store, listener, challtestsrv):
    nobody = Issuance(directory=f"https://127.0.0.1:{free_port()}/dir")
    platform = Platform(name="edge.test", cname_target=TARGET)
    settings = config(challtestsrv.dns_port, listener, issuance=nobody, platform=platform)
    changes = (await report_of(settings, store, "acme-store.edge.test")).changes
    assert any("*.edge.test by DNS-01 only, which is not set up" in change.why for change in changes)
    await store.add_domain("shop.localhost", "acme-store", state=DomainState.VERIFIED, actor="test", now=time.time())
    changes = (await report_of(settings, store, "shop.localhost")).changes
    assert any("No public CA issues for shop.localhost" in change.why for change in changes)
    zone = Dns(resolvers=settings.dns.resolvers, zone="acme.edge.test")
    settings = config(challtestsrv.dns_port, listener, issuance=nobody, platform=platform, dns=zone)
    changes = (await report_of(settings, store, "a.edge.test")).changes
    change = next(change for change in changes if "_acme-challenge" in change.what)
    assert (change.what, change.who) == ("the DNS records of _acme-challenge.edge.test", Fault.OPERATOR)
    assert change.wanted == f"CNAME {zone_label('edge.test')}.acme.edge.test"


async def test_the_cname_of_a_wildcards_challenge_is_looked_for(store, listener):
    async with scripted() as server:
        server.zone = {("edgeproxy-probe.w.test", "CNAME"): [TARGET], (TARGET, "A"): ["127.0.0.1"]}
        await store.add_domain("*.w.test", "acme-store", state=DomainState.VERIFIED, actor="test", now=time.time())
        nobody = Issuance(directory=f"https://127.0.0.1:{free_port()}/dir")
        zone = Dns(resolvers=(server.address,), zone="acme.edge.test")
        settings = config(server.port, listener, issuance=nobody, dns=zone)
        (change,) = (await report_of(settings, store, "*.w.test")).changes
        wanted = f"{zone_label('w.test')}.acme.edge.test"
        assert (change.what, change.wanted) == ("the DNS records of _acme-challenge.w.test", f"CNAME {wanted}")
        server.zone["a.w.test", "CNAME"] = [TARGET]
        (change,) = (await report_of(settings, store, "a.w.test")).changes
        assert (change.what, change.who) == ("the DNS records of _acme-challenge.w.test", Fault.CUSTOMER_DNS)
        server.zone["_acme-challenge.w.test", "CNAME"] = [wanted]
        assert (await report_of(settings, store, "*.w.test")).changes == ()


async def test_a_mistake_that_only_the_zones_own_servers_show_is_found(store, listener):
    port = free_port()
    async with scripted(port=port) as resolver, scripted("127.0.0.2", port, authority=True) as authority:
        resolver.zone = {
            ("customer.test", "NS"): ["ns1.customer.test"],
            ("ns1.customer.test", "A"): ["127.0.0.2"],
            (TARGET, "A"): ["127.0.0.1"],
        }
        authority.zone = {("customer.test", "NS"): ["ns1.customer.test"], (f"{HOST}.customer.test", "CNAME"): [TARGET]}
        settings = config(port, listener, origin=Origin(allow=("127.0.0.0/8",)))
        looker = Looker(settings, time.time, dns_port=port)
        try:
            report = diagnose(await examine(settings, store, HOST, time.time, looker=looker))
        finally:
            await looker.close()
    (change,) = report.changes
    assert (change.present, change.wanted) == (HOST, "shop")
    assert "shop.customer.test.customer.test" in change.why


async def test_a_name_that_waits_for_nothing_is_looked_at_by_where_it_points(store, listener):
    async with scripted() as server:
        server.zone = {(HOST, "A"): ["127.0.0.1"], (TARGET, "A"): ["127.0.0.1"]}
        settings = config(server.port, listener)
        found = await examine(settings, store, HOST, time.time)
        assert found.verdict is not None
        assert found.verdict.state is State.VERIFIED
        assert not any(name.startswith("_edgeproxy-verify") for name, *_ in server.asked)
        assert (await examine(settings, store, "*.customer.test", time.time)).verdict is None


async def test_with_prove_the_target_of_the_names_workspace_is_looked_up(store, listener, challtestsrv):
    await challtestsrv.manage("set-cname", host=f"{HOST}.", target=f"{TARGET}.")
    own = f"{workspace_label('acme-store')}.{TARGET}"
    settings = config(challtestsrv.dns_port, listener, verification=Verification(preset="prove"))
    (change,) = (await report_of(settings, store)).changes  # it has an address of somebody else
    assert (change.who, change.what, change.present) == (Fault.OPERATOR, f"the DNS records of *.{TARGET}", "A 127.0.0.9")
    await challtestsrv.manage("add-a", host=f"{own}.", addresses=["127.0.0.1"])
    assert (await report_of(settings, store)).changes == ()
    accepting = config(challtestsrv.dns_port, listener)
    assert (await examine(accepting, store, HOST, time.time)).own_target is None
    await challtestsrv.manage("set-cname", host=f"{HOST}.", target=f"{own}.")
    found = (await examine(accepting, store, HOST, time.time)).own_target
    assert found is not None
    assert found.name == own
