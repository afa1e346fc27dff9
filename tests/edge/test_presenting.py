"""With which certificate a handshake goes on, seen from the other end: waits, challenges, and contexts that are made first."""

from __future__ import annotations

import asyncio
import contextlib
import ssl
import time
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from edgeproxy.config.issuance import Allow, Issuance
from edgeproxy.edge.certificate import Cold, Found
from edgeproxy.edge.connection import Connection
from edgeproxy.edge.hello import alert_record
from edgeproxy.limits import Limits
from edgeproxy.link.messages import LinkMessage, Obtain, Obtained
from edgeproxy.published.records import Challenge, Site
from edgeproxy.units import Duration
from tests.certificates import self_signed
from tests.descriptors import descriptors
from tests.edge.harness import Edge, MapProcess, Script, config_for, fields, refused, until

GET = b"GET / HTTP/1.1\r\nHost: %b\r\nConnection: close\r\n\r\n"
UNRECOGNIZED_NAME = "unrecognized name"
INTERNAL_ERROR = "internal error"


@contextlib.asynccontextmanager
async def waiting_edge(
    directory: Path, port: int, maps: MapProcess, *, wait: float = 60, bound: int = 512
) -> AsyncIterator[Edge]:
    """A worker whose names *.new.test are admitted and have no certificate yet."""
    config = config_for(
        port,
        issuance=Issuance(directory="internal", handshake_wait=Duration(wait), allow=Allow(patterns=("*.new.test",))),
        limits=Limits(waiting_handshakes=bound),
    )
    edge = Edge(directory, config, maps)
    async with edge.running():
        yield edge


async def asked(edge: Edge, count: int = 1) -> list[Obtain]:
    """What the worker asked the controller for, once it is that many."""
    while True:
        found = [message for message in edge.asked if isinstance(message, Obtain)]
        if len(found) >= count:
            return found
        await asyncio.sleep(0.01)


async def test_the_first_visitor_waits_until_the_certificate_is_there(
    tmp_path: Path, origin: tuple[Script, int], maps: MapProcess
):
    async with waiting_edge(tmp_path, origin[1], maps) as edge:
        edge.add_site("a.new.test", "fresh")
        edge.publish(deletes=(("sites", "a.new.test"),))
        visitors = [asyncio.create_task(edge.exchange("a.new.test", GET % b"a.new.test")) for _ in range(20)]
        question = (await asked(edge))[0]
        await asyncio.sleep(0.5)
        assert len(await asked(edge)) == 1  # however many wait
        assert (question.hostname, question.client_ip) == ("a.new.test", "127.0.0.1")
        assert question.deadline > time.time()
        edge.publish(("sites", "a.new.test", Site(workspace="fresh", certificate="cert-a.new.test")))
        edge.tell(Obtained(id=question.id, ok=True))
        for visitor in visitors:
            assert fields(await visitor)[0] == 200
        assert edge.worker.obtaining.waiting == 0


@pytest.mark.parametrize(("denied", "alert"), [(True, UNRECOGNIZED_NAME), (False, INTERNAL_ERROR)])
async def test_a_name_that_gets_no_certificate_is_remembered_for_a_while(
    tmp_path: Path, origin: tuple[Script, int], maps: MapProcess, denied: bool, alert: str
):
    async with waiting_edge(tmp_path, origin[1], maps) as edge:

        def answer(message: LinkMessage) -> None:
            edge.asked.append(message)
            if isinstance(message, Obtain):
                edge.tell(Obtained(id=message.id, ok=False, denied=denied, detail="no", remember=60.0))

        edge.on_message = answer
        for _ in range(3):
            assert alert in await refused(edge, "b.new.test")
        assert len(await asked(edge)) == 1


async def test_who_waits_too_long_gets_an_alert(
    tmp_path: Path, origin: tuple[Script, int], maps: MapProcess, monkeypatch: pytest.MonkeyPatch
):
    waits = Connection.waits

    def at_the_last_moment(connection: Connection) -> None:
        connection.deadline = connection.worker.now  # of the handshake's own time none is left, and none is needed
        waits(connection)

    monkeypatch.setattr(Connection, "waits", at_the_last_moment)
    async with waiting_edge(tmp_path, origin[1], maps, wait=0.5) as edge:
        assert INTERNAL_ERROR in await refused(edge, "c.new.test")
        assert edge.worker.obtaining.waiting == 0


async def test_only_so_many_may_wait(tmp_path: Path, origin: tuple[Script, int], maps: MapProcess):
    async with waiting_edge(tmp_path, origin[1], maps, bound=2, wait=120) as edge:
        tasks = [asyncio.create_task(refused(edge, f"{number}.new.test")) for number in range(2)]
        questions = await asked(edge, 2)
        assert INTERNAL_ERROR in await refused(edge, "3.new.test")
        assert edge.worker.obtaining.waiting == 2  # and it was not for one of them to give up
        for question in questions:
            edge.tell(Obtained(id=question.id, ok=False, denied=False, detail="no", remember=60.0))
        await asyncio.gather(*tasks)


async def test_a_client_that_leaves_while_it_waits_frees_its_place(
    tmp_path: Path, origin: tuple[Script, int], maps: MapProcess
):
    async with waiting_edge(tmp_path, origin[1], maps) as edge:
        task = asyncio.create_task(edge.connect("d.new.test"))
        question = (await asked(edge))[0]
        while not edge.worker.obtaining.waiting:
            await asyncio.sleep(0.01)
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task
        while edge.worker.obtaining.waiting:
            await asyncio.sleep(0.01)
        edge.tell(Obtained(id=question.id, ok=True))


async def test_another_controller_is_asked_again(tmp_path: Path, origin: tuple[Script, int], maps: MapProcess):
    async with waiting_edge(tmp_path, origin[1], maps) as edge:
        edge.add_site("e.new.test", "w")
        edge.publish(deletes=(("sites", "e.new.test"),))
        visitor = asyncio.create_task(edge.exchange("e.new.test", GET % b"e.new.test"))
        first = (await asked(edge))[0]
        await edge.relink()
        again = (await asked(edge, 2))[1]
        assert again == first
        edge.publish(("sites", "e.new.test", Site(workspace="w", certificate="cert-e.new.test")))
        edge.tell(Obtained(id=again.id, ok=True))
        assert fields(await visitor)[0] == 200


def publish_challenge(edge: Edge, hostname: str) -> bytes:
    """Has a challenge for the hostname pending; gives the chain that answers it."""
    chain, key = self_signed(hostname)
    record = Challenge(hostname=hostname, chain=chain, sealed_key=edge.sealer.seal(key, b"alpn:" + hostname.encode()))
    edge.publish(("challenges", f"alpn:{hostname}", record))
    return chain


async def answered(edge: Edge, hostname: str) -> str:
    """The certificate, PEM, with which a CA is answered that asks for the answer to a challenge."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    context.set_alpn_protocols(["acme-tls/1"])
    reader, writer = await asyncio.open_connection("127.0.0.1", edge.port, ssl=context, server_hostname=hostname)
    tls = writer.get_extra_info("ssl_object")
    assert tls.selected_alpn_protocol() == "acme-tls/1"
    found = ssl.DER_cert_to_PEM_cert(tls.getpeercert(True)).strip()
    assert await reader.read() == b""
    writer.close()
    return found


async def test_a_challenge_is_answered_and_nothing_else_said(edge: Edge):
    chain = publish_challenge(edge, "challenged.test")
    assert await answered(edge, "challenged.test") in chain.decode()


async def test_each_of_several_challenges_in_a_row_has_its_own_answer(edge: Edge):
    # A CA may ask about the next one before anything else has made the worker look at what changed.
    for _ in range(3):
        chain = publish_challenge(edge, "challenged.test")
        assert await answered(edge, "challenged.test") in chain.decode()
    edge.publish(deletes=(("challenges", "alpn:challenged.test"),))
    assert UNRECOGNIZED_NAME in await challenged(edge, "challenged.test")


async def challenged(edge: Edge, hostname: str) -> str:
    """How a CA that asks for the answer to a challenge is refused."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    context.set_alpn_protocols(["acme-tls/1"])
    with pytest.raises(ssl.SSLError) as caught:
        await asyncio.open_connection("127.0.0.1", edge.port, ssl=context, server_hostname=hostname)
    return str(caught.value).replace("_", " ").lower()


async def test_a_challenge_that_is_not_pending_or_cannot_be_used_is_refused(edge: Edge):
    assert UNRECOGNIZED_NAME in await challenged(edge, "gallery.test")
    chain, key = self_signed("broken.test")
    sealed = edge.sealer.seal(key, b"alpn:another.test")
    edge.publish(("challenges", "alpn:broken.test", Challenge(hostname="broken.test", chain=chain, sealed_key=sealed)))
    assert INTERNAL_ERROR in await challenged(edge, "broken.test")
    assert fields(await edge.exchange("gallery.test", GET % b"gallery.test"))[0] == 200


async def test_contexts_are_made_in_the_loop_one_at_a_time_and_the_others_by_the_thread(
    edge: Edge, monkeypatch: pytest.MonkeyPatch
):
    certificates = edge.worker.certificates
    at_once: list[str] = []
    by_thread: list[str] = []
    build, obtain = certificates.build, certificates.obtain_context

    def in_the_loop(cold: Cold, now: float) -> Found:
        at_once.append(cold.hostname)
        return build(cold, now)

    async def in_the_thread(cold: Cold, now: float) -> Found:
        by_thread.append(cold.hostname)
        return await obtain(cold, now)

    monkeypatch.setattr(certificates, "build", in_the_loop)
    monkeypatch.setattr(certificates, "obtain_context", in_the_thread)
    for number in range(2):
        edge.add_site(f"cold{number}.test", "w")
    for number in range(2):
        host = f"cold{number}.test"
        assert fields(await edge.exchange(host, GET % host.encode()))[0] == 200
        edge.worker.presenting._make_next = float("inf")
    assert (at_once, by_thread) == (["cold0.test"], ["cold1.test"])


@pytest.mark.parametrize("by_thread", [False, True])
async def test_without_a_descriptor_for_a_new_name_its_visitor_is_told_and_the_next_one_served(edge: Edge, by_thread: bool):
    edge.add_site("cold.test", "w")
    visitor, incoming, outgoing = edge.client_context("http/1.1"), ssl.MemoryBIO(), ssl.MemoryBIO()
    with contextlib.suppress(ssl.SSLWantReadError):
        visitor.wrap_bio(incoming, outgoing, server_hostname="cold.test").do_handshake()
    reader, writer = await asyncio.open_connection("127.0.0.1", edge.port)
    await until(lambda: edge.worker.connections)
    if by_thread:
        edge.worker.presenting._make_next = float("inf")
        edge.add_site("warm.test", "w")
        await edge.exchange("warm.test", GET % b"warm.test")  # the thread is there
        await until(lambda: len(edge.worker.connections) == 1)  # and that visitor's descriptor is not free later
    with descriptors(0):
        writer.write(outgoing.read())
        assert await asyncio.wait_for(reader.read(), 60) == alert_record(80)
    writer.close()
    assert fields(await edge.exchange("cold.test", GET % b"cold.test"))[0] == 200
