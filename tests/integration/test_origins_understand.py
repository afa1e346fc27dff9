"""Hostile bytes through a running edge to nginx, HAProxy and Caddy: each origin understands exactly the requests that the edge
meant, with their boundaries, their bodies and their workspace, and nothing of what the edge refused."""

from __future__ import annotations

import contextlib
import socket
import ssl
from collections.abc import Iterator
from dataclasses import dataclass
from urllib.parse import unquote_to_bytes

import pytest
from hypothesis import settings

from tests.fuzz import corpus
from tests.fuzz.amount import ORDINARY
from tests.fuzz.http1_opinions import WAITS, Message, h11_responses, our_requests
from tests.fuzz.http1_streams import one_thing_wrong
from tests.integration.opinions import KINDS, Recorder, Understood, origin, program
from tests.integration.running import PATIENCE, Running, wait_for
from tests.integration.servers import require

TAKEN, REFUSED = 30, 15
"""Streams of each kind for each origin, of some hundreds; `make fuzz-diff` sends all."""


@dataclass
class Chain:
    """The edge, an origin of one kind behind it, and the recorder behind that."""

    edge: Running
    host: str
    recorder: Recorder
    context: ssl.SSLContext

    def send(self, data: bytes, cut: int, answers: int) -> bytes:
        """Sends the bytes over a connection of their own, in two pieces, and reads so many final answers, or to the end."""
        plain = socket.create_connection((self.edge.host, self.edge.https_port), PATIENCE)
        plain.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        said = b""
        with self.context.wrap_socket(plain, server_hostname=self.host) as sock, contextlib.suppress(OSError):
            with contextlib.suppress(OSError):  # the edge may have answered the first piece, and closed
                sock.sendall(data[:cut])
                sock.sendall(data[cut:])
            while len(final(said)) < answers and (piece := sock.recv(65536)):
                said += piece
        return said


def final(said: bytes) -> list[Message]:
    """The answers that are there whole, interim ones left out."""
    return [one for one in h11_responses(said, b"GET").messages if one.end is not None and one.start[0] >= b"200"]


def streams(host: str, *, everything: bool) -> list[bytes]:
    """The corpus, and of the streams with one thing wrong some that the edge takes and some that it does not. In the middle
    of the list as well as at its end the connections to the origin are those of the requests before."""
    wrong = list(one_thing_wrong(answers=False))
    taken = [data for data in wrong if our_requests([data]).messages]
    refused = [data for data in wrong if not our_requests([data]).messages]
    if not everything:
        taken = taken[:: max(1, len(taken) // TAKEN)]
        refused = refused[:: max(1, len(refused) // REFUSED)]
    taken = [data for data in taken if not data.startswith(b"HEAD")]  # whose answers are read by other rules
    chosen = [*corpus.files("http1/requests").values(), *taken, *refused]
    return [data.replace(b"a.test", host.encode()) for data in chosen]


@pytest.fixture(scope="module", params=KINDS)
def chain(request: pytest.FixtureRequest, front_door: Running, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Chain]:
    kind: str = request.param
    if kind == "caddy" and program(kind) is None:
        pytest.skip("caddy is not installed")  # large, and no other test needs it: nowhere is it asked for
    require(kind)
    host = f"{kind[0]}.test"
    with Recorder() as recorder, origin(kind, tmp_path_factory.mktemp("origin") / kind, recorder) as port:
        front_door.add_domain(host, f"of-{kind}", origin=f"http://127.0.0.1:{port}")
        with contextlib.closing(front_door.visitor(host)) as visitor:
            assert visitor.get("/first")[0] == 200
        wait_for(lambda: recorder.requests, "the first request has come")
        recorder.requests.clear()
        context = ssl.create_default_context(cafile=front_door.root)
        yield Chain(front_door, host, recorder, context)


def check(chain: Chain, data: bytes, cut: int) -> int:
    """One stream; how many requests came to the recorder."""
    ours = our_requests([data])
    whole = [one for one in ours.messages if one.end is not None]
    meant = [one for one in whole if one.head.host == chain.host]
    recorder = chain.recorder
    recorder.requests.clear()
    # Where the edge closes it is read to the end: what is answered behind that would be too much.
    said = chain.send(data, cut, len(whole) if ours.how == WAITS else len(whole) + 2)
    got = list(recorder.requests)
    assert not recorder.faults, (data, recorder.faults)
    passed = [one for one in final(said) if any(name == b"x-understood" for name, _ in one.fields)]
    answered = len(passed) == len(got) or (
        ours.how != WAITS and len(passed) < len(got)
    )  # an answer may be lost where it closes
    assert answered, f"{data!r}: {got} came and {len(passed)} were answered: {said!r}"
    # What an origin refuses does not come; what comes does so whole and in its order.
    left = iter(meant)
    for one in got:
        assert any(same(one, message, chain.host) for message in left), f"{data!r}, of which {meant} is meant, came as {got}"
    return len(got)


def same(one: Understood, message: Message, host: str) -> bool:
    """Whether the recorder's request is the one that we meant."""
    workspace = {"n.test": b"of-nginx", "h.test": b"of-haproxy", "c.test": b"of-caddy"}[host]
    assert one.workspaces == (workspace,)
    assert len(one.hosts) == 1
    # Caddy writes a path anew, with its odd bytes percent-encoded.
    targets = unquote_to_bytes(one.target), unquote_to_bytes(message.head.target)
    return targets[0] == targets[1] and (one.method, one.body) == (message.start[0], message.body)


def test_origins_understand_what_the_edge_meant_and_nothing_else(chain: Chain) -> None:
    everything = settings().max_examples > ORDINARY
    found = streams(chain.host, everything=everything)
    came = sum(check(chain, data, number * 7 % len(data)) for number, data in enumerate(found))
    assert came > TAKEN, "nearly nothing came"
    with contextlib.closing(chain.edge.visitor(chain.host)) as visitor:
        chain.recorder.requests.clear()
        assert visitor.get("/last")[0] == 200
    assert [one.target for one in chain.recorder.requests] == [b"/last"]
