"""The operator's gate: what its answers mean, how long they count, and what it cannot do."""

import asyncio
import json
import socket
import ssl

import httpx2
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgeproxy.config.issuance import Allow, Issuance
from edgeproxy.config.structs import Config
from edgeproxy.control.asking import ANSWER_BYTES, LIFETIME_MAX, LIFETIME_MIN
from edgeproxy.control.issuance import gate as module
from edgeproxy.control.issuance.gate import (
    TROUBLE_LIFETIME,
    Gate,
    GateVerdict,
    read_answer,
)
from edgeproxy.control.issuance.origins import check_origin
from edgeproxy.model import WORKSPACE_ID
from edgeproxy.units import Duration
from tests.ports import free_port


def config(**allow) -> Config:
    return Config(issuance=Issuance(allow=Allow(**({"gate": "http://gate.example/check?key=1"} | allow))))


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


class Answers(httpx2.AsyncBaseTransport):
    """A gate that answers from a list, its last answer for ever."""

    def __init__(self, *answers) -> None:
        self.answers = list(answers)
        self.requests: list[httpx2.Request] = []
        self.wait = asyncio.Event()
        self.wait.set()

    async def handle_async_request(self, request):
        self.requests.append(request)
        await self.wait.wait()
        answer = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        if isinstance(answer, Exception):
            raise answer
        status, headers, body = (answer, {}, b"") if isinstance(answer, int) else answer
        return httpx2.Response(status, headers=headers, content=pieces(body) if isinstance(body, bytes) else body)


async def pieces(body):
    yield body


def opened(answers, clock=None, **allow):
    return Gate(config(**allow), clock or Clock(), answers)


@pytest.mark.parametrize(
    ("status", "verdict"),
    [
        (200, GateVerdict.ALLOW),
        (204, GateVerdict.ALLOW),
        (400, GateVerdict.DENY),
        (403, GateVerdict.DENY),
        (404, GateVerdict.DENY),
        (408, GateVerdict.NOT_NOW),
        (425, GateVerdict.NOT_NOW),
        (429, GateVerdict.NOT_NOW),
        (301, GateVerdict.NOT_NOW),
        (500, GateVerdict.NOT_NOW),
        (503, GateVerdict.NOT_NOW),
    ],
)
def test_the_status_decides(status, verdict):
    answer = read_answer(status, {}, b"", config())
    assert answer.verdict is verdict
    assert answer.lifetime == (TROUBLE_LIFETIME if verdict is GateVerdict.NOT_NOW else 300)


def test_json_names_workspace_and_origin():
    body = b' {"workspace_id": "spandantest", "origin": "https://Origin.example:8443", "more": [1]}'
    answer = read_answer(200, {"cache-control": "max-age=9"}, body, config())
    assert (answer.verdict, answer.workspace, answer.origin, answer.lifetime) == (
        GateVerdict.ALLOW,
        "spandantest",
        "https://origin.example:8443",
        9,
    )


@pytest.mark.parametrize("body", [b"{}", b'{"workspace_id": null}', b"", b"OK", b"[1]"])
def test_a_yes_without_a_workspace_only_admits(body):
    answer = read_answer(200, {}, body, config())
    assert (answer.verdict, answer.workspace, answer.origin) == (GateVerdict.ALLOW, "", "")


@pytest.mark.parametrize(
    ("headers", "body"),
    [
        ({}, b'{"workspace_id": '),
        ({}, b'{"workspace_id": 7}'),
        ({}, b'{"workspace_id": "a b"}'),
        ({}, b'{"workspace_id": "a\\r\\nx: y"}'),
        ({}, b'{"workspace_id": "' + b"a" * 64 + b'"}'),
        ({}, b'{"workspace_id": "a", "origin": "unix:/run/admin.sock"}'),
        ({}, b'{"workspace_id": "a", "origin": "http://127.0.0.1:1"}'),
        ({}, b'{"workspace_id": "a", "origin": "http://169.254.169.254"}'),
        ({}, b'{"workspace_id": "a", "origin": 1}'),
        ({"content-type": "application/json"}, b"OK"),
        ({"content-type": "application/json"}, b"[1]"),
        ({}, b"{" * 5000),
    ],
)
def test_a_yes_that_cannot_be_used_is_neither_yes_nor_no(headers, body):
    answer = read_answer(200, headers, body, config())
    assert answer.verdict is GateVerdict.NOT_NOW
    assert "cannot be used" in answer.detail


async def test_the_gate_hears_name_and_address_and_keeps_its_own_query():
    answers = Answers(200)
    gate = opened(answers)
    await gate.ask("a.example", "2001:db8::1")
    assert dict(answers.requests[0].url.params) == {"key": "1", "domain": "a.example", "client_ip": "2001:db8::1"}
    await gate.close()


async def test_an_answer_is_asked_for_once_within_its_lifetime():
    clock, answers = Clock(), Answers((403, {"cache-control": "max-age=10"}, b""), 200)
    gate = opened(answers, clock)
    assert (await gate.ask("a.example", "")).verdict is GateVerdict.DENY
    clock.now += 9
    known = await gate.ask("a.example", "")
    assert (known.verdict, known.lifetime) == (GateVerdict.DENY, 1)
    assert gate.asked == 1
    clock.now += 1
    assert (await gate.ask("a.example", "")).verdict is GateVerdict.ALLOW
    assert gate.asked == 2
    await gate.close()


async def test_asking_afresh_asks_but_not_a_gate_that_failed_just_now():
    clock, answers = Clock(), Answers(200, 500, 200)
    gate = opened(answers, clock)
    await gate.ask("a.example", "")
    assert (await gate.ask("a.example", "", afresh=True)).verdict is GateVerdict.NOT_NOW
    assert (await gate.ask("a.example", "", afresh=True)).verdict is GateVerdict.NOT_NOW
    assert gate.asked == 2
    clock.now += TROUBLE_LIFETIME
    assert (await gate.ask("a.example", "", afresh=True)).verdict is GateVerdict.ALLOW
    await gate.close()


async def test_a_hundred_who_ask_at_once_make_one_question_even_when_the_first_leaves():
    answers = Answers(200)
    answers.wait.clear()
    gate = opened(answers)
    asking = [asyncio.create_task(gate.ask("a.example", "")) for _ in range(100)]
    while not answers.requests:
        await asyncio.sleep(0)
    asking[0].cancel()
    answers.wait.set()
    found = await asyncio.gather(*asking, return_exceptions=True)
    assert isinstance(found[0], asyncio.CancelledError)
    assert {answer.verdict for answer in found[1:] if not isinstance(answer, BaseException)} == {GateVerdict.ALLOW}
    assert gate.asked == 1
    await gate.close()


async def test_what_is_remembered_is_bounded(monkeypatch):
    monkeypatch.setattr(module, "REMEMBERED", 3)
    gate = opened(Answers(403))
    for number in range(5):
        await gate.ask(f"a{number}.example", "")
    await gate.ask("a4.example", "")
    assert gate.asked == 5
    await gate.ask("a0.example", "")
    assert gate.asked == 6
    await gate.close()


@pytest.mark.parametrize(
    "error", [httpx2.ConnectError("refused"), httpx2.ReadTimeout("slow"), httpx2.RemoteProtocolError("garbage"), OSError("net")]
)
async def test_a_gate_out_of_reach_says_not_now(error):
    gate = opened(Answers(error))
    answer = await gate.ask("a.example", "")
    assert answer.verdict is GateVerdict.NOT_NOW
    assert answer.detail.startswith("The gate ")
    await gate.close()


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost"])
async def test_a_gate_that_does_not_run_is_told_as_such(host):
    gate = Gate(config(gate=f"http://{host}:{free_port()}/allow", gate_timeout=Duration(20)), Clock())
    answer = await gate.ask("a.example", "")
    assert answer.verdict is GateVerdict.NOT_NOW
    assert answer.detail == "The gate cannot be reached: connection refused. See whether it runs, and issuance.allow.gate."
    await gate.close()


def untrusted() -> ssl.SSLCertVerificationError:
    error = ssl.SSLCertVerificationError(1, "certificate verify failed")
    error.verify_message = "self-signed certificate"
    return error


@pytest.mark.parametrize(
    ("cause", "told"),
    [
        (socket.gaierror(-2, "Name or service not known"), "its name cannot be looked up (name or service not known)"),
        (untrusted(), "its TLS certificate is not trusted (self-signed certificate)"),
        (ExceptionGroup("all", [ConnectionRefusedError(111, "Connection refused")]), "connection refused"),
        (OSError("net"), "All connection attempts failed"),
    ],
)
async def test_why_a_gate_is_out_of_reach_is_told_by_what_lies_beneath(cause, told):
    error = httpx2.ConnectError("All connection attempts failed")
    error.__cause__ = cause
    gate = opened(Answers(error))
    assert f"cannot be reached: {told}." in (await gate.ask("a.example", "")).detail
    await gate.close()


async def test_a_gate_that_does_not_answer_is_waited_for_only_its_timeout():
    answers = Answers(200)
    answers.wait.clear()
    gate = opened(answers, gate_timeout=Duration(0.05))
    answer = await gate.ask("a.example", "")
    assert (answer.verdict, answer.detail) == (GateVerdict.NOT_NOW, "The gate did not answer within 50ms.")
    await gate.close()


async def test_a_gate_that_sends_without_end_is_cut_off():
    sent = 0

    async def body():
        nonlocal sent
        while True:
            sent += 1
            yield b"x" * 1024

    gate = opened(Answers((200, {}, body())))
    answer = await gate.ask("a.example", "")
    assert answer.verdict is GateVerdict.NOT_NOW
    assert sent <= ANSWER_BYTES / 1024 + 2
    await gate.close()


async def test_a_redirect_is_not_followed():
    answers = Answers((302, {"location": "http://169.254.169.254/"}, b""))
    gate = opened(answers)
    assert (await gate.ask("a.example", "")).verdict is GateVerdict.NOT_NOW
    assert len(answers.requests) == 1
    await gate.close()


async def test_an_origin_that_points_inside_is_not_taken(monkeypatch):
    async def getaddrinfo(*_arguments, **_options):
        return [(2, 1, 6, "", ("10.0.0.1", 443))]

    monkeypatch.setattr(asyncio.get_running_loop(), "getaddrinfo", getaddrinfo)
    gate = opened(Answers((200, {}, b'{"workspace_id": "a", "origin": "https://inside.example"}')))
    answer = await gate.ask("a.example", "")
    assert answer.verdict is GateVerdict.NOT_NOW
    assert "inside.example points at 10.0.0.1" in answer.detail
    await gate.close()


async def test_closing_ends_questions_under_way():
    answers = Answers(200)
    answers.wait.clear()
    gate = opened(answers)
    asking = asyncio.create_task(gate.ask("a.example", ""))
    while not answers.requests:
        await asyncio.sleep(0)
    await gate.close()
    with pytest.raises(asyncio.CancelledError):
        await asking


@given(
    st.integers(100, 599),
    st.dictionaries(st.sampled_from(["cache-control", "age", "content-type"]), st.text(max_size=60)),
    st.binary(max_size=200)
    | st.text(max_size=60).map(lambda text: json.dumps({"workspace_id": text, "origin": text}).encode()),
)
def test_whatever_a_gate_sends_has_a_meaning(status, headers, body):
    answer = read_answer(status, headers, body, config())
    assert LIFETIME_MIN <= answer.lifetime <= LIFETIME_MAX
    assert answer.workspace == "" or WORKSPACE_ID.match(answer.workspace)
    assert answer.origin == "" or check_origin(answer.origin, config()) == answer.origin
