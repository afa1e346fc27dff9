"""Session-ticket keys per hostname, the same in every worker: a visitor resumes wherever the connection lands.

A TLS context that is left alone makes ticket keys of its own, so a session resumes in its own worker only; and one context
for several names would let a ticket of one name resume under another, which RFC 6066 section 3 forbids. So every hostname
has its context, and its keys are derived from a secret that all workers read in the published map.

Python's ssl can not set ticket keys; OpenSSL's `SSL_CTX_ctrl` can. Whether it can be reached (`edge.openssl`), a `trial` tells
first, in a child process with real handshakes, and only what ended well there is done here.
"""

from __future__ import annotations

import contextlib
import dataclasses
import hmac
import os
import select
import signal
import ssl
import subprocess
import sys
import time
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from edgeproxy.edge import openssl
from edgeproxy.errors import EdgeError

KEYS_SIZE: Final = 80
"""Bytes that OpenSSL takes: 16 of key name, 32 for the HMAC, 32 for AES-256."""

DAY: Final = 86_400

TRIAL_SECONDS: Final = 20.0
"""How long the trial may take. It takes a third of a second; a machine that is still starting may be much slower."""

_SET_SESSION_CACHE_MODE: Final = 44  # SSL_CTRL_SET_SESS_CACHE_MODE
_SET_TICKET_KEYS: Final = 59  # SSL_CTRL_SET_TLSEXT_TICKET_KEYS


class TicketKeysRefused(EdgeError):
    """This Python's OpenSSL does not take ticket keys. Sessions then resume in the worker that began them."""

    code = "ticket_keys_refused"


def changes_at(start: int, hostname: str) -> int:
    """Unix time, in seconds, at which a hostname goes over to the secret that counts from `start`.

    The moments of all hostnames are spread over the day after `start`: a common one would be a spike of full handshakes.
    """
    return start + zlib.crc32(hostname.encode("ascii")) % DAY


def choose(starts: Sequence[int], hostname: str, now: float) -> tuple[int, float]:
    """Which of the secrets a hostname uses now, as an index, and the Unix time until which that holds.

    `starts` is not empty, newest first, Unix seconds. A context has one set of keys, so a ticket made under the secret
    before is refused from the moment of change: each hostname's visitors make one full handshake more a day. With the
    oldest secret not yet due (the first day of a new machine) it is used all the same.
    """
    until = float("inf")
    for index, start in enumerate(starts):
        moment = changes_at(start, hostname)
        if moment <= now or index == len(starts) - 1:
            return index, until
        until = moment
    raise ValueError("there is no secret")


def ticket_keys(secret: bytes, hostname: str) -> bytes:
    """The ticket keys of a hostname under a secret of at least 32 random bytes. Pure."""
    name = hostname.encode("ascii")
    digest = hmac.digest
    return b"".join([digest(secret, bytes((part,)) + b"ticket:" + name, "sha256") for part in range(3)])[:KEYS_SIZE]


def apply(context: ssl.SSLContext, keys: bytes) -> None:
    """Gives a context its ticket keys, also while it is in use. Raises TicketKeysRefused.

    Only call this where `trial` ended well, since on an unknown interpreter it may crash the process, and where
    `openssl.library` was reached before, since it raises what that does.
    """
    if len(keys) != KEYS_SIZE:
        raise ValueError(f"ticket keys have {KEYS_SIZE} bytes")
    if openssl.library().SSL_CTX_ctrl(openssl.address(context), _SET_TICKET_KEYS, KEYS_SIZE, keys) != 1:
        raise TicketKeysRefused("This OpenSSL takes no session-ticket keys.")


def without_session_cache(context: ssl.SSLContext) -> None:
    """Turns off the cache of sessions inside a context. Only where `apply` may be called.

    OpenSSL would keep up to 20,480 sessions for each context, for two hours: every TLS 1.2 handshake of a client that takes
    no tickets leaves one, about a kilobyte that a stranger may have for the asking.
    """
    openssl.library().SSL_CTX_ctrl(openssl.address(context), _SET_SESSION_CACHE_MODE, 0, None)


# The trial


@dataclasses.dataclass(frozen=True, slots=True)
class Outcome:
    """How the trial ended: whether ticket keys may be set, and one sentence for the log."""

    works: bool
    sentence: str


def begin_trial() -> subprocess.Popen[str]:
    """Starts the trial in a fresh interpreter, a child process; so the caller may do something else meanwhile."""
    code = "import sys; sys.path.insert(0, sys.argv[1]); from edgeproxy.edge import tickets; tickets.try_here()"
    return subprocess.Popen(
        [sys.executable, "-c", code, str(Path(__file__).parents[2])],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
    )


def end_trial(child: subprocess.Popen[str], timeout: float = TRIAL_SECONDS) -> Outcome:
    """Waits for the trial, at most `timeout` seconds, and says how it ended. The child is gone afterwards."""
    try:
        output, _ = child.communicate(timeout=timeout)
    except subprocess.TimeoutExpired:
        child.kill()
        child.communicate()
        why = f"the trial did not end within {timeout:g} seconds"
    else:
        if child.returncode == 0 and output.strip() == "resumed":
            return Outcome(True, "Sessions resume in every worker: shared ticket keys passed their trial.")
        lines = output.strip().splitlines()
        why = (
            f"the trial was ended by signal {-child.returncode}" if child.returncode < 0 else (lines or ["no reason given"])[-1]
        )
    return Outcome(False, f"Sessions resume only in the worker that began them, since ticket keys can not be shared: {why}")


def trial_in_fork(timeout: float = TRIAL_SECONDS) -> bool:
    """The trial in a forked child: for a worker at its start, before it has threads or a loop. Milliseconds."""
    child = os.fork()
    if child == 0:
        status = 1
        with contextlib.suppress(Exception):  # the status says it all
            try_handshakes()
            status = 0
        os._exit(status)
    deadline = time.monotonic() + timeout
    while time.monotonic() < deadline:
        pid, status = os.waitpid(child, os.WNOHANG)
        if pid:
            return status == 0
        select.select([], [], [], 0.002)
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    return False


def trial() -> Outcome:
    """Whether this interpreter and its OpenSSL take ticket keys, proven by handshakes in a child process."""
    try:
        child = begin_trial()
    except OSError as error:
        return Outcome(False, f"Sessions resume only in the worker that began them: the trial could not be started: {error}")
    return end_trial(child)


def try_here() -> None:
    """The child's part: prints "resumed", or raises or crashes. Not for a process that serves."""
    try_handshakes()
    print("resumed")  # noqa: T201


def try_handshakes() -> None:
    """Raises or crashes where ticket keys do not work. Not for a process that serves."""
    certificate, key = _trial_certificate()
    for version in (ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3):
        _try_version(version, certificate, key)


def _try_version(version: ssl.TLSVersion, certificate: bytes, key: bytes) -> None:
    def server(keys: bytes) -> ssl.SSLContext:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        chain = certificate * 2  # as with an issuer's, which contexts share
        if not openssl.load(context, chain, key, "p256"):
            raise openssl.OpenSslUnreachable("Certificates can not be loaded but by Python's ssl.")
        without_session_cache(context)
        apply(context, keys)
        return context

    client = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    client.check_hostname, client.verify_mode = False, ssl.CERT_NONE
    client.minimum_version = client.maximum_version = version
    one, other = ticket_keys(bytes(32), "a.example"), ticket_keys(bytes(32), "b.example")
    first = server(one)
    session, _ = handshake(first, client, None)
    if not handshake(server(one), client, session)[1]:
        raise TicketKeysRefused(f"A session of {version.name} did not resume.")
    session, _ = handshake(first, client, None)
    if handshake(server(other), client, session)[1]:
        raise TicketKeysRefused(f"A session of {version.name} resumed under keys that are not its own.")
    session, _ = handshake(first, client, None)
    apply(first, other)
    if handshake(first, client, session)[1]:
        raise TicketKeysRefused(f"A context of {version.name} kept its ticket keys when it was given new ones.")


def handshake(
    server: ssl.SSLContext, client: ssl.SSLContext, session: ssl.SSLSession | None, hostname: str | None = None
) -> tuple[ssl.SSLSession | None, bool]:
    """One handshake in memory: the session that the client may offer next, and whether the one given was resumed."""
    to_client, to_server = ssl.MemoryBIO(), ssl.MemoryBIO()
    here = client.wrap_bio(to_client, to_server, server_hostname=hostname, session=session)
    there = server.wrap_bio(to_server, to_client, server_side=True)
    waiting = [here, there]
    while waiting:
        for side in tuple(waiting):
            try:
                side.do_handshake()
            except ssl.SSLWantReadError:
                continue
            waiting.remove(side)
    there.write(b".")
    here.read(1)  # the tickets of TLS 1.3 come with the first read
    return here.session, bool(there.session_reused)


def _trial_certificate() -> tuple[bytes, bytes]:
    """A certificate and its key for the trial, PEM; nobody trusts or keeps them."""
    import datetime

    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "trial")])
    now = datetime.datetime.now(datetime.UTC)
    certificate = (
        x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .sign(key, hashes.SHA256())
    )
    encoding = serialization.Encoding.PEM
    return certificate.public_bytes(encoding), key.private_bytes(
        encoding, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
