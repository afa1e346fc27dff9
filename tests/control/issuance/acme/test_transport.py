"""Signed requests: nonces, retries, bounds, errors in plain words."""

import asyncio
import json
import socket
import ssl
from email.utils import formatdate

import httpx2
import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from josepy.jwk import JWKEC

from edgeproxy.control.issuance.acme.problems import CaRefused
from edgeproxy.control.issuance.acme.transport import ANSWER_BYTES, NONCE_TRIES, Transport
from edgeproxy.errors import Fault, IssuanceError
from tests.control.issuance.fakeca import DIRECTORY, HOST, FakeCa, Refuse, answer

KEY = JWKEC(key=ec.generate_private_key(ec.SECP256R1()))


class Time:
    """Seconds that pass only when somebody sleeps."""

    def __init__(self) -> None:
        self.now = 1_790_000_000.0
        self.slept: list[float] = []

    def __call__(self) -> float:
        return self.now

    async def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.now += seconds
        await asyncio.sleep(0)


@pytest.fixture
def time():
    return Time()


@pytest.fixture
def ca(time):
    return FakeCa(time)


@pytest.fixture
async def transport(ca, time):
    transport = Transport(DIRECTORY, "", time, time, ca, time.sleep)
    yield transport
    await transport.close()


async def account(transport):
    return await transport.post(f"{HOST}/account", {"termsOfServiceAgreed": True}, KEY, None)


async def test_a_signed_request_carries_nonce_url_and_key(transport, ca):
    answered = await account(transport)
    assert (answered.status, answered.location) == (201, f"{HOST}/acct/0")
    assert ca.asked == ["dir", "nonce", "account"]
    seen = await transport.post(answered.location, None, KEY, answered.location)
    assert json.loads(seen.body)["status"] == "valid"
    assert ca.asked == ["dir", "nonce", "account", "acct"], "the nonce of the answer before was used"


async def test_preparing_leaves_directory_and_nonce_at_hand(transport, ca):
    await transport.prepare()
    await transport.prepare()
    assert ca.asked == ["dir", "nonce"]
    await account(transport)
    assert ca.asked == ["dir", "nonce", "account"]


async def test_a_refused_nonce_is_replaced_by_the_one_that_came_with_the_refusal(transport, ca):
    ca.plan("account", *[Refuse("badNonce")] * (NONCE_TRIES - 1))
    assert (await account(transport)).status == 201
    assert ca.count("account") == NONCE_TRIES
    assert ca.count("nonce") == 1


async def test_a_ca_that_refuses_every_nonce_is_given_up(transport, ca):
    ca.plan("account", *[Refuse("badNonce")] * NONCE_TRIES)
    with pytest.raises(CaRefused, match="refused our nonces") as caught:
        await account(transport)
    assert caught.value.about_the_ca


async def test_an_old_nonce_is_not_tried(transport, ca, time):
    await transport.prepare()
    time.now += 601
    await account(transport)
    assert ca.count("nonce") == 2


async def test_the_directory_is_read_once_an_hour_and_outlives_a_ca_that_is_away(transport, ca, time):
    await asyncio.gather(*(transport.directory() for _ in range(10)))
    assert ca.count("dir") == 1
    time.now += 3601
    ca.plan("dir", "refuse")
    assert (await transport.directory()).new_order == f"{HOST}/new"
    assert ca.count("dir") == 2
    await transport.directory()
    assert ca.count("dir") == 2, "not at each request"
    time.now += 61
    await transport.directory()
    assert ca.count("dir") == 3


@pytest.mark.parametrize("status", [301, 404, 410])
async def test_an_address_without_a_directory_is_the_operators_to_mend(transport, ca, status):
    ca.plan("dir", answer(status, body=b"<html>"))
    with pytest.raises(IssuanceError, match=r"no ACME directory at https://ca\.example/dir") as caught:
        await transport.directory()
    assert caught.value.fault is Fault.OPERATOR


async def test_a_page_that_is_no_directory_is_said_to_be_none(transport, ca):
    ca.plan("dir", answer(200, body=b"<html>Welcome"))
    with pytest.raises(IssuanceError, match=r"Is issuance\.directory an ACME directory"):
        await transport.directory()


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (httpx2.ConnectTimeout("x"), "connecting took more than 10 s"),
        (httpx2.ReadTimeout("x"), "does not answer in time"),
        (TimeoutError(), "does not answer in time"),
        (OSError("network is down"), "network is down"),
        (httpx2.ConnectError("something new"), "something new"),
        (socket.gaierror(-2, "Name or service not known"), "its name cannot be looked up (name or service not known)."),
    ],
)
async def test_a_ca_out_of_reach_is_said_to_be_so_and_why(transport, ca, error, words):
    def broken():
        raise error

    ca.plan("dir", broken)
    with pytest.raises(CaRefused, match=r"The certificate authority at ca\.example cannot be reached") as caught:
        await transport.directory()
    assert words in caught.value.detail
    assert caught.value.about_the_ca


async def test_an_untrusted_ca_leads_to_ca_bundle(transport, ca):
    def untrusted():
        cause = ssl.SSLCertVerificationError(1, "certificate verify failed")
        cause.verify_message = "self-signed certificate"
        raise httpx2.ConnectError("x") from cause

    ca.plan("dir", untrusted)
    with pytest.raises(CaRefused, match=r"not trusted \(self-signed certificate\).*issuance\.ca_bundle"):
        await transport.directory()


async def test_a_connection_closed_under_a_request_is_tried_once_more(transport, ca):
    await transport.prepare()
    ca.plan("account", "drop")
    assert (await account(transport)).status == 201
    ca.plan("account", "drop", "drop")
    with pytest.raises(CaRefused) as caught:
        await account(transport)
    assert caught.value.problem == "lost"


async def test_what_must_not_happen_twice_is_not_sent_twice(transport, ca):
    await transport.prepare()
    ca.plan("account", "lose")
    with pytest.raises(CaRefused) as caught:
        await transport.post(f"{HOST}/account", {}, KEY, None, resend=False)
    assert caught.value.problem == "lost"
    assert ca.count("account") == 1


async def test_an_answer_without_end_is_cut_off(transport, ca):
    ca.plan("dir", answer(200, body=b" " * (ANSWER_BYTES + 1)))
    with pytest.raises(IssuanceError, match=f"more than {ANSWER_BYTES} bytes"):
        await transport.directory()


async def test_a_busy_ca_is_left_alone_for_as_long_as_it_asked(transport, ca, time):
    await transport.prepare()
    ca.plan("account", answer(503, {"retry-after": "7"}))
    with pytest.raises(CaRefused) as caught:
        await account(transport)
    assert (caught.value.status, caught.value.retry_after) == (503, 7)
    assert (await account(transport)).status == 201
    assert time.slept == [7, 1], "the next request follows a second later"


async def test_a_pause_longer_than_patience_is_an_error_that_tells_how_long(transport, ca, time):
    await transport.prepare()
    ca.plan("account", answer(503, {"retry-after": "3600"}))
    for words in ("out of order", r"asked again in 3600 s"):
        with pytest.raises(CaRefused, match=words) as caught:
            await account(transport)
        assert caught.value.retry_after == 3600
    assert ca.count("account") == 1
    assert time.slept == []


async def test_twenty_names_that_meet_a_503_make_one_request_a_second(transport, ca, time):
    await transport.prepare()
    ca.plan("account", *[answer(503) for _ in range(10)])
    began, before = time.now, len(ca.asked)
    failed = 0
    for _ in range(10):
        try:
            await account(transport)
        except CaRefused:
            failed += 1
            time.now += 1  # whoever was refused comes back soon, too soon
    assert failed == 10
    assert len(ca.asked) - before <= 1 + (time.now - began)
    ca.plans.clear()
    time.now += 60
    assert (await account(transport)).status == 201


@pytest.mark.parametrize("url", ["", "file:///etc/passwd", "ftp://x", "javascript:1"])
async def test_what_is_not_a_url_is_not_asked(transport, url):
    with pytest.raises(IssuanceError, match="not a URL"):
        await transport.post(url, None, KEY, None)


async def test_a_ca_without_nonces_is_said_to_be_none(transport, ca):
    ca.plan("nonce", answer(200))
    with pytest.raises(CaRefused, match="gave no nonce"):
        await transport.prepare()


async def test_an_unreadable_bundle_is_met_at_the_first_request(time, tmp_path):
    transport = Transport(DIRECTORY, str(tmp_path / "none.pem"), time, time)
    with pytest.raises(IssuanceError, match=r"issuance\.ca_bundle .* cannot be used") as caught:
        await transport.directory()
    assert caught.value.fault is Fault.OPERATOR
    empty = tmp_path / "empty.pem"
    empty.write_text("nothing")
    with pytest.raises(IssuanceError, match=r"issuance\.ca_bundle"):
        await Transport(DIRECTORY, str(empty), time, time).directory()


async def test_pages_are_followed_by_their_link(transport, ca):
    ca.plan("dir", answer(200, {"link": f'<{HOST}/dir>;rel="index", <{HOST}/list/1>;rel="next"'}, b"{}"))
    assert (await transport._send("GET", DIRECTORY)).next == f"{HOST}/list/1"
    ca.plan("dir", answer(200, {"link": f'<{HOST}/dir>;rel="index"'}, b"{}"))
    assert (await transport._send("GET", DIRECTORY)).next == ""


async def test_a_resource_that_moved_is_looked_for_in_a_new_directory_once(transport, ca, time):
    await transport.prepare()
    urls = {"newNonce": f"{HOST}/nonce", "newAccount": f"{HOST}/account", "newOrder": f"{HOST}/new"}
    ca.plan("dir", answer(200, {}, json.dumps(urls | {"newAccount": f"{HOST}/account/v2"}).encode()))
    ca.plan("account", Refuse("malformed", 404))
    made = await transport.post_new("new_account", {}, KEY, None)
    assert made.status == 201
    assert ca.asked == ["dir", "nonce", "account", "dir", "account"]
    ca.plan("account", Refuse("malformed", 404), Refuse("malformed", 404))
    for _ in range(2):
        with pytest.raises(CaRefused) as caught:
            await transport.post_new("new_account", {}, KEY, None)
        assert caught.value.status == 404
    assert ca.count("dir") == 2, "the directory was read a moment ago"


async def test_nonces_that_moved_are_looked_for_too(transport, ca, time):
    await transport.prepare()
    time.now += 700
    urls = {"newNonce": f"{HOST}/nonce/v2", "newAccount": f"{HOST}/account", "newOrder": f"{HOST}/new"}
    ca.plan("dir", answer(200, {}, json.dumps(urls).encode()))
    ca.plan("nonce", answer(404))
    assert (await account(transport)).status == 201
    assert ca.asked == ["dir", "nonce", "nonce", "dir", "nonce", "account"]


async def test_a_ca_that_refuses_to_give_nonces_says_nothing_of_the_name(transport, ca):
    await transport.directory()
    ca.plan("nonce", answer(403))
    with pytest.raises(CaRefused, match=r"gives no nonces \(HTTP status 403\)") as caught:
        await account(transport)
    assert caught.value.about_the_ca


@pytest.mark.parametrize("kind", ["dir", "nonce"])
async def test_a_limit_on_requests_is_the_whole_cas(transport, ca, time, kind):
    ca.plan(kind, answer(429, {"retry-after": "5"}))
    with pytest.raises(CaRefused) as caught:
        await transport.prepare()
    assert caught.value.about_the_ca
    assert caught.value.fault is Fault.CA
    await transport.prepare()
    assert time.slept[0] == 5


async def test_a_crowd_meets_a_ca_in_trouble_with_one_request(transport, ca, time):
    await transport.prepare()
    time.now += 60
    gate = asyncio.Event()
    original = ca.handle_async_request

    async def slowly(request):
        if request.method == "POST":
            await gate.wait()
        return await original(request)

    ca.handle_async_request = slowly
    ca.plan("account", *[answer(503) for _ in range(20)])
    crowd = [asyncio.create_task(account(transport)) for _ in range(20)]
    for _ in range(50):
        await asyncio.sleep(0)
    sent = transport.requests
    assert sent <= 2 + 2 * 8, "a nonce for each that may go"
    gate.set()
    await asyncio.gather(*crowd, return_exceptions=True)
    assert ca.count("account") <= 1 + (time.now - 1_790_000_060)


async def test_clocks_that_differ_are_told_once_until_they_agree(transport, ca, time, capsys):
    off = formatdate(time.now - 3_600, usegmt=True)
    for date in (off, off, formatdate(time.now, usegmt=True), off):
        ca.plan("nonce", answer(200, {"replay-nonce": "AAAA", "date": date}))
        await transport._fresh_nonce()
    output = capsys.readouterr().out
    assert output.count("this machine's clock and the CA's differ") == 2
    assert "ahead_by=3600" in output
