"""A platform with a database of its own registers nothing: the edge asks its gate. Whole program, real HTTP between them."""

import collections
import contextlib
import dataclasses
import functools
import http.server
import itertools
import json
import re
import socket
import ssl
import sys
import threading
import time
import urllib.parse
from concurrent.futures import ThreadPoolExecutor

import pytest

from edgeproxy.control.issuance.gate import OF_A_NETWORK
from tests.hellos import from_python
from tests.integration.running import PATIENCE, Running, wait_for
from tests.integration.servers import require
from tests.integration.visitors import TlsClient, curl, url
from tests.ports import free_port


@dataclasses.dataclass
class Answer:
    """What the gate says of a name."""

    status: int = 200
    body: object = None
    headers: dict[str, str] = dataclasses.field(default_factory=dict)
    pause: float = 0.0
    until: threading.Event | None = None
    """What it waits for."""


def routed(workspace, *, max_age=None, pause=0.0, **more):
    headers = {} if max_age is None else {"Cache-Control": f"max-age={max_age}"}
    return Answer(200, {"workspace_id": workspace, **more}, headers, pause)


class Gate:
    """A small real gate. Names that it was told nothing of get 404."""

    def __init__(self, port=0):
        self.answers: dict[str, Answer] = {}
        self.asked: collections.Counter[str] = collections.Counter()
        self.queries: list[dict[str, str]] = []
        self.connections: list[socket.socket] = []
        gate = self

        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def setup(self):
                super().setup()
                gate.connections.append(self.connection)

            def do_GET(self):
                query = dict(urllib.parse.parse_qsl(urllib.parse.urlsplit(self.path).query))
                gate.queries.append(query)
                gate.asked[query["domain"]] += 1
                answer = gate.answers.get(query["domain"], Answer(404))
                if answer.pause:
                    gate.stopped.wait(answer.pause)
                if answer.until is not None:
                    answer.until.wait(PATIENCE)
                body = b"" if answer.body is None else json.dumps(answer.body).encode()
                with contextlib.suppress(ConnectionError):
                    self.send_response(answer.status)
                    for name, value in answer.headers.items():
                        self.send_header(name, value)
                    self.send_header("content-type", "application/json" if body else "text/plain")
                    self.send_header("content-length", str(len(body)))
                    self.end_headers()
                    self.wfile.write(body)

            def log_message(self, *_arguments):
                return

        self.stopped = threading.Event()
        self._server = http.server.ThreadingHTTPServer(("127.0.0.1", port), Handler)
        self._server.daemon_threads = True
        self.port = self._server.server_address[1]
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.02,))
        self._thread.start()

    def close(self):
        self.stopped.set()
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()
        for connection in self.connections:  # kept ones would go on being served
            with contextlib.suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)


class Origin(http.server.BaseHTTPRequestHandler):
    """Says who it is and what it was told."""

    protocol_version = "HTTP/1.1"

    def do_GET(self):
        told = {"workspace": self.headers["workspace-id"], "port": self.connection.getsockname()[1]}
        body = json.dumps(told).encode()
        self.send_response(200)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_arguments):
        return


@contextlib.contextmanager
def listening(handler):
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, args=(0.02,))
    thread.start()
    try:
        yield server.server_address[1]
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


@pytest.fixture(scope="module")
def origin():
    with listening(Origin) as port:
        yield port


@pytest.fixture(scope="module")
def gate():
    gate = Gate()
    yield gate
    gate.close()


QUICKER = """
import sys
from edgeproxy.control.issuance import gate
from edgeproxy.edge import worker
gate.TROUBLE_LIFETIME = 0.5
worker.REFRESH_PAUSE = 0.5
from edgeproxy.cli.main import main
main()
"""
"""The program with less patience: nobody would wait 5 seconds for each gate that failed in a test."""

COMMAND = [sys.executable, "-c", QUICKER, "serve", "--config"]


REMEMBERING = [sys.executable, "-c", QUICKER.replace("LIFETIME = 0.5", "LIFETIME = 600.0"), "serve", "--config"]
"""The same, but for a gate that failed: it is not asked again for as long as a test takes, however slow the machine is."""


def _tables(origin, gate_port, **allow):
    return {
        "origin": {"url": f"http://127.0.0.1:{origin}", "allow": ["127.0.0.2/32"]},
        "platform": {"name": "platform.test"},
        "issuance.allow": {"gate": f"http://127.0.0.1:{gate_port}/may?key=1", "gate_timeout": "60s", **allow},
    }


@pytest.fixture(scope="module")
def edge(origin, gate, tmp_path_factory):
    require("curl")
    with Running(tmp_path_factory.mktemp("gate"), _tables(origin, gate.port), command=COMMAND) as edge:
        wait_for((edge.state / "internal-ca.pem").exists, "the CA's root")
        yield edge


def visit(edge, name):
    """The workspace that the origin was told."""
    visited = TlsClient(edge).visit(name, "/")
    assert visited.status == 200, visited.body
    return json.loads(visited.body)["workspace"]


def alert(edge, name):
    """What TLS says instead of a handshake: "unrecognized name" or "internal error"."""
    with pytest.raises((ssl.SSLError, ConnectionError)) as raised:
        TlsClient(edge).visit(name, "/")
    found = re.search(r"unrecognized.name|internal.error", str(raised.value).lower())
    assert found is not None, raised.value
    return found[0].replace("_", " ")


def test_one_question_for_a_name_however_many_handshakes(edge, gate):
    gate.answers["busy.gated.test"] = routed("busy", pause=0.3)
    with ThreadPoolExecutor(30) as threads:
        assert set(threads.map(lambda _: visit(edge, "busy.gated.test"), range(30))) == {"busy"}
    assert gate.asked["busy.gated.test"] == 1
    assert {"key": "1", "domain": "busy.gated.test", "client_ip": "127.0.0.1"} in gate.queries


def test_one_question_for_a_denied_name_however_many_handshakes(edge, gate):
    gate.answers["denied.gated.test"] = Answer(404, headers={"Cache-Control": "max-age=600"}, pause=0.3)
    with ThreadPoolExecutor(30) as threads:
        assert set(threads.map(lambda _: alert(edge, "denied.gated.test"), range(30))) == {"unrecognized name"}
    for _ in range(10):
        assert alert(edge, "denied.gated.test") == "unrecognized name"
    assert gate.asked["denied.gated.test"] == 1


def test_names_that_are_decided_otherwise_are_no_question(edge, gate):
    edge.add_domain("registered.test", "registered")
    assert visit(edge, "registered.test") == "registered"
    assert visit(edge, "one.platform.test") == "one"
    status, added = edge.api(
        "POST", "/api/v1/infrastructure/domains", {"domain": "pending.test", "workspace_id": "w", "verify": True}
    )
    assert (status, added["verification_required"]) == (201, True)
    assert alert(edge, "pending.test") == "unrecognized name"
    assert not {"registered.test", "one.platform.test", "www.platform.test", "pending.test"} & set(gate.asked)


def test_a_denial_counts_as_long_as_the_gate_says(edge, gate):
    name = "later.gated.test"
    gate.answers[name] = Answer(403, headers={"Cache-Control": "max-age=2"})
    began = time.monotonic()
    assert alert(edge, name) == "unrecognized name"
    gate.answers[name] = routed("later")
    assert wait_for(lambda: _served(edge, name), "the name admitted") == "later"
    assert time.monotonic() - began >= 1.9
    assert gate.asked[name] == 2


def _served(edge, name):
    """The workspace, or None where the handshake is refused, or the request of one that was begun a moment too early."""
    try:
        visited = TlsClient(edge).visit(name, "/")
    except (ssl.SSLError, ConnectionError):
        return None
    assert visited.status in (200, 404), visited.body
    return json.loads(visited.body)["workspace"] if visited.status == 200 else None


def test_a_name_may_have_an_origin_of_its_own_if_that_is_allowed(edge, gate, origin):
    class Other(http.server.ThreadingHTTPServer):
        daemon_threads = True

    other = Other(("127.0.0.2", 0), Origin)
    thread = threading.Thread(target=other.serve_forever, args=(0.02,))
    thread.start()
    try:
        port = other.server_address[1]
        gate.answers["own.gated.test"] = routed("own", origin=f"http://127.0.0.2:{port}")
        told = json.loads(curl_body(edge, "own.gated.test"))
        assert told == {"workspace": "own", "port": port}
    finally:
        other.shutdown()
        thread.join()
        other.server_close()
    gate.answers["private.gated.test"] = routed("private", origin=f"http://127.0.0.1:{origin}")
    assert alert(edge, "private.gated.test") == "internal error"


def curl_body(edge, name):
    reply = curl(edge, url(edge, name))
    assert reply.status == 200
    return reply.body


def test_an_answer_that_is_neither_yes_nor_no_is_not_now(edge, gate):
    answers = {
        "error.gated.test": Answer(500),
        "too-many.gated.test": Answer(429),
        "moved.gated.test": Answer(302, headers={"Location": "/elsewhere"}),
        "nonsense.gated.test": Answer(200, {"workspace_id": "no workspace at all"}),
        "list.gated.test": Answer(200, ["a", "b"]),
    }
    gate.answers |= answers
    assert [alert(edge, name) for name in answers] == ["internal error"] * len(answers)
    gate.answers |= dict.fromkeys(answers, routed("cured"))
    for name in answers:
        assert wait_for(functools.partial(_served, edge, name), f"{name} admitted") == "cured"


def test_a_yes_without_a_workspace_admits_the_name_and_routes_it_nowhere(edge, gate):
    gate.answers["nobody.gated.test"] = Answer(200)
    reply = curl(edge, "-H", "Accept: application/json", url(edge, "nobody.gated.test"))
    assert (reply.status, json.loads(reply.body)["code"]) == (404, "unknown_host")


def test_a_stale_route_is_served_while_the_gate_is_asked_again(edge, gate):
    name = "stale.gated.test"
    gate.answers[name] = routed("before", max_age=1)
    assert visit(edge, name) == "before"
    asked, answered = gate.asked[name], threading.Event()
    gate.answers[name] = dataclasses.replace(routed("after"), until=answered)
    try:

        def asked_again():
            assert visit(edge, name) == "before"
            return gate.asked[name] > asked

        wait_for(asked_again, "another question")
        # The gate takes its time, and nobody waits for it.
        assert [visit(edge, name) for _ in range(5)] == ["before"] * 5
    finally:
        answered.set()
    wait_for(lambda: visit(edge, name) == "after", "the new workspace")
    # Not by each visitor: once, or twice where the first answer was out of date before the second stood ready.
    assert asked < gate.asked[name] <= asked + 2


def test_only_a_no_removes_a_route(edge, gate):
    name = "removed.gated.test"
    gate.answers[name] = routed("kept", max_age=1)
    assert visit(edge, name) == "kept"
    gate.answers[name] = Answer(500)
    asked = gate.asked[name]

    def asked_again():
        assert visit(edge, name) == "kept"
        return gate.asked[name] > asked

    wait_for(asked_again, "a refresh that met the error")
    for _ in range(10):
        assert visit(edge, name) == "kept"
    with TlsClient(edge).connect(name) as sock:  # routing is per request: an open connection does not outlive its name
        gate.answers[name] = Answer(410)
        wait_for(lambda: _served(edge, name) is None, "the name refused")
        sock.sendall(f"GET / HTTP/1.1\r\nhost: {name}\r\nconnection: close\r\n\r\n".encode())
        assert sock.recv(65536).startswith(b"HTTP/1.1 404 ")


def test_a_network_that_floods_a_slow_gate_holds_up_nobody_else(edge, gate):
    names = [f"flood{number}.gated.test" for number in range(60)]
    gate.answers |= dict.fromkeys(names, routed("flood", pause=PATIENCE))
    gate.answers |= {"there.gated.test": routed("there"), "honest.gated.test": routed("honest")}
    assert visit(edge, "there.gated.test") == "there"
    with contextlib.ExitStack() as stack:
        for name in names:
            flood = stack.enter_context(socket.create_connection((edge.host, edge.https_port), PATIENCE, ("127.0.3.1", 0)))
            flood.sendall(from_python(ssl.create_default_context(), name))
        wait_for(lambda: _asked(gate, names) >= OF_A_NETWORK, "the gate busy")
        assert visit(edge, "honest.gated.test") == "honest"
        assert visit(edge, "there.gated.test") == "there"
        assert _asked(gate, names) < len(names)


def _asked(gate, names):
    """How many of the names the gate was asked about."""
    return sum(gate.asked[name] > 0 for name in names)


def test_a_slow_gate_costs_others_nothing_and_its_own_visitors_only_its_timeout(gate, origin, tmp_path):
    some = [f"quick{number}.gated.test" for number in range(50)]
    gate.answers |= dict.fromkeys(some, routed("quick"))
    with Running(tmp_path, _tables(origin, gate.port, gate_timeout="1s"), command=REMEMBERING) as edge:
        wait_for((edge.state / "internal-ca.pem").exists, "the CA's root")
        quick = next(name for name in some if _served(edge, name))  # in time, which on a slow machine the first may not be

        def served_meanwhile(number):
            """Of a slow name's visitors: how many visits to another name began and ended while all of them waited."""
            name = f"slow{number}.gated.test"
            gate.answers[name] = routed("slow", pause=PATIENCE)
            with ThreadPoolExecutor(20) as threads:
                waiting = [threads.submit(alert, edge, name) for _ in range(20)]
                visits = 0
                while not all(future.done() for future in waiting):
                    asked = gate.asked[name]
                    assert visit(edge, quick) == "quick"
                    visits += asked and not any(future.done() for future in waiting)
                assert {future.result() for future in waiting} == {"internal error"}
            assert gate.asked[name] == 1
            return visits

        # On a slow machine the second of the gate's timeout may be over before anybody else was served.
        wait_for(functools.partial(lambda numbers: served_meanwhile(next(numbers)) >= 3, itertools.count()), "visits meanwhile")


def test_a_gate_that_is_down_does_not_touch_names_that_have_certificates(origin, tmp_path):
    port = free_port()
    gate = Gate(port)
    gate.answers |= {"here.gated.test": routed("here", max_age=1), "new.gated.test": routed("new")}
    with Running(tmp_path, _tables(origin, port), command=COMMAND) as edge:
        wait_for((edge.state / "internal-ca.pem").exists, "the CA's root")
        edge.add_domain("registered.test", "registered")
        assert visit(edge, "here.gated.test") == "here"
        assert visit(edge, "registered.test") == "registered"
        gate.close()

        def refreshed_in_vain():
            assert visit(edge, "here.gated.test") == "here"
            return edge.logged("the gate gave no usable answer")

        wait_for(refreshed_in_vain, "a refresh that did not reach the gate")
        edge.stop()
        edge.start()
        for _ in range(5):
            assert visit(edge, "here.gated.test") == "here"
            assert visit(edge, "registered.test") == "registered"
        assert alert(edge, "new.gated.test") == "internal error"
        edge.api("POST", "/api/v1/infrastructure/domains", {"domain": "another.test", "workspace_id": "another"})
        assert visit(edge, "another.test") == "another"
        again = Gate(port)
        again.answers |= gate.answers
        try:
            assert wait_for(lambda: _served(edge, "new.gated.test"), "the new name, with the gate back") == "new"
        finally:
            again.close()
