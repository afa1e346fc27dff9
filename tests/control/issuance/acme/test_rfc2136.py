"""Dynamic updates at a real Knot."""

import asyncio
import base64
import time
import types

import dns.message
import pytest

from edgeproxy.config.dns import Rfc2136
from edgeproxy.control.dns.lookup import Lookup
from edgeproxy.control.issuance.acme import rfc2136
from edgeproxy.control.issuance.acme.rfc2136 import DynamicZone, UpdateFailed
from edgeproxy.errors import Fault
from tests.integration.dnsservers import SECRET, Knot
from tests.ports import free_port

ZONE = "acme.example"
NAME = f"label.{ZONE}"
VALUE = "LoqXcYV8q5ONbJQxbmR7SCTNo3tiAXDfowyjxAjEuX0"


@pytest.fixture(scope="module")
def anyio_backend():
    """One loop for the module, as it has one server."""
    return "asyncio"


@pytest.fixture(scope="module")
async def knot(tmp_path_factory):
    async with Knot(tmp_path_factory.mktemp("knot"), {ZONE: (f"alias.{ZONE}. 60 CNAME ns.{ZONE}.",)}) as server:
        yield server


@pytest.fixture(autouse=True)
def patient(monkeypatch):
    """The server is a process of its own, on a machine that may be busy."""
    monkeypatch.setattr(rfc2136, "SEEN_TIME", 60.0)
    monkeypatch.setattr(rfc2136, "TRY_TIME", 60.0)


async def seen(knot, name=NAME):
    return sorted(await Lookup((knot.address,)).txt(name))


async def test_records_come_and_go_beside_each_other_and_twice_is_once(knot):
    zone = DynamicZone(knot.settings(ZONE))
    for value in (VALUE, "another", VALUE):
        await zone.add(NAME, value)
        assert value in await seen(knot)
    assert await seen(knot) == sorted([VALUE, "another"])
    for _ in range(2):
        await zone.remove(NAME, VALUE)
    assert await seen(knot) == ["another"]
    await zone.remove(NAME, "another")
    assert await seen(knot) == []


async def test_it_works_over_udp_where_tcp_is_not_let_through(knot, monkeypatch):
    monkeypatch.setattr(rfc2136, "TRIES", ("udp",))
    zone = DynamicZone(knot.settings(ZONE))
    await zone.add(NAME, VALUE)
    assert await seen(knot) == [VALUE]
    await zone.remove(NAME, VALUE)


OTHER = base64.b64encode(b"another secret of thirty-two by.").decode()


@pytest.mark.parametrize(
    ("settings", "told", "retryable"),
    [
        ({"key_name": "no-such-key"}, r"does not know the key no-such-key \(hmac-sha256\), .*\. Make dns\.rfc2136", False),
        ({"algorithm": "hmac-sha512"}, r"does not know the key edge-key \(hmac-sha512\), .*\(BADKEY\)", False),
        ({"key_secret": OTHER}, r"has another secret for the key edge-key \(hmac-sha256\) \(BADSIG\)\. Copy the secret", False),
        ({"key_name": "idle-key"}, r"does not know the key idle-key \(hmac-sha256\), or does not let it.*\(BADKEY\)", False),
        (
            {"zone": "other.example"},
            r"is not the primary of the zone other\.example \(NOTAUTH\)\. dns\.rfc2136\.server",
            False,
        ),
    ],
)
async def test_what_the_server_refuses_is_told_with_its_cure(knot, settings, told, retryable):
    with pytest.raises(UpdateFailed, match=told) as caught:
        await DynamicZone(knot.settings(ZONE, **settings)).add(NAME, VALUE)
    assert (caught.value.fault, caught.value.retryable) == (Fault.OPERATOR, retryable)
    assert caught.value.detail.startswith(f"The DNS server {knot.address} ")
    for secret in (SECRET, OTHER):
        assert secret not in caught.value.detail
    assert await seen(knot) == []


@pytest.mark.parametrize(
    ("rcode", "told", "retryable"),
    [
        ("REFUSED", "does not let the key edge-key update label.acme.example (REFUSED). Allow it there", False),
        ("NOTIMP", "does no dynamic updates (NOTIMP). Switch them on there", False),
        ("SERVFAIL", "failed at the update of label.acme.example (SERVFAIL). Its log tells why.", True),
    ],
)
def test_other_refusals_are_told_too(rcode, told, retryable):
    settings = Rfc2136(server="192.0.2.53:53", zone=ZONE, key_name="edge-key", key_secret=SECRET)
    error = DynamicZone(settings)._refused(rcode, NAME)
    assert told in error.detail
    assert error.retryable is retryable


async def test_a_name_outside_of_the_zone_is_told(knot):
    with pytest.raises(UpdateFailed, match=r"finds x\.elsewhere\.example outside of the zone acme\.example \(NOTZONE\)"):
        await DynamicZone(knot.settings(ZONE)).add("x.elsewhere.example", VALUE)


@pytest.mark.parametrize("hours", [-1, 1])
async def test_clocks_that_differ_are_told(knot, monkeypatch, hours):
    moved = types.SimpleNamespace(time=lambda: time.time() + hours * 3600)
    monkeypatch.setattr(dns.message, "time", moved)  # its clock for signatures
    with pytest.raises(UpdateFailed, match=r"too old or too new \(BADTIME\)\. The clocks differ"):
        await DynamicZone(knot.settings(ZONE)).add(NAME, VALUE)


async def test_a_server_that_is_away_is_told_and_may_be_tried_again(knot, monkeypatch):
    monkeypatch.setattr(rfc2136, "TRY_TIME", 1.0)
    settings = knot.settings(ZONE, server=f"127.0.0.1:{free_port()}")
    with pytest.raises(UpdateFailed, match=r"cannot be reached: .*refused.*\. Look whether it runs") as caught:
        await DynamicZone(settings).add(NAME, VALUE)
    assert caught.value.retryable


async def test_a_server_that_is_silent_is_given_up(monkeypatch, knot):
    monkeypatch.setattr(rfc2136, "TRY_TIME", 0.05)

    async def listen(reader, writer):
        await reader.read()
        writer.close()

    silent = await asyncio.start_server(listen, "127.0.0.1", 0)
    async with silent:
        settings = knot.settings(ZONE, server=f"127.0.0.1:{silent.sockets[0].getsockname()[1]}")
        with pytest.raises(UpdateFailed, match="cannot be reached: no answer over TCP within"):
            await DynamicZone(settings).add(NAME, VALUE)


@pytest.mark.parametrize(
    ("answer", "told"),
    [
        (b"", "it ends the connection instead of answering"),
        (b"\x00\x03abc", "what it answers over TCP is no DNS message"),
        (b"\x00\x0c\x00\x00\xa8\x00" + bytes(8), "what it answers over TCP is not signed"),
        (b"\xff\xff\x00", "it ends the connection instead of answering"),
    ],
)
async def test_what_is_no_answer_is_not_believed(monkeypatch, knot, answer, told):
    monkeypatch.setattr(rfc2136, "TRIES", ("tcp",))

    async def say(reader, writer):
        await reader.read(10)
        writer.write(answer)
        writer.close()

    async with await asyncio.start_server(say, "127.0.0.1", 0) as server:
        settings = knot.settings(ZONE, server=f"127.0.0.1:{server.sockets[0].getsockname()[1]}")
        with pytest.raises(UpdateFailed, match=f"cannot be reached: {told}"):
            await DynamicZone(settings).add(NAME, VALUE)


async def test_nobody_without_the_key_can_say_that_an_update_was_done(monkeypatch, knot):
    monkeypatch.setattr(rfc2136, "TRIES", ("tcp",))

    async def agree(reader, writer):
        request = dns.message.from_wire(await reader.readexactly(int.from_bytes(await reader.readexactly(2))), keyring=False)
        wire = dns.message.make_response(request).to_wire()
        writer.write(len(wire).to_bytes(2) + wire)
        writer.close()

    async with await asyncio.start_server(agree, "127.0.0.1", 0) as server:
        settings = knot.settings(ZONE, server=f"127.0.0.1:{server.sockets[0].getsockname()[1]}")
        with pytest.raises(UpdateFailed, match="what it answers over TCP is not signed"):
            await DynamicZone(settings).add(NAME, VALUE)


async def test_an_update_without_visible_effect_is_told(knot, monkeypatch):
    monkeypatch.setattr(rfc2136, "SEEN_TIME", 1.0)
    with pytest.raises(UpdateFailed, match=r"does not answer with it\. Look there for a CNAME at alias\.acme\.example"):
        await DynamicZone(knot.settings(ZONE)).add(f"alias.{ZONE}", VALUE)
