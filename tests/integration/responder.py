"""Answers ACME challenges from the published map, as workers do, for tests that need no worker.

A process of its own (`Responder` starts it): LMDB lets one process open a map once, and the test writes it.
"""

from __future__ import annotations

import asyncio
import contextlib
import ssl
import sys
import tempfile
from pathlib import Path
from typing import Self

from edgeproxy.published.reader import MapReader
from edgeproxy.published.records import Challenge
from edgeproxy.published.seal import Sealer
from tests.integration.servers import Server


class Responder(Server):
    """TLS-ALPN-01 on one port and HTTP-01 on the other, from the map in a state directory under a map key.

    `kinds` are the challenges that are answered; the others are met by a server that knows nothing of them.
    """

    def __init__(
        self,
        folder: Path,
        state_directory: Path,
        key: bytes,
        *,
        tls_port: int,
        http_port: int,
        kinds: tuple[str, ...] = ("tls-alpn-01", "http-01"),
    ) -> None:
        super().__init__(folder, "responder")
        self._ports = tls_port, http_port
        self._arguments = (str(state_directory), key.hex(), str(tls_port), str(http_port), ",".join(kinds))

    async def __aenter__(self) -> Self:
        root = str(Path(__file__).parents[2])
        await self.start(sys.executable, "-m", "tests.integration.responder", *self._arguments, environ={"PYTHONPATH": root})
        await self.listening(self._ports[0])
        await self.listening(self._ports[1])
        return self

    async def __aexit__(self, *_error: object) -> None:
        await self.stop()

    def asked(self, kind: str) -> list[str]:
        """The names for which a challenge of this kind was looked for."""
        return [line.split()[1] for line in self.log.splitlines() if line.startswith(f"{kind} ")]


class _Answering:
    def __init__(self, state_directory: Path, sealer: Sealer, kinds: tuple[str, ...]) -> None:
        self._reader = MapReader(state_directory)
        self._sealer = sealer
        self._kinds = kinds

    def choose(self, connection: ssl.SSLObject, name: str | None, _context: ssl.SSLContext) -> int | None:
        print("tls-alpn-01", name, flush=True)
        challenge = self._challenge(f"alpn:{name}") if "tls-alpn-01" in self._kinds else None
        if challenge is None:
            return int(ssl.ALERT_DESCRIPTION_UNRECOGNIZED_NAME)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.set_alpn_protocols(["acme-tls/1"])
        key = self._sealer.open(challenge.sealed_key, b"alpn:" + challenge.hostname.encode())
        with tempfile.NamedTemporaryFile() as file:
            file.write(challenge.chain + key)
            file.flush()
            context.load_cert_chain(file.name)
        connection.context = context
        return None

    async def close(self, _reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.close()
        with contextlib.suppress(OSError):
            await writer.wait_closed()

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(asyncio.IncompleteReadError, OSError):
            head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
            path = head.split(" ", 2)[1]
            host = next(line for line in head.split("\r\n") if line.lower().startswith("host:"))[5:].strip().partition(":")[0]
            print("http-01", host, flush=True)
            token = path.removeprefix("/.well-known/acme-challenge/")
            challenge = self._challenge(f"http:{host}/{token}") if "http-01" in self._kinds else None
            body = challenge.key_authorization if challenge is not None else "not here"
            status = "200 OK" if challenge is not None else "404 Not Found"
            writer.write(f"HTTP/1.1 {status}\r\nContent-Length: {len(body)}\r\nConnection: close\r\n\r\n{body}".encode())
        await self.close(reader, writer)

    def _challenge(self, key: str) -> Challenge | None:
        self._reader.changes()
        self._reader.check_current()
        return self._reader.challenge(key)


async def _main(directory: str, key: str, tls_port: str, http_port: str, kinds: str) -> None:
    answering = _Answering(Path(directory), Sealer(bytes.fromhex(key)), tuple(kinds.split(",")))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.set_alpn_protocols(["acme-tls/1"])
    context.sni_callback = answering.choose
    await asyncio.start_server(answering.close, "127.0.0.1", int(tls_port), ssl=context)
    await asyncio.start_server(answering.serve, "127.0.0.1", int(http_port))
    await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(_main(*sys.argv[1:]))
