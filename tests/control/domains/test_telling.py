"""What events tell of a domain beside its row."""

from typing import Any

from edgeproxy.config.structs import Config
from edgeproxy.control.domains.records import DnsRecord, record
from edgeproxy.control.domains.telling import describing
from tests.control.store.test_domain_life import made


class Domains:
    """Has one record for each domain."""

    def records(self, domain: Any) -> list[DnsRecord]:
        return [record("routing", "CNAME", domain.hostname, "domain.edge.test", required=True)]


class Certifying:
    """Has one more, for the CA."""

    async def records(self, hostnames: Any) -> dict[str, list[DnsRecord]]:
        return {each: [record("acme", "CNAME", f"_acme-challenge.{each}", "x.edge.test", required=False)] for each in hostnames}


async def test_a_domain_is_described_by_its_records_and_the_cas_as_answers_show_them():
    domains: Any = Domains()
    domain = made()
    beside = await describing(Config(), domains, Certifying())(domain)
    assert beside.routing == Config().origin.routing
    assert [each["purpose"] for each in beside.dns_records] == ["routing", "acme"]
    assert beside.dns_records[0] == domains.records(domain)[0].shown()
