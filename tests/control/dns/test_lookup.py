"""Questions to the DNS: what it says, and what it means when it says nothing."""

import asyncio

import pytest

from edgeproxy.control.dns import lookup as module
from edgeproxy.control.dns.caa import CaaRecord, CaaSet
from edgeproxy.control.dns.lookup import DnsUnavailable, Lookup, Said
from edgeproxy.errors import Fault
from tests.control.dns.answering import scripted
from tests.ports import free_port


@pytest.fixture
async def dns():
    async with scripted() as server:
        yield server


@pytest.fixture
def lookup(dns, monkeypatch):
    monkeypatch.setattr(module, "SERVER_TIME", 60.0)
    return Lookup([dns.address], patience=60)


async def test_addresses_come_with_the_names_that_led_to_them(dns, lookup):
    dns.zone = {
        ("a.example", "CNAME"): ["B.example"],
        ("b.example", "CNAME"): ["c.example"],
        ("c.example", "A"): ["127.0.0.1", "127.0.0.2"],
        ("c.example", "AAAA"): ["::1"],
    }
    answer = await lookup.ask("a.example", "A")
    assert (answer.said, answer.chain) == (Said.RECORDS, ("b.example", "c.example"))
    assert sorted(answer.records) == ["127.0.0.1", "127.0.0.2"]
    assert (await lookup.ask("a.example", "AAAA")).records == ("::1",)
    assert await lookup.cname("a.example") == "b.example"
    assert await lookup.aliases("a.example") == ["b.example", "c.example"]


async def test_no_name_no_data_a_broken_zone_and_silence_are_told_apart(dns, lookup):
    dns.zone = {("a.example", "A"): ["127.0.0.1"], ("dangling.example", "CNAME"): ["nowhere.test"]}
    dns.broken.add("broken.example")
    dns.silent.add("silent.example")
    assert (await lookup.ask("none.example", "A")).said is Said.NO_NAME
    assert (await lookup.ask("a.example", "TXT")).said is Said.NO_DATA
    dangling = await lookup.ask("dangling.example", "A")
    assert (dangling.said, dangling.chain) == (Said.NO_NAME, ("nowhere.test",))
    broken = await lookup.ask("broken.example", "A")
    assert (broken.said, broken.fault, broken.certain) == (Said.BROKEN, Fault.CUSTOMER_DNS, False)
    assert "SERVFAIL" in broken.detail
    silent = await Lookup([dns.address], patience=0.3).ask("silent.example", "A")
    assert (silent.said, silent.fault, silent.certain) == (Said.SILENT, Fault.OPERATOR, False)
    assert dns.address in silent.detail


async def test_a_resolver_that_is_not_there_is_never_the_customers_fault():
    answer = await Lookup([f"127.0.0.1:{free_port()}"], patience=0.5).ask("a.example", "A")
    assert (answer.said, answer.fault) == (Said.SILENT, Fault.OPERATOR)
    assert answer.detail


@pytest.mark.parametrize(
    ("errors", "said", "fault", "told"),
    [
        ([OSError(101, "Network is unreachable")], Said.SILENT, Fault.OPERATOR, "192.0.2.53:53): network is unreachable."),
        ([OSError(101, "Network is unreachable"), "SERVFAIL"], Said.BROKEN, Fault.CUSTOMER_DNS, "SERVFAIL"),
    ],
)
async def test_a_network_that_is_not_there_is_never_the_customers_fault(monkeypatch, errors, said, fault, told):
    import dns.asyncresolver

    async def fails(*_arguments, **_options):
        query = dns.message.make_query("a.example", "A")
        raise dns.resolver.NoNameservers(request=query, errors=[("192.0.2.53", False, 53, error, None) for error in errors])

    monkeypatch.setattr(dns.asyncresolver.Resolver, "resolve", fails)
    answer = await Lookup(["192.0.2.53:53"]).ask("a.example", "A")
    assert (answer.said, answer.fault) == (said, fault)
    assert told in answer.detail


async def test_an_answer_that_was_cut_is_asked_for_over_tcp(dns, lookup):
    dns.zone = {("a.example", "TXT"): ['"one " "two"']}
    dns.cut.add("a.example")
    assert await lookup.txt("a.example") == ("one two",)
    assert [way for *_, way in dns.asked] == ["udp", "tcp"]


async def test_no_text_is_none_and_no_answer_is_an_error(dns, lookup):
    dns.broken.add("broken.example")
    assert await lookup.txt("a.example") == ()
    with pytest.raises(DnsUnavailable, match="SERVFAIL"):
        await lookup.txt("broken.example")
    with pytest.raises(DnsUnavailable, match="SERVFAIL"):
        await lookup.cname("broken.example")


async def test_the_closest_caa_records_count(dns, lookup):
    dns.zone = {
        ("shop.example.com", "A"): ["127.0.0.1"],
        ("example.com", "CAA"): ['0 issue "ca.example; validationmethods=http-01"'],
        ("com", "CAA"): ['0 issue ";"'],
    }
    found = CaaSet("example.com", (CaaRecord(0, "issue", "ca.example; validationmethods=http-01"),))
    assert await lookup.caa("shop.example.com") == found
    assert await lookup.caa("*.example.com") == found
    assert (await lookup.caa("other.com")).name == "com"
    assert await lookup.caa("a.test") == CaaSet("", ())


async def test_caa_of_an_alias_is_that_of_its_target(dns, lookup):
    dns.zone = {("shop.example.com", "CNAME"): ["edge.test"], ("edge.test", "CAA"): ['0 issue "edge.example"']}
    assert await lookup.caa("shop.example.com") == CaaSet("shop.example.com", (CaaRecord(0, "issue", "edge.example"),))


async def test_a_broken_level_counts_only_where_it_is_the_closest(dns, lookup):
    dns.zone = {("shop.example.com", "CAA"): ['0 issue "ca.example"']}
    dns.broken.add("example.com")
    assert (await lookup.caa("shop.example.com")).name == "shop.example.com"
    with pytest.raises(DnsUnavailable):
        await lookup.caa("blog.example.com")


async def test_for_how_long_it_is_remembered_and_who_vouches_for_it(dns, lookup):
    dns.zone = {
        ("a.example", "CNAME"): ["b.example"],
        ("b.example", "A"): ["127.0.0.1"],
        ("example", "NS"): ["ns.example"],
        ("t.example", "TXT"): ['"a b" "c"'],
    }
    dns.ttls = {"a.example": 300, "b.example": 20, "none.example": 900}
    dns.signed.add("a.example")
    answer = await lookup.ask("a.example", "A")
    assert (answer.ttl, answer.authentic) == (20, True)
    assert (await lookup.ask("t.example", "TXT")).records == ("a bc",)
    none = await lookup.ask("none.example", "A")
    assert (none.said, none.ttl, none.authentic) == (Said.NO_NAME, 900, False)
    dns.ttls["b.example"] = dns.ttls["a.example"] = 2**31 - 1
    assert (await lookup.ask("a.example", "A")).ttl == 604_800


async def test_without_checking_a_zone_with_broken_signatures_answers(dns, lookup):
    dns.zone = {("a.example", "A"): ["127.0.0.1"]}
    dns.bogus.add("a.example")
    assert (await lookup.ask("a.example", "A")).said is Said.BROKEN
    assert (await Lookup([dns.address], patience=60, checking=False).ask("a.example", "A")).records == ("127.0.0.1",)


async def test_a_cname_that_leads_in_a_circle_ends(dns, lookup):
    dns.zone = {("a.example", "CNAME"): ["b.example"], ("b.example", "CNAME"): ["a.example"]}
    assert await lookup.aliases("a.example") == ["b.example", "a.example"]
    assert not (await lookup.ask("a.example", "A")).records


async def test_questions_under_way_are_bounded(dns, monkeypatch):
    monkeypatch.setattr(module, "QUESTIONS", 2)
    lookup = Lookup([dns.address], patience=1)
    dns.silent.add("silent.example")
    slow = [asyncio.ensure_future(lookup.ask("silent.example", "A")) for _ in range(6)]
    answers = await asyncio.wait_for(asyncio.gather(*slow), 60)
    assert {answer.said for answer in answers} == {Said.SILENT}
    assert len(dns.asked) < 6 * 2


async def test_the_system_is_asked_where_no_resolver_is_given(monkeypatch):
    import dns.resolver

    def none(*_arguments):
        raise dns.resolver.NoResolverConfiguration

    monkeypatch.setattr(dns.resolver.BaseResolver, "read_resolv_conf", none)
    answer = await Lookup(patience=1).ask("a.example", "A")
    assert (answer.said, answer.fault) == (Said.BROKEN, Fault.OPERATOR)
    assert "dns.resolvers" in answer.detail


async def test_it_can_be_loaded_ahead(lookup):
    await lookup.prepare()


async def test_a_break_further_along_ends_a_chain_of_aliases_and_does_not_hide_it(dns, lookup):
    dns.zone = {("a.example", "CNAME"): ["b.example"]}
    dns.broken |= {"b.example", "broken.example"}
    assert await lookup.aliases("a.example") == ["b.example"]
    assert await lookup.aliases("a.example", {"a.example"}) == []
    with pytest.raises(DnsUnavailable):
        await lookup.aliases("broken.example")
