"""A visitor's handshake, to see what is served."""

from __future__ import annotations

import asyncio
import os
import ssl

from edgeproxy.config.rules.addresses import socket_address
from edgeproxy.config.structs import Config
from edgeproxy.control.probe.grading import Served

LOOK_SECONDS = 10.0
"""What one handshake may take: as much as `timeouts.handshake` gives a visitor by default."""

LABEL = "edgeproxy-probe"
"""The label that stands for a wildcard's visitors."""


async def look(host: str, port: int, hostname: str, trusted: ssl.SSLContext, *, seconds: float = LOOK_SECONDS) -> Served:
    """One handshake for a hostname; a second one where the first is not trusted, to see what it is. Never raises OSError."""
    at = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
    distrust = ""
    try:
        async with asyncio.timeout(seconds):
            try:
                leaf, length = await _handshake(host, port, hostname, trusted)
            except ssl.SSLCertVerificationError as error:
                distrust = error.verify_message or "it cannot be verified"
                leaf, length = await _handshake(host, port, hostname, _anything())
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


async def _handshake(host: str, port: int, hostname: str, context: ssl.SSLContext) -> tuple[bytes, int]:
    _, writer = await asyncio.open_connection(host, port, ssl=context, server_hostname=hostname)
    try:
        found = writer.get_extra_info("ssl_object")
        return found.getpeercert(binary_form=True) or b"", _length(found)
    finally:
        writer.transport.abort()  # nobody here waits for its close_notify


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
