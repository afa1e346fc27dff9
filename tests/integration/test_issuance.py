"""A first visitor's handshake obtains the certificate: the whole program against a real ACME CA."""

import asyncio
import contextlib
import http.client
import json
import socket
import ssl
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import ClassVar

import pytest
from cryptography import x509

from tests.integration.running import PATIENCE, Running, wait_for
from tests.integration.servers import Pebble, require


class Origin(BaseHTTPRequestHandler):
    """Says who it was asked for."""

    protocol_version = "HTTP/1.1"

    def do_GET(self):
        body = json.dumps({"workspace": self.headers["workspace-id"], "host": self.headers["host"]}).encode()
        self.send_response(200)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_arguments):
        return


class Gate(BaseHTTPRequestHandler):
    """Admits *.gated.example for the workspace that is the first label."""

    asked: ClassVar[list[str]] = []

    def do_GET(self):
        name = self.path.partition("domain=")[2].partition("&")[0]
        self.asked.append(self.path)
        allowed = name.endswith(".gated.example")
        body = json.dumps({"workspace_id": name.partition(".")[0]}).encode() if allowed else b""
        self.send_response(200 if allowed else 404)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_arguments):
        return


@contextlib.contextmanager
def serving(handler):
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield server.server_address[1]
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


@pytest.fixture
def origin():
    with serving(Origin) as port:
        yield port


@pytest.fixture
def gate():
    Gate.asked = []
    with serving(Gate) as port:
        yield port


class World:
    """Pebble in a loop of its own, and the edge at the ports where pebble validates."""

    def __init__(self, folder, origin, **tables):
        self.folder = folder
        self.loop = asyncio.new_event_loop()
        self.thread = threading.Thread(target=self.loop.run_forever)
        self.tables, self.origin = tables, origin

    def run(self, work):
        return asyncio.run_coroutine_threadsafe(work, self.loop).result(PATIENCE)

    def __enter__(self):
        self.edge = Running(self.folder / "edge")
        self.thread.start()
        try:
            self._begin()
        except BaseException:
            self.__exit__()  # a thread that is left over would keep the tests from ending
            raise
        return self

    def _begin(self):
        self.pebble = self.run(self._pebble())
        issuance = {
            "directory": self.pebble.directory,
            "ca_bundle": str(self.pebble.ca_bundle),
            "agree_terms": True,
            "email": "ops@example.com",
        }
        tables = {name: dict(table) for name, table in self.tables.items()}
        tables["issuance"] = issuance | tables.get("issuance", {})
        tables["origin"] = {"url": f"http://127.0.0.1:{self.origin}"} | tables.get("origin", {})
        self.edge.configure(tables)
        self.edge.start()
        self.context = ssl.create_default_context(cadata=self.run(self.pebble.root()).decode())

    async def _pebble(self):
        return await Pebble(self.folder, http_port=self.edge.http_port, tls_port=self.edge.https_port).__aenter__()

    def __exit__(self, *_error):
        self.edge.stop()
        with contextlib.suppress(Exception):
            self.run(self.pebble.__aexit__())
        self.loop.call_soon_threadsafe(self.loop.stop)
        self.thread.join()
        self.loop.close()

    def add(self, name, workspace):
        status, answer = self.edge.api("POST", "/api/v1/infrastructure/domains", {"domain": name, "workspace_id": workspace})
        assert status == 201, answer

    def visit(self, name):
        """One handshake, verified against pebble's root, and one request: the origin's JSON and the certificate."""
        plain = socket.create_connection(("127.0.0.1", self.edge.https_port), timeout=PATIENCE)
        with self.context.wrap_socket(plain, server_hostname=name) as sock:
            leaf = x509.load_der_x509_certificate(sock.getpeercert(binary_form=True) or b"")
            sock.sendall(f"GET / HTTP/1.1\r\nHost: {name}\r\nConnection: close\r\n\r\n".encode())
            response = http.client.HTTPResponse(sock)
            response.begin()
            assert response.status == 200, response.read()
            return json.loads(response.read()), leaf


@pytest.fixture
def folder(tmp_path):
    require("pebble", "pebble-challtestsrv")
    return tmp_path


def test_the_first_visitors_handshake_obtains_the_certificate_and_a_restart_makes_no_new_order(folder, origin):
    name = "gallery.client-domain.com"
    with World(folder, origin) as world:
        world.add(name, "spandantest")
        began = time.monotonic()
        said, leaf = world.visit(name)
        took = time.monotonic() - began
        assert said == {"workspace": "spandantest", "host": name}
        assert world.pebble.orders == 1
        assert took < 30
        world.edge.stop()
        world.edge.start()
        assert world.visit(name)[1] == leaf
        assert (world.pebble.orders, world.pebble.accounts) == (1, 1)
        status, answer = world.edge.api("GET", f"/api/v1/infrastructure/ssl/{name}")
        assert (status, answer["certificate"]["names"]) == (200, [name])


def test_simultaneous_handshakes_make_one_order_and_all_are_served(folder, origin):
    with World(folder, origin) as world:
        world.add("busy.example.com", "ws")
        with ThreadPoolExecutor(40) as threads:
            visits = list(threads.map(lambda _: world.visit("busy.example.com"), range(40)))
        assert {said["workspace"] for said, _ in visits} == {"ws"}
        assert len({leaf for _, leaf in visits}) == 1
        assert world.pebble.orders == 1


def test_many_new_names_at_once_are_all_served_under_one_account(folder, origin):
    names = [f"n{number}.example.com" for number in range(20)]
    with World(folder, origin) as world:
        for name in names:
            world.add(name, "ws-" + name.partition(".")[0])
        with ThreadPoolExecutor(20) as threads:
            visits = list(threads.map(world.visit, names))
        assert [said["workspace"] for said, _ in visits] == ["ws-" + name.partition(".")[0] for name in names]
        assert (world.pebble.orders, world.pebble.accounts) == (20, 1)


def test_http_01_is_answered_on_port_80_by_whichever_worker_the_ca_reaches(folder, origin):
    with World(folder, origin, issuance={"challenges": ["http-01"]}) as world:
        for number in range(4):
            world.add(f"h{number}.example.com", "ws")
            assert world.visit(f"h{number}.example.com")[0]["workspace"] == "ws"
        assert world.pebble.orders == 4


def test_a_stranger_gets_an_alert_and_the_ca_hears_nothing(folder, origin):
    with World(folder, origin) as world:
        for _ in range(3):
            with pytest.raises(ssl.SSLError, match=r"(?i)unrecognized.name"):
                world.visit("stranger.example.com")
        assert world.pebble.orders == 0


def test_the_gate_admits_routes_and_is_asked_once_for_each_name(folder, origin, gate):
    allow = {"gate": f"http://127.0.0.1:{gate}/check", "gate_timeout": "60s"}
    with World(folder, origin, **{"issuance.allow": allow}) as world:
        said, _ = world.visit("spandantest.gated.example")
        assert said["workspace"] == "spandantest"
        for _ in range(5):
            world.visit("spandantest.gated.example")
            with pytest.raises(ssl.SSLError, match=r"(?i)unrecognized.name"):
                world.visit("other.example.com")
        asked = [path for path in Gate.asked if "domain=spandantest.gated.example" in path]
        assert asked == ["/check?domain=spandantest.gated.example&client_ip=127.0.0.1"]
        assert len([path for path in Gate.asked if "domain=other.example.com" in path]) == 1


def test_an_unreachable_ca_is_told_to_the_operator_and_cured_by_its_return(folder, origin):
    with World(folder, origin) as world:
        world.run(world.pebble.kill())
        world.add("a.example.com", "ws")
        with pytest.raises((ssl.SSLError, OSError)):
            world.visit("a.example.com")
        found = world.edge.cli("certs", "issue", "a.example.com")
        assert found.returncode == 1
        assert "cannot be reached" in found.stdout + found.stderr
        world.run(world.pebble.launch())
        found = world.edge.cli("certs", "issue", "a.example.com")
        assert found.returncode == 0, found.stdout + found.stderr
        assert "a.example.com has a certificate" in found.stdout + found.stderr


def test_a_killed_controller_leaves_the_order_to_its_successor(folder, origin):
    """The order is under way when the controller dies; visitors wait on, and the successor finishes it."""
    with World(folder, origin) as world:
        world.add("a.example.com", "ws")
        controller = next(pid for pid, name in world.edge.children().items() if "ctl" in name)
        with ThreadPoolExecutor(1) as threads:
            visit = threads.submit(world.visit, "a.example.com")
            wait_for(lambda: world.pebble.orders, "an order at pebble")
            world.edge.kill(controller)
            said, _ = visit.result(PATIENCE)
        assert said["workspace"] == "ws"
        assert world.pebble.orders == 1
