"""A stand-in for a running edge: HTTP on a Unix socket, answering from a table."""

import http.server
import json
import socketserver
import threading

import pytest

from edgeproxy.cli.main import run


class Edge(socketserver.ThreadingMixIn, socketserver.UnixStreamServer):
    """`answers` maps "METHOD path" to (status, body), or to a list of such, one for each request, or to a function of the
    request's body that gives one; None closes the connection, an Event does so once it is set. What was asked is in `asked`."""

    daemon_threads = True

    def __init__(self, path):
        super().__init__(str(path), _Handler)
        self.path = path
        self.answers = {}
        self.asked = []


class _Handler(http.server.BaseHTTPRequestHandler):
    server: Edge

    def _answer(self):
        length = int(self.headers.get("content-length", 0))
        body = json.loads(self.rfile.read(length)) if length else None
        self.server.asked.append((self.command, self.path, body, self.headers.get("accept")))
        found = self.server.answers.get(f"{self.command} {self.path}", (404, {"detail": "There is nothing there."}))
        if isinstance(found, list):
            found = found.pop(0)
        if callable(found):
            found = found(body)
        if isinstance(found, threading.Event):
            found.wait()
            found = None
        if found is None:
            self.close_connection = True
            return
        status, answer = found
        data = answer if isinstance(answer, bytes) else json.dumps(answer).encode()
        self.send_response(status)
        self.send_header("content-length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    do_GET = do_POST = do_PUT = do_PATCH = do_DELETE = _answer  # noqa: N815 - so named by http.server

    def address_string(self):
        return "test"

    def log_message(self, *_):
        pass


@pytest.fixture
def edge(tmp_path, monkeypatch):
    """A stand-in edge that the commands find through EDGEPROXY_SOCKET."""
    server = Edge(tmp_path / "admin.sock")
    monkeypatch.setenv("EDGEPROXY_SOCKET", str(server.path))
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield server
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.fixture
def cli(capsys):
    """Runs a command line; gives its exit status and what it printed."""

    def cli(*arguments):
        status = run(list(arguments))
        captured = capsys.readouterr()
        return status, captured.out, captured.err

    return cli
