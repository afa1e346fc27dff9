"""A root, an intermediate and what they sign, and a TLS server that serves it."""

from __future__ import annotations

import asyncio
import contextlib
import ssl
import time
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.serialization import Encoding

from edgeproxy.control.issuance.certificates import PrivateKey, key_pem, new_key, sign_leaf

LIFE = timedelta(days=90)


class Authority:
    def __init__(self) -> None:
        root_key, self.key = new_key("p256"), new_key("p256")
        self.root = _authority("the root", root_key, "the root", root_key)
        self.intermediate = _authority("the one between", self.key, "the root", root_key)

    @property
    def pem(self) -> bytes:
        return self.root.public_bytes(Encoding.PEM)

    def sign(self, *names: str, age: timedelta = timedelta(), life: timedelta = LIFE) -> tuple[x509.Certificate, PrivateKey]:
        key = new_key("p256")
        return sign_leaf(self.intermediate, self.key, key, names, time.time() - age.total_seconds(), life), key


def _authority(name: str, key: PrivateKey, signer: str, signing: PrivateKey) -> x509.Certificate:
    now = datetime.now(UTC)
    return (
        x509.CertificateBuilder(
            x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, signer)]),
            x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, name)]),
            key.public_key(),
            x509.random_serial_number(),
            now - timedelta(days=200),
            now + timedelta(days=3000),
        )
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .sign(signing, hashes.SHA256())
    )


@contextlib.asynccontextmanager
async def tls_server(folder: Path, chain: list[x509.Certificate], key: PrivateKey) -> AsyncIterator[int]:
    """Its port."""
    file = folder / "chain.pem"
    file.write_bytes(b"".join(each.public_bytes(Encoding.PEM) for each in chain) + key_pem(key))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(file)

    async def serve(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0, ssl=context)
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        server.close()
