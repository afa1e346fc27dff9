"""TLS with the platform's origin: what the edge shows there, and which key it expects to see."""

from __future__ import annotations

import base64
import os
import ssl
from collections.abc import Iterator

from edgeproxy.config.platform import Origin

Fault = tuple[str, str, tuple[str, ...]]
"""Key, what is wrong and what would be right, and the other keys looked at."""

_PIN_BYTES = 32


def certificate(text: str) -> str:
    """The rule of `origin.client_certificate`. Raises ValueError."""
    if "-----BEGIN CERTIFICATE-----" not in text:
        raise ValueError('there is no certificate in it; write "file:/PATH" of a file with the chain in PEM, the leaf first')
    return text


def key(text: str) -> str:
    """The rule of `origin.client_key`. Raises ValueError, never quoting."""
    if "PRIVATE KEY-----" not in text or "ENCRYPTED" in text:
        raise ValueError('there is no private key that can be read; write "file:/PATH" of its file, PEM without a passphrase')
    return text


def pin(text: str) -> str:
    """The rule of `origin.pins`. Raises ValueError."""
    bare = text.removeprefix("sha256/").removeprefix("/")  # as HPKP and curl write them
    try:
        digest = base64.b64decode(bare, validate=True)
    except ValueError:
        digest = b""
    if len(digest) != _PIN_BYTES:
        raise ValueError(
            f"{text!r} is not the SHA-256 digest of a public key in base64; make one: openssl x509 -in ORIGIN.pem -noout "
            "-pubkey | openssl pkey -pubin -outform der | openssl dgst -sha256 -binary | base64"
        )
    return bare


def show(context: ssl.SSLContext, certificate: str, key: str) -> None:
    """Has a context show this certificate. Raises ssl.SSLError where its key is another one."""
    # load_cert_chain takes files only. This one has no name and lives in memory: workers need not be able to read the key's.
    file = os.memfd_create("client", os.MFD_CLOEXEC)
    try:
        os.write(file, f"{certificate}\n{key}\n".encode())
        context.load_cert_chain(f"/proc/self/fd/{file}", password=_no_passphrase)
    finally:
        os.close(file)


def _no_passphrase() -> bytes:
    raise ValueError("the key is encrypted with a passphrase")


def faults(origin: Origin) -> Iterator[Fault]:
    """Of these keys beside each other."""
    names = ("client_certificate", "client_key")
    for have, lack in (names, names[::-1]):
        if getattr(origin, have) and not getattr(origin, lack):
            yield f"origin.{lack}", f"{have} is set and {lack} is not; a client certificate needs both", (f"origin.{have}",)
    if origin.client_certificate and origin.client_key:
        try:
            show(ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT), origin.client_certificate, origin.client_key)
        except (OSError, ValueError):  # of which ssl.SSLError is one
            text = "it is not the key of origin.client_certificate, or one of the two is damaged; write a pair, both PEM"
            yield "origin.client_key", text, ("origin.client_certificate",)
    if not origin.url.startswith("https:"):
        for name in ("client_certificate", "pins"):
            if getattr(origin, name):
                text = "it is for an origin by https, and origin.url is not one; write https://, or leave it out"
                yield f"origin.{name}", text, ("origin.url",)
