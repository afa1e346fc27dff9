"""A visitor's handshake, to see what is served."""

from __future__ import annotations

import asyncio
import contextlib
import ipaddress
import os
import socket
import ssl

from edgeproxy.config.rules.addresses import socket_address
from edgeproxy.config.structs import Config
from edgeproxy.control.probe.grading import Served

LOOK_SECONDS = 10.0
"""What one handshake may take: as much as `timeouts.handshake` gives a visitor by default."""

LABEL = "edgeproxy-probe"
"""The label that stands for a wildcard's visitors."""


_UNKNOWN = b"PROXY UNKNOWN\r\n"
"""A PROXY protocol header by which nobody is named: who connects speaks for itself."""


async def look(
    host: str, port: int, hostname: str, trusted: ssl.SSLContext, *, own: Config | None = None, seconds: float = LOOK_SECONDS
) -> Served:
    """One handshake for a hostname; a second one where the first is not trusted, to see what it is. Never raises OSError.

    `own`: the configuration of the edge on this machine. Where its listener takes the address that we come from for a
    balancer's (`listen.proxy_protocol`), we say what a balancer's health check says.
    """
    introduced = own is not None and _takes_us_for_a_balancer(own, host, port)
    at = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
    distrust = ""
    try:
        async with asyncio.timeout(seconds):
            try:
                leaf, length = await _handshake(host, port, hostname, trusted, introduced)
            except ssl.SSLCertVerificationError as error:
                distrust = error.verify_message or "it cannot be verified"
                leaf, length = await _handshake(host, port, hostname, _anything(), introduced)
    except TimeoutError:
        return Served(at=at, error=f"nothing came of it within {seconds:g} s")
    except ssl.SSLError as error:
        return Served(at=at, error=_said(error))
    except OSError as error:
        return Served(at=at, error=(os.strerror(error.errno) if error.errno else str(error) or "it was broken off").lower())
    return Served(at=at, leaf=leaf, length=length, distrust=distrust)


def own_address(config: Config) -> tuple[str, int]:
    """Where this machine reaches its own listener: over loopback where that listens everywhere."""
    host, port = socket_address(config.listen.https[0])
    return {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host), port  # noqa: S104 compared, not bound


def asked_name(name: str) -> str:
    """The hostname to ask for where a certificate's name is a wildcard."""
    return f"{LABEL}{name[1:]}" if name.startswith("*.") else name


def _takes_us_for_a_balancer(own: Config, host: str, port: int) -> bool:
    """Whether there is a listener of the edge's, if that address is this machine's: then we come from the same one."""
    if port not in [socket_address(each)[1] for each in own.listen.https]:
        return False
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return False
    return any(address in ipaddress.ip_network(each) for each in own.listen.proxy_protocol)


async def _handshake(host: str, port: int, hostname: str, context: ssl.SSLContext, introduced: bool) -> tuple[bytes, int]:
    if introduced:
        sock = await _introduced(host, port)
        _, writer = await asyncio.open_connection(sock=sock, ssl=context, server_hostname=hostname)
    else:
        _, writer = await asyncio.open_connection(host, port, ssl=context, server_hostname=hostname)
    try:
        found = writer.get_extra_info("ssl_object")
        return found.getpeercert(binary_form=True) or b"", _length(found)
    finally:
        writer.transport.abort()  # nobody here waits for its close_notify


async def _introduced(host: str, port: int) -> socket.socket:
    """A connection that has begun with the header, where it is one with this machine."""
    loop = asyncio.get_running_loop()
    with contextlib.ExitStack() as on_failure:
        sock = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET)
        on_failure.callback(sock.close)
        sock.setblocking(False)
        await loop.sock_connect(sock, (host, port))
        if sock.getsockname()[0] == sock.getpeername()[0]:
            await loop.sock_sendall(sock, _UNKNOWN)
        on_failure.pop_all()
    return sock


def _length(found: ssl.SSLObject) -> int:
    """How many certificates were sent. Public since Python 3.13; 0 where nothing tells."""
    for holder in (found, getattr(found, "_sslobj", None)):
        chain = getattr(holder, "get_unverified_chain", None)
        if chain is not None:
            return len(chain() or ())
    return 0


def _anything() -> ssl.SSLContext:
    """Trusts nobody and takes everything: what comes is only looked at."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context


def _said(error: ssl.SSLError) -> str:
    """An alert, in words: "tlsv1 unrecognized name"."""
    reason = (error.reason or "").lower().replace("_", " ")
    return reason or "the TLS handshake failed"
