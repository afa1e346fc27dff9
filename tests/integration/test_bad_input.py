"""Input that fits nowhere, for each operation of the API's description: a problem document or the tenant API's two fields,
never a 500, and nothing large held in memory. As bytes over the sockets: a client's library would repair what it sends."""

from __future__ import annotations

import contextlib
import http.client
import json
import re
import socket
import ssl
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

import pytest

from tests.integration.asked import API, DOMAIN, SCOPES, WORKSPACE, Asked, asked
from tests.integration.described import IN_PATHS, JSON, Operation, described
from tests.integration.running import PATIENCE

DESCRIBED = described()
EACH = pytest.mark.parametrize("operation", DESCRIBED.operations, ids=str)
EACH_THAT_TAKES = pytest.mark.parametrize("operation", [each for each in DESCRIBED.operations if each.takes_input], ids=str)
"""Those that take nothing do what they do, whatever they are sent beside: the program would stop."""

PROBLEM = {"type", "title", "status", "detail", "code", "fault", "retryable"}
REGISTER = "/api/domains/register"
TEN_MEGABYTES = 10 * 1024 * 1024


class Answer(NamedTuple):
    """What came back."""

    status: int
    kind: str
    body: bytes
    last: bool
    """Whether the connection ends with it."""


@pytest.fixture(scope="module")
def edge(tmp_path_factory) -> Iterator[Asked]:
    with asked(tmp_path_factory.mktemp("bad")) as edge:
        yield edge


@pytest.fixture
def admin(edge) -> Iterator[Client]:
    """Somebody on the admin socket."""
    with contextlib.closing(Client(edge.socket)) as client:
        yield client


@pytest.fixture(scope="module")
def places(edge) -> dict[str, bytes]:
    """What there is to be put into paths."""
    return {"domain": DOMAIN.encode(), "webhook_id": edge.hook.encode(), "event_id": b"evt_0", "id": WORKSPACE.encode()}


def head(method: str, target: bytes, *fields: bytes, length: int | None = None) -> bytes:
    lines = [b"%s %s HTTP/1.1" % (method.encode(), target), b"Host: edge", *fields]
    if length is not None:
        lines.append(b"Content-Length: %d" % length)
    return b"\r\n".join((*lines, b"", b""))


def with_body(method: str, target: bytes, body: bytes, *fields: bytes, kind: str = JSON) -> bytes:
    return head(method, target, b"Content-Type: " + kind.encode(), *fields, length=len(body)) + body


class Client:
    """Somebody on a Unix socket, who opens a connection anew only where the one before was ended."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._sock: socket.socket | None = None

    def ask(self, sent: bytes | Iterable[bytes]) -> Answer | None:
        """Sends this and reads the answer; None where the connection ended without one."""
        sock = self._sock or self._connected()
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):  # it refused before all was sent
            for part in (sent,) if isinstance(sent, bytes) else sent:
                sock.sendall(part)
        answer = answered(sock)
        if answer is None or answer.last:
            self.close()
        return answer

    def close(self) -> None:
        """Ends the connection."""
        if self._sock is not None:
            self._sock.close()
            self._sock = None

    def _connected(self) -> socket.socket:
        self._sock = socket.socket(socket.AF_UNIX)
        self._sock.settimeout(PATIENCE)
        self._sock.connect(str(self._path))
        return self._sock


def ask(path: Path, sent: bytes | Iterable[bytes]) -> Answer | None:
    """The same on a connection of its own."""
    with contextlib.closing(Client(path)) as client:
        return client.ask(sent)


def answered(sock: socket.socket) -> Answer | None:
    response = http.client.HTTPResponse(sock)
    try:
        response.begin()
        body = response.read()
    except (http.client.RemoteDisconnected, ConnectionResetError):
        return None
    finally:
        response.close()
    return Answer(response.status, response.headers.get_content_type(), body, response.will_close)


def check_told(answer: Answer | None, operation: Operation | None, sent: object) -> Answer:
    """It is a success, or says properly why not; whose fault the edge itself is, is no answer to bad input."""
    said = f"{str(sent)[:300]} → {answer}"
    assert answer is not None, said
    if answer.status < 400:
        return answer
    document = json.loads(answer.body)
    if operation is not None and operation.path.startswith("/api/domains/"):
        assert answer.kind == JSON, said
        assert set(document) - {"dns_records"} == {"status", "message"}, said
        assert document["status"] == "error", said
        assert answer.status not in (422, 500), said
    else:
        assert answer.kind == "application/problem+json", said
        assert set(document) >= PROBLEM, said
        assert document["status"] == answer.status, said
        assert answer.status < 500 or document["fault"] != "edge", said
    assert answer.status in (400, 401, 403, 404, 405, 408, 409, 412, 413, 415, 422, 429, 502, 503), said
    return answer


def check_refused(answer: Answer | None, operation: Operation | None, sent: object) -> Answer:
    """It is refused as what the client has to change."""
    told = check_told(answer, operation, sent)
    assert 400 <= told.status < 500, f"{str(sent)[:300]} → {told}"
    return told


@EACH_THAT_TAKES
def test_a_body_that_does_not_fit_is_refused(admin, places, operation):
    target = operation.target(places)
    check = check_refused if operation.needs_body else check_told
    for body in DESCRIBED.wrong_bodies(operation):
        check_refused(admin.ask(with_body(operation.method, target, body)), operation, body)
    if operation.body is None:
        return
    fitting = json.dumps(DESCRIBED.fitting(operation.body)).encode()
    for kind in (
        "text/plain",
        "application/x-www-form-urlencoded",
        "multipart/form-data; boundary=x",
        "",
        "application/jsonp",
        "*/*",
    ):
        check(admin.ask(with_body(operation.method, target, fitting, kind=kind)), operation, kind)
    for body in (b"", b"null", b" "):
        check(admin.ask(with_body(operation.method, target, body)), operation, body)


@EACH_THAT_TAKES
def test_texts_of_every_kind_are_taken_or_refused(admin, places, operation):
    target = operation.target(places)
    for body in DESCRIBED.odd_bodies(operation):
        check_told(admin.ask(with_body(operation.method, target, body)), operation, body)
    for query in DESCRIBED.odd_queries(operation):
        check_told(admin.ask(head(operation.method, operation.target(places, query))), operation, query)
    for name in operation.parameters_in("header"):
        for value in (b"", b"\xff\xfe", b'"', b"*, *", b"x" * 1_000, b"W/" + b'"a"' * 300, b"%00", b"\xf0\x9f\x98\x80"):
            sent = head(operation.method, target, name.encode() + b": " + value)
            check_told(admin.ask(sent), operation, sent)
        sent = head(operation.method, target, name.encode() + b": a\x00b")
        assert check_refused(admin.ask(sent), None, sent).status == 400


@EACH_THAT_TAKES
def test_a_query_that_does_not_fit_is_refused(admin, places, operation):
    for query in DESCRIBED.wrong_queries(operation):
        check_refused(admin.ask(head(operation.method, operation.target(places, query))), operation, query)


@EACH_THAT_TAKES
def test_tricks_in_a_path_lead_nowhere_else(admin, places, operation):
    body = b"" if operation.body is None else json.dumps(DESCRIBED.fitting(operation.body)).encode()
    for place in operation.places:
        for trick in IN_PATHS:
            target = operation.target({**places, place: trick})
            answer = admin.ask(with_body(operation.method, target, body))
            # What is no well-formed request is refused before anybody looks where it leads.
            tenants = operation if answer is None or answer.kind == JSON else None
            check_told(answer, tenants, target)
            if answer is not None and answer.status < 400:
                assert trick in (b"?", b"#", b"%3f") or b"example" in trick, (target, answer)


@EACH
def test_ten_megabytes_are_refused_before_they_are_read(admin, places, operation):
    target = operation.target(places)
    sent = head(operation.method, target, b"Content-Type: application/json", length=TEN_MEGABYTES)
    assert check_refused(admin.ask(sent), operation, "a length of 10 MB").status == 413


@EACH
def test_who_may_not_is_told_so_whatever_is_sent(edge, places, operation):
    """And who may is told what does not fit."""
    target, worker = operation.target(places), Client(edge.api_socket)
    for scope in (None, "nobody", *SCOPES):
        fields = []
        if scope is not None:
            fields = [b"Authorization: Bearer " + edge.tokens.get(scope, "edgeproxy_00_x").encode()]
        sent = with_body(operation.method, target, b'{"a": 1, "a": 2}', *fields)
        answer = check_refused(worker.ask(sent), operation, (scope, sent))
        assert answer.status != 401 or scope in (None, "nobody")
        if scope in (None, "nobody"):
            assert answer.status in (401, 429)
    worker.close()


@pytest.mark.parametrize("target", [REGISTER, "/api/v1/infrastructure/domains"])
def test_of_bodies_that_never_end_little_is_held(edge, target):
    """Twenty at once, each sent in chunks that tell no length."""

    def sent() -> Iterator[bytes]:
        yield head("POST", target.encode(), b"Content-Type: application/json", b"Transfer-Encoding: chunked")
        part = b'"' + b"x" * 65_535
        for _ in range(TEN_MEGABYTES // len(part)):
            yield b"%x\r\n%s\r\n" % (len(part), part)
        yield b"0\r\n\r\n"

    controller = next(pid for pid, name in edge.children().items() if name == "edgeproxy ctl")
    Path(f"/proc/{controller}/clear_refs").write_text("5")  # proc(5): from now on the peak is counted anew
    before = peak(controller)
    with ThreadPoolExecutor(20) as pool:
        answers = list(pool.map(lambda _: ask(edge.socket, sent()), range(20)))
    assert {answer.status for answer in answers if answer is not None} == {413}
    assert peak(controller) - before < 80 * 1024 * 1024


def peak(pid: int) -> int:
    """Bytes that a process had in memory at most."""
    found = re.search(r"VmHWM:\s+(\d+) kB", Path(f"/proc/{pid}/status").read_text())
    assert found
    return int(found[1]) * 1024


CHUNKED = b"Transfer-Encoding: chunked"
BODY = b'{"domain": "lie.example.com", "workspaceId": "acme"}'

LIES = {
    "two lengths": head("POST", REGISTER.encode(), b"Content-Length: 5", b"Content-Length: 6") + BODY,
    "a length with a sign": head("POST", REGISTER.encode(), b"Content-Length: +50") + BODY,
    "a negative length": head("POST", REGISTER.encode(), b"Content-Length: -1") + BODY,
    "a length in hex": head("POST", REGISTER.encode(), b"Content-Length: 0x32") + BODY,
    "a length of text": head("POST", REGISTER.encode(), b"Content-Length: many") + BODY,
    "a chunk's length of text": head("POST", REGISTER.encode(), CHUNKED) + b"zz\r\n" + BODY + b"\r\n0\r\n\r\n",
    "a chunk longer than told": head("POST", REGISTER.encode(), CHUNKED) + b"3\r\n" + BODY + b"\r\n0\r\n\r\n",
    "a chunk of more than there is": head("POST", REGISTER.encode(), CHUNKED) + b"f" * 30 + b"\r\n" + BODY,
    "an unknown coding": head("POST", REGISTER.encode(), b"Transfer-Encoding: gzip, chunked") + BODY,
    "a coding of nothing": head("POST", REGISTER.encode(), b"Transfer-Encoding: identity") + BODY,
    "a space before the colon": head("POST", REGISTER.encode(), b"Content-Type : application/json") + BODY,
    "a folded field": head("POST", REGISTER.encode(), b"X-A: b\r\n c: d") + BODY,
    "no version": b"POST " + REGISTER.encode() + b"\r\n\r\n",
    "another version": b"POST " + REGISTER.encode() + b" HTTP/3.7\r\nHost: edge\r\n\r\n",
    "no host": b"POST " + REGISTER.encode() + b" HTTP/1.1\r\n\r\n",
    "two hosts": b"POST " + REGISTER.encode() + b" HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n",
    "a method of controls": b"PO\x01ST " + REGISTER.encode() + b" HTTP/1.1\r\nHost: edge\r\n\r\n",
    "a space in the path": b"POST /api/domains/a b HTTP/1.1\r\nHost: edge\r\n\r\n",
    "a head without an end": b"POST / HTTP/1.1\r\n" + b"X-A: b\r\n" * 8_000,
    "TLS": bytes.fromhex("16030100c8010000c40303") + bytes(200),
    "HTTP/2": b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
}


@pytest.mark.parametrize("sent", LIES.values(), ids=list(LIES))
def test_what_lies_about_its_length_or_form_registers_nothing(edge, sent):
    answer = ask(edge.socket, sent)
    if answer is not None:
        assert 400 <= answer.status < 502, answer
        assert answer.status != 500
        assert answer.kind in ("application/problem+json", JSON)
    assert edge.api("GET", "/api/v1/infrastructure/domains/lie.example.com")[0] == 404


def test_a_body_that_ends_too_early_reaches_nobody(edge):
    with socket.socket(socket.AF_UNIX) as sock:
        sock.settimeout(PATIENCE)
        sock.connect(str(edge.socket))
        sock.sendall(head("POST", REGISTER.encode(), b"Content-Type: application/json", length=len(BODY) + 1) + BODY)
        sock.shutdown(socket.SHUT_WR)
        assert answered(sock) is None
    assert edge.api("GET", "/api/v1/infrastructure/domains/lie.example.com")[0] == 404


@pytest.mark.parametrize("trick", [each for each in IN_PATHS if len(each) < 1_000])
def test_tricks_in_a_path_lead_nowhere_else_through_a_worker_either(edge, trick):
    token = edge.tokens["operator:write"].encode()
    context = ssl.create_default_context(cafile=edge.root)
    for start in (b"/api/domains/verify/", b"/api/v1/infrastructure/domains/"):
        with (
            socket.create_connection((edge.host, edge.https_port), timeout=PATIENCE) as plain,
            context.wrap_socket(plain, server_hostname=API) as sock,
        ):
            fields = b"Host: %s:%d" % (API.encode(), edge.https_port), b"Authorization: Bearer " + token, b"Connection: close"
            sock.sendall(b"\r\n".join((b"GET " + start + trick + b" HTTP/1.1", *fields, b"", b"")))
            answer = answered(sock)
        assert answer is not None
        assert 400 <= answer.status < 500, answer


@pytest.mark.parametrize("path", [REGISTER, "/api/v1/infrastructure/domains"])
def test_of_registrations_of_one_name_at_the_same_moment_one_succeeds(edge, path):
    token = b"Authorization: Bearer " + edge.tokens["operator:write"].encode()
    key, success = ("workspaceId", 200) if path == REGISTER else ("workspace_id", 201)
    with ThreadPoolExecutor(8) as pool:
        for number in range(5):
            name = f"race{number}.of-{key.replace('_', '-')}.example.com"
            wanted = [json.dumps({"domain": name, key: f"workspace-{each}"}).encode() for each in range(8)]
            answers = list(pool.map(lambda body: ask(edge.api_socket, with_body("POST", path.encode(), body, token)), wanted))
            assert sorted(answer.status for answer in answers if answer is not None) == [success, *[409] * 7]
