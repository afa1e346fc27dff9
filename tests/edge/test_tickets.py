"""Session-ticket keys: who resumes where, and that a trial decides whether they are used."""

import contextlib
import ctypes
import itertools
import os
import signal
import ssl
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

from edgeproxy.config.structs import Config
from edgeproxy.edge import openssl, tickets
from edgeproxy.edge.certificate import Certificates
from edgeproxy.errors import EdgeError
from edgeproxy.published.records import Change, Tickets
from tests import hellos
from tests.certificates import self_signed
from tests.edge.fakemap import NOW, SHARED, FakeMap, FakeSealer, certificates, made, presented, resumes, seal, site_changed

SECRET, OTHER_SECRET = bytes(range(32)), bytes(range(1, 33))
VERSIONS = (ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3)
DAY_START = 1_800_000_000


pytestmark = pytest.mark.usefixtures("shared_tickets")


@pytest.fixture
def pem(tmp_path: Path) -> Path:
    path = tmp_path / "both.pem"
    path.write_bytes(b"".join(self_signed("a.example", "b.example")))
    return path


def server(pem: Path, keys: bytes) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(pem)
    tickets.apply(context, keys)
    return context


def client(version: ssl.TLSVersion) -> ssl.SSLContext:
    context = hellos.client_context()
    context.minimum_version = context.maximum_version = version
    return context


@contextlib.contextmanager
def established(context: ssl.SSLContext, visitor: ssl.SSLContext) -> Iterator[None]:
    """A connection of TLS 1.2 that stays open meanwhile."""
    to_client, to_server = ssl.MemoryBIO(), ssl.MemoryBIO()
    here, there = visitor.wrap_bio(to_client, to_server), context.wrap_bio(to_server, to_client, server_side=True)
    for side in (here, there, here):
        with pytest.raises(ssl.SSLWantReadError):
            side.do_handshake()
    there.do_handshake()
    yield


def test_the_trial_says_in_one_sentence_that_sessions_are_shared() -> None:
    outcome = tickets.trial()
    assert outcome.works
    assert outcome.sentence.count(".") == 1


@pytest.mark.parametrize("version", VERSIONS)
def test_a_session_resumes_in_another_context_of_the_same_name(pem: Path, version: ssl.TLSVersion) -> None:
    keys, visitor = tickets.ticket_keys(SECRET, "a.example"), client(version)
    session, resumed = tickets.handshake(server(pem, keys), visitor, None, "a.example")
    assert not resumed
    assert tickets.handshake(server(pem, keys), visitor, session, "a.example")[1]


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize(("secret", "name"), [(SECRET, "b.example"), (OTHER_SECRET, "a.example")])
def test_a_session_never_resumes_under_another_name_or_secret(
    pem: Path, version: ssl.TLSVersion, secret: bytes, name: str
) -> None:
    visitor = client(version)
    session, _ = tickets.handshake(server(pem, tickets.ticket_keys(SECRET, "a.example")), visitor, None, "a.example")
    assert not tickets.handshake(server(pem, tickets.ticket_keys(secret, name)), visitor, session, "a.example")[1]


@pytest.mark.parametrize("version", VERSIONS)
def test_new_keys_in_a_living_context_refuse_old_sessions_and_give_new_ones(pem: Path, version: ssl.TLSVersion) -> None:
    visitor, context = client(version), server(pem, tickets.ticket_keys(SECRET, "a.example"))
    session, _ = tickets.handshake(context, visitor, None, "a.example")
    tickets.apply(context, tickets.ticket_keys(OTHER_SECRET, "a.example"))
    session, resumed = tickets.handshake(context, visitor, session, "a.example")
    assert not resumed
    assert tickets.handshake(context, visitor, session, "a.example")[1]


@pytest.mark.parametrize("version", VERSIONS)
def test_a_context_without_session_cache_still_resumes_by_ticket(pem: Path, version: ssl.TLSVersion) -> None:
    visitor, context = client(version), server(pem, tickets.ticket_keys(SECRET, "a.example"))
    tickets.without_session_cache(context)
    session, _ = tickets.handshake(context, visitor, None, "a.example")
    assert tickets.handshake(context, visitor, session, "a.example")[1]


def test_a_client_without_tickets_leaves_no_session_behind(pem: Path) -> None:
    visitor, context = client(ssl.TLSVersion.TLSv1_2), server(pem, tickets.ticket_keys(SECRET, "a.example"))
    visitor.options |= ssl.OP_NO_TICKET
    with established(context, visitor):
        assert context.session_stats()["number"] == 1  # what would grow
    context = server(pem, tickets.ticket_keys(SECRET, "a.example"))
    tickets.without_session_cache(context)
    with established(context, visitor):
        assert context.session_stats()["number"] == 0


@pytest.mark.parametrize("version", ["-tls1_2", "-tls1_3"])
def test_a_session_resumes_in_another_process(pem: Path, tmp_path: Path, version: str) -> None:
    saved = tmp_path / "session.pem"
    code = (
        "import socket, ssl, sys\n"
        "from pathlib import Path\n"
        "from edgeproxy.edge import tickets\n"
        "context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)\n"
        "context.load_cert_chain(sys.argv[1])\n"
        "tickets.apply(context, tickets.ticket_keys(bytes.fromhex(sys.argv[2]), 'a.example'))\n"
        "with socket.create_server(('127.0.0.1', 0)) as listener:\n"
        "    listener.settimeout(60)\n"
        "    print(listener.getsockname()[1], flush=True)\n"
        "    raw, _ = listener.accept()\n"
        "    raw.settimeout(60)\n"
        "    with context.wrap_socket(raw, server_side=True) as connection:\n"
        "        connection.sendall(b'.')\n"
        "        print(connection.session_reused, flush=True)\n"
        "        connection.recv(1)\n"
    )
    root = str(Path(tickets.__file__).parents[2])
    results = []
    for option in ("-sess_out", "-sess_in"):
        command = [sys.executable, "-c", code, str(pem), SECRET.hex()]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=root) as process:
            assert process.stdout is not None
            port = process.stdout.readline().strip()
            visitor = [
                "openssl",
                "s_client",
                "-connect",
                f"127.0.0.1:{port}",
                "-servername",
                "a.example",
                version,
                option,
                str(saved),
            ]
            with subprocess.Popen(visitor, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as openssl:
                results.append(process.stdout.readline().strip())
                assert openssl.stdin is not None
                assert openssl.stdout is not None
                while openssl.stdout.read(1) not in (b".", b""):
                    pass  # the tickets of TLS 1.3 come before the first byte
                openssl.stdin.close()
                openssl.stdout.read()
    assert results == ["False", "True"]


def test_keys_depend_on_the_name_and_the_secret() -> None:
    found = {tickets.ticket_keys(secret, name) for secret in (SECRET, OTHER_SECRET) for name in ("a.example", "b.example")}
    assert len(found) == 4
    assert {len(keys) for keys in found} == {tickets.KEYS_SIZE}
    keys = tickets.ticket_keys(SECRET, "a.example")
    assert len({keys[:16], keys[16:48], keys[48:]}) == 3


def test_each_name_changes_its_secret_at_a_moment_of_its_own() -> None:
    moments = [tickets.changes_at(DAY_START, f"shop{number}.example") for number in range(24_000)]
    assert all(DAY_START <= moment < DAY_START + tickets.DAY for moment in moments)
    hours = [0] * 24
    for moment in moments:
        hours[(moment - DAY_START) // 3600] += 1
    assert max(hours) < 1.25 * min(hours)


def test_the_newest_secret_counts_from_the_moment_of_change_and_the_one_before_until_then() -> None:
    starts = [DAY_START + tickets.DAY, DAY_START, DAY_START - tickets.DAY]
    for number in range(100):
        name = f"shop{number}.example"
        change = tickets.changes_at(starts[0], name)
        assert tickets.choose(starts, name, change) == (0, float("inf"))
        index, until = tickets.choose(starts, name, change - 1)
        assert (index, until) == (1, change)
        assert tickets.choose(starts, name, tickets.changes_at(starts[1], name) - 1)[0] == 2


def test_the_choice_is_steady_until_the_time_it_names() -> None:
    starts = [DAY_START + 2 * tickets.DAY, DAY_START + tickets.DAY, DAY_START]
    for number, hour in itertools.product(range(20), range(96)):
        name, now = f"shop{number}.example", DAY_START + 3600.0 * hour
        index, until = tickets.choose(starts, name, now)
        assert until > now
        if until < float("inf"):
            assert tickets.choose(starts, name, until - 0.001)[0] == index
            assert tickets.choose(starts, name, until)[0] == index - 1


def test_the_only_secret_is_used_before_it_is_due() -> None:
    assert tickets.choose([DAY_START], "a.example", DAY_START - 5.0) == (0, float("inf"))


def test_keys_of_another_length_are_refused() -> None:
    with pytest.raises(ValueError, match="80"):
        tickets.apply(ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER), bytes(48))


@pytest.mark.parametrize(
    ("code", "reason"),
    [
        ("import os, signal; os.kill(os.getpid(), signal.SIGKILL)", "signal 9"),
        ("raise SystemExit('no such symbol')", "no such symbol"),
        ("print('almost')", "almost"),
        ("pass", "no reason given"),
    ],
)
def test_a_trial_that_does_not_end_well_says_why(code: str, reason: str) -> None:
    child = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    outcome = tickets.end_trial(child)
    assert not outcome.works
    assert reason in outcome.sentence


def test_a_trial_that_hangs_is_ended() -> None:
    child = subprocess.Popen([sys.executable, "-c", "import signal; signal.pause()"], stdout=subprocess.PIPE, text=True)
    outcome = tickets.end_trial(child, timeout=0.1)
    assert not outcome.works
    assert "within" in outcome.sentence
    assert child.returncode is not None


def test_the_trial_in_a_fork_ends_as_the_one_in_a_fresh_interpreter() -> None:
    assert tickets.trial_in_fork() == tickets.trial().works


def test_a_trial_that_crashes_is_no(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tickets, "try_handshakes", lambda: os.kill(os.getpid(), signal.SIGKILL))
    assert tickets.trial_in_fork() is False


def test_a_trial_that_never_ends_is_no(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tickets, "try_handshakes", signal.pause)
    assert tickets.trial_in_fork(0.1) is False


# In a worker, by the map's secrets


@pytest.fixture
def sharing(shared_tickets: None, published: FakeMap) -> FakeMap:
    published.serve("*.example.com", "wild")
    put_secrets(published, int(NOW) - 2 * tickets.DAY)
    return published


def put_secrets(published: FakeMap, *starts: int) -> None:
    published.secrets = Tickets(starts=starts, secrets=tuple(seal(b"%032d" % start, f"ticket:{start}") for start in starts))


@pytest.mark.parametrize("version", ["TLSv1_2", "TLSv1_3"])
def test_a_session_resumes_in_another_worker_under_its_own_name_only(sharing: FakeMap, version: str) -> None:
    here, there = certificates(sharing, share=SHARED), certificates(sharing, share=SHARED)
    one = made(here.find("a.example.com", NOW), here)
    assert resumes(one, made(there.find("a.example.com", NOW), there), version)
    assert not resumes(one, made(there.find("b.example.com", NOW), there), version)


def test_a_renewed_certificate_still_resumes(sharing: FakeMap) -> None:
    holder = certificates(sharing, share=SHARED)
    one = made(holder.find("a.example.com", NOW), holder)
    sharing.serve("*.example.com", "wild2", "*.example.com", "example.com")
    holder.drop(site_changed("*.example.com"))
    assert resumes(one, made(holder.find("a.example.com", NOW), holder))


def test_keys_change_at_the_names_own_moment(sharing: FakeMap) -> None:
    start = int(NOW)
    put_secrets(sharing, start, start - 2 * tickets.DAY)
    change = tickets.changes_at(start, "a.example.com")
    early, late = certificates(sharing, share=SHARED), certificates(sharing, share=SHARED)
    before = made(early.find("a.example.com", change - 1), early, change - 1)
    after = made(late.find("a.example.com", change), late, change)
    assert not resumes(before, after)
    assert early.find("a.example.com", change) is before  # the same context, with other keys now
    assert resumes(before, after)


def test_new_secrets_in_the_map_are_taken_up(sharing: FakeMap) -> None:
    holder, other = certificates(sharing, share=SHARED), certificates(sharing, share=SHARED)
    found = made(holder.find("a.example.com", NOW), holder)
    put_secrets(sharing, int(NOW) - tickets.DAY)
    holder.drop([Change(database="tickets", key="current")])
    assert holder.find("a.example.com", NOW) is found
    assert resumes(found, made(other.find("a.example.com", NOW), other))


def test_without_secrets_sessions_resume_in_their_worker_and_secrets_are_looked_for_again(sharing: FakeMap) -> None:
    sharing.secrets = None
    here, there = certificates(sharing, share=SHARED), certificates(sharing, share=SHARED)
    one = made(here.find("a.example.com", NOW), here)
    other = made(there.find("a.example.com", NOW), there)
    assert resumes(one, one)
    assert not resumes(one, other)
    put_secrets(sharing, int(NOW) - 2 * tickets.DAY)
    assert here.find("a.example.com", NOW + 3600) is one
    assert there.find("a.example.com", NOW + 3600) is other
    assert resumes(one, other)


def test_where_openssl_cannot_be_reached_visitors_are_served_without_and_that_is_told_once(
    sharing: FakeMap, monkeypatch: pytest.MonkeyPatch
) -> None:
    def unreachable() -> ctypes.CDLL:
        raise openssl.OpenSslUnreachable("Python's OpenSSL does not offer what is needed: no memory.")

    for number in range(2):  # of a known kind: such a key is loaded past Python's ssl, where that can be
        one = f"known{number}.example.com"
        sharing.serve(one, one)
        sharing.certificates[one] = msgspec.structs.replace(sharing.certificates[one], key_type="p256")
    monkeypatch.setattr(openssl, "library", unreachable)
    faults: list[EdgeError] = []
    holder = Certificates(sharing, FakeSealer(), Config(), share_tickets=True, on_fault=faults.append)
    for name in ("a.example.com", "known0.example.com", "known1.example.com"):
        found = made(holder.find(name, NOW), holder)
        assert presented(found.context, name).version() == "TLSv1.3"
        assert resumes(found, found)
    assert [fault.detail for fault in faults] == [
        "Sessions resume only in the worker that began them: Python's OpenSSL does not offer what is needed: no memory."
    ]


def test_secrets_that_do_not_open_are_reported_and_nobody_is_turned_away(sharing: FakeMap) -> None:
    sharing.secrets = Tickets(starts=(5,), secrets=(seal(bytes(32), "ticket:6"),))
    faults: list[EdgeError] = []
    holder = Certificates(sharing, FakeSealer(), Config(), share_tickets=True, on_fault=faults.append)
    found = made(holder.find("a.example.com", NOW), holder)
    assert resumes(found, found)
    assert faults
