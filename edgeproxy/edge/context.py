"""TLS contexts for visitors' handshakes, made of a chain and a key that were never in a file."""

from __future__ import annotations

import os
import ssl
from typing import Final

from edgeproxy.edge import openssl
from edgeproxy.errors import MapError

CIPHERS: Final = ":".join(
    # Of TLS 1.2 only what is forward-secret and authenticated encryption. The client's order counts (TLS 1.3 alike): one
    # without AES instructions puts ChaCha20 first, browsers with them AES-128.
    f"ECDHE-{signature}-{cipher}"
    for cipher in ("AES128-GCM-SHA256", "CHACHA20-POLY1305", "AES256-GCM-SHA384")
    for signature in ("ECDSA", "RSA")
)


_OPTIONS_ON: Final = int(ssl.OP_NO_COMPRESSION | ssl.OP_NO_RENEGOTIATION)
_OPTIONS_OFF: Final = int(ssl.OP_CIPHER_SERVER_PREFERENCE)


def server_context(
    chain: bytes, key: bytes, protocols: list[str], minimum: ssl.TLSVersion, what: str, *, kind: str = ""
) -> ssl.SSLContext:
    """A context for handshakes of visitors. `chain` (leaf first) and `key` are PEM; `what` names them in the error. `kind` is
    the key's ("p256"), where that is known and `tickets.trial` ended well: it is loaded in half the time then.

    Raises MapError where they can not be loaded or do not belong together; a retryable one where there is no descriptor or
    memory for that just now.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = minimum
    context.set_ciphers(CIPHERS)
    context.set_alpn_protocols(protocols)
    # One ticket instead of two saves 10 µs of 185 and 240 bytes; a resumed connection brings the next one. Go does so too.
    context.num_tickets = 1
    # As integers: operations on ssl.Options cost 15 µs.
    context.options = (int(context.options) | _OPTIONS_ON) & ~_OPTIONS_OFF  # type: ignore[assignment]
    if kind and openssl.load(context, chain, key, kind):
        return context
    try:
        _load(context, chain + b"\n" + key)
    except (ssl.SSLError, ValueError) as error:
        raise MapError(
            f"The private key or chain of {what} can not be loaded: {_reason(error)}. Issue or upload it anew.",
            code="certificate_unusable",
            retryable=False,
        ) from None
    except OSError as error:
        raise MapError(
            f"No TLS context could be made for {what}: {error.strerror}. Raise the limit of open files (LimitNOFILE=), or "
            "lower limits.connections.",
            code="exhausted",
        ) from None
    return context


def _load(context: ssl.SSLContext, pem: bytes) -> None:
    # load_cert_chain takes files only. This one has no name and lives in memory: a key never touches the disk in clear.
    file = os.memfd_create("certificate", os.MFD_CLOEXEC)
    try:
        os.write(file, pem)
        # Without the callback OpenSSL would ask for the passphrase of an encrypted key on the terminal.
        context.load_cert_chain(f"/proc/self/fd/{file}", password=_no_passphrase)
    finally:
        os.close(file)


def _no_passphrase() -> bytes:
    raise ValueError("the key is encrypted with a passphrase")


def _reason(error: Exception) -> str:
    reason = getattr(error, "reason", None)
    return str(reason).lower().replace("_", " ") if reason else str(error)
