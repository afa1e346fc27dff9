"""What our zone says at this moment."""

import asyncio
from pathlib import Path

import dns.message
import dns.rcode
import msgspec
import pytest

from edgeproxy.config.dns import Dns
from edgeproxy.config.platform import Platform
from edgeproxy.config.structs import Config
from edgeproxy.control.dns import authority as module
from edgeproxy.control.dns.authority import Authority
from edgeproxy.control.dns.zone import zone_label
from edgeproxy.control.publish import Publisher
from edgeproxy.control.store import Store
from edgeproxy.errors import StateError
from edgeproxy.published.records import Challenge
from edgeproxy.published.writer import MapWriter
from tests.control.store.making import NOW, opened

CONFIG = Config(dns=Dns(zone="acme.example"), platform=Platform(cname_target="edge.example"))
HOST = "gallery.customer.test"
LABEL = zone_label(HOST)


@pytest.fixture
async def store(tmp_path: Path):
    async with opened(tmp_path) as store:
        yield store


async def put(store: Store, value: str, host: str = HOST) -> int:
    return await store.put_challenge(f"dns:{zone_label(host)}/{value}", Challenge(hostname=host), NOW)


def texts(authority: Authority, host: str = HOST) -> list[str]:
    """TXT values that are answered; the rcode where there is no such name."""
    query = dns.message.make_query(f"{zone_label(host)}.acme.example", "TXT")
    answer = dns.message.from_wire(authority.respond(query.to_wire(), udp=False).data)
    if answer.rcode() != dns.rcode.NOERROR:
        return [dns.rcode.to_text(answer.rcode())]
    return sorted(record.strings[0].decode() for rrset in answer.answer for record in rrset)


def serial(authority: Authority) -> int:
    answer = dns.message.from_wire(authority.respond(dns.message.make_query("acme.example", "SOA").to_wire(), udp=True).data)
    return int(answer.answer[0][0].serial)


async def test_the_stores_challenges_are_the_zones_texts(store):
    await put(store, "one")
    await put(store, "two")
    await put(store, "other", "other.test")
    await store.put_challenge("alpn:gallery.customer.test", Challenge(hostname=HOST), NOW)
    await store.put_challenge("http:gallery.customer.test/token", Challenge(hostname=HOST), NOW)
    authority = Authority(CONFIG, store)
    assert not authority.loaded.is_set()
    await authority.follow(None)
    assert authority.loaded.is_set()
    assert texts(authority) == ["one", "two"]
    assert texts(authority, "other.test") == ["other"]
    assert texts(authority, "none.test") == ["NXDOMAIN"]


async def test_only_the_labels_that_changed_are_looked_up_again(store):
    authority = Authority(CONFIG, store)
    await authority.follow(None)
    await put(store, "one")
    await put(store, "other", "other.test")
    await authority.follow([f"dns:{LABEL}/one", "alpn:x.test"])
    assert texts(authority) == ["one"]
    assert texts(authority, "other.test") == ["NXDOMAIN"]
    await store.delete_challenge(f"dns:{LABEL}/one", NOW)
    await authority.follow([f"dns:{LABEL}/one"])
    assert texts(authority) == ["NXDOMAIN"]


async def test_more_challenges_than_a_page_has_are_all_there(store, monkeypatch):
    monkeypatch.setattr(module, "PAGE", 3)
    hosts = [f"host{number}.test" for number in range(10)]
    for host in hosts:
        await put(store, f"value-of-{host}", host)
    authority = Authority(CONFIG, store)
    await authority.follow(None)
    assert [texts(authority, host) for host in hosts] == [[f"value-of-{host}"] for host in hosts]


async def test_a_label_has_a_bounded_number_of_values_which_fit_over_tcp(store):
    for number in range(module.VALUES + 10):
        await put(store, f"{number:0{module.VALUE_BYTES - 40}d}")
    await put(store, "x" * (module.VALUE_BYTES + 1 - 100))
    authority = Authority(CONFIG, store)
    await authority.follow(None)
    assert len(texts(authority)) == module.VALUES
    await authority.follow([f"dns:{LABEL}/1"])
    assert len(texts(authority)) == module.VALUES


async def test_a_key_that_is_no_answer_is_passed_over(store):
    for key in ("dns:", "dns:/", "dns:label", f"dns:{LABEL}/", "dns:label/é"):
        await store.put_challenge(key, Challenge(hostname=HOST), NOW)
    authority = Authority(CONFIG, store)
    await authority.follow(None)
    await authority.follow(["dns:", "dns:/", "dns:label", f"dns:{LABEL}/"])
    assert texts(authority) == ["NXDOMAIN"]


async def test_the_serial_grows_with_each_change_and_only_then(store):
    authority = Authority(CONFIG, store, clock=lambda: NOW)
    assert serial(authority) == int(NOW)
    await authority.follow(None)
    assert serial(authority) == int(NOW)
    for expected in (1, 2):
        await put(store, f"value{expected}")
        await authority.follow([f"dns:{LABEL}/value{expected}"])
        assert serial(authority) == int(NOW) + expected


async def test_while_the_store_fails_the_answers_are_those_from_before(store):
    await put(store, "one")
    authority = Authority(CONFIG, store)
    await authority.follow(None)
    async with store.database.write() as write:
        await write.connection.exec_driver_sql("ALTER TABLE challenges RENAME TO elsewhere")
    for keys in (None, [f"dns:{LABEL}/one"]):
        with pytest.raises(StateError):
            await authority.follow(keys)
    assert texts(authority) == ["one"]


async def test_an_answer_is_given_before_the_map_counts_as_having_it(store, tmp_path):
    await put(store, "from-before")
    authority = Authority(CONFIG, store)
    writer = MapWriter(tmp_path)
    publisher = Publisher(store, writer, (), on_challenges=authority.follow)
    task = asyncio.create_task(publisher.run())
    try:
        async with asyncio.timeout(60):
            await authority.loaded.wait()
            await publisher.published(await store.head_change())
            assert texts(authority) == ["from-before"]
            for number in range(20):
                host = f"host{number}.test"
                await publisher.published(await put(store, "value", host))
                assert texts(authority, host) == ["value"]
                await publisher.published(await store.delete_challenge(f"dns:{zone_label(host)}/value", NOW))
                assert texts(authority, host) == ["NXDOMAIN"]
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        writer.close()


async def test_the_zone_above_is_told_what_to_delegate(store):
    assert Authority(CONFIG, store).delegation == ["acme.example. NS edge.example."]
    inside = msgspec.structs.replace(CONFIG, platform=Platform(addresses=("192.0.2.1",)))
    assert Authority(inside, store).delegation == ["acme.example. NS ns.acme.example.", "ns.acme.example. A 192.0.2.1"]
