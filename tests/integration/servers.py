"""Real servers for integration tests, each on free loopback ports and ended by its own process id."""

from __future__ import annotations

import asyncio
import contextlib
import datetime
import ipaddress
import json
import os
import shutil
import socket
import ssl
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any, Self

import httpx2
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from tests.ports import free_port

START_TIMEOUT = 30.0
STOP_TIMEOUT = 10.0


def missing(*programs: str) -> list[str]:
    """Which of the programs are not installed."""
    return [program for program in programs if shutil.which(program) is None and not Path("/usr/sbin", program).exists()]


def require(*programs: str) -> None:
    """Skips the test where a program is missing; with CI=true that is a failure."""
    lacking = missing(*programs)
    if lacking and os.environ.get("CI") == "true":
        pytest.fail(f"not installed: {', '.join(lacking)}")
    if lacking:
        pytest.skip(f"not installed: {', '.join(lacking)}")


class Server:
    """A child process whose output goes to a file in `folder`; an async context manager."""

    def __init__(self, folder: Path, name: str) -> None:
        self.folder = folder
        self.name = name
        self.process: asyncio.subprocess.Process | None = None

    @property
    def log(self) -> str:
        """What it wrote so far."""
        path = self.folder / f"{self.name}.log"
        return path.read_text(errors="replace") if path.exists() else ""

    async def start(self, *command: str, environ: dict[str, str] | None = None) -> None:
        """Starts the command; its standard output and error are appended to the log."""
        with (self.folder / f"{self.name}.log").open("ab") as log:
            self.process = await asyncio.create_subprocess_exec(
                *command, stdin=asyncio.subprocess.DEVNULL, stdout=log, stderr=log, env=os.environ | (environ or {})
            )

    async def stop(self) -> None:
        """Ends it, by force if it takes too long."""
        process, self.process = self.process, None
        if process is None or process.returncode is not None:
            return
        process.terminate()
        try:
            await asyncio.wait_for(process.wait(), STOP_TIMEOUT)
        except TimeoutError:
            process.kill()
            await process.wait()

    async def kill(self) -> None:
        """Ends it as a crash would."""
        process, self.process = self.process, None
        if process is not None and process.returncode is None:
            process.kill()
            await process.wait()

    async def listening(self, port: int, host: str = "127.0.0.1") -> None:
        """Waits until something accepts on the port; raises with the log where the process ended instead."""
        deadline = asyncio.get_running_loop().time() + START_TIMEOUT
        while True:
            try:
                _, writer = await asyncio.open_connection(host, port)
            except OSError:
                ended = self.process is None or self.process.returncode is not None
                if ended or asyncio.get_running_loop().time() > deadline:
                    raise RuntimeError(f"{self.name} does not listen on {port}:\n{self.log[-4000:]}") from None
                await asyncio.sleep(0.02)
            else:
                writer.close()
                with contextlib.suppress(OSError):
                    await writer.wait_closed()
                return


class ChallengeTestServer(Server):
    """pebble-challtestsrv: a DNS server that answers 127.0.0.1 for every name unless told otherwise."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder, "challtestsrv")
        self.dns_port = free_port()
        self.management_port = free_port()
        self._client = httpx2.AsyncClient(trust_env=False, timeout=60)

    async def __aenter__(self) -> Self:
        await self.start(
            "pebble-challtestsrv",
            *("-dns01", f"127.0.0.1:{self.dns_port}", "-management", f"127.0.0.1:{self.management_port}"),
            *("-http01", "", "-https01", "", "-tlsalpn01", "", "-defaultIPv6", "", "-defaultIPv4", "127.0.0.1"),
        )
        await self.listening(self.management_port)
        async with asyncio.timeout(START_TIMEOUT):
            while not await self._answers():
                await asyncio.sleep(0.02)
        return self

    async def _answers(self) -> bool:
        """Whether it answers datagrams, which it begins to take by itself, maybe after all else."""
        loop, question = asyncio.get_running_loop(), b"\0\1\1\0\0\1\0\0\0\0\0\0\4test\0\0\1\0\1"  # RFC 1035 section 4
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock, contextlib.suppress(OSError):
            sock.setblocking(False)
            sock.connect(("127.0.0.1", self.dns_port))
            await loop.sock_sendall(sock, question)
            return bool(await asyncio.wait_for(loop.sock_recv(sock, 512), 1))
        return False

    async def __aexit__(self, *_error: object) -> None:
        await self._client.aclose()
        await self.stop()

    async def manage(self, action: str, **fields: object) -> None:
        """Calls its management API, e.g. `manage("set-servfail", host="a.example.")`."""
        answer = await self._client.post(f"http://127.0.0.1:{self.management_port}/{action}", json=fields)
        answer.raise_for_status()


class Pebble(Server):
    """Debian's pebble with its own challtestsrv: a real ACME CA that validates against ports of this machine.

    `http_port` and `tls_port` are where it expects the edge. Every name resolves to 127.0.0.1; see `dns.manage`.
    `environ` is what pebble is configured with (PEBBLE_WFE_NONCEREJECT, PEBBLE_AUTHZREUSE, …). By default it neither
    sleeps, nor refuses good nonces, nor reuses authorizations, so that tests do the same each time. `resolver` is the port of
    another DNS resolver for it to ask.
    """

    def __init__(
        self,
        folder: Path,
        *,
        http_port: int | None = None,
        tls_port: int | None = None,
        environ: dict[str, str] | None = None,
        settings: dict[str, object] | None = None,
        port: int | None = None,
        resolver: int | None = None,
    ) -> None:
        super().__init__(folder, "pebble")
        self._resolver = resolver
        self.http_port = http_port or free_port()
        self.tls_port = tls_port or free_port()
        self.port = port or free_port()
        self._fixed_port = port is not None
        self.management_port = free_port()
        self.dns = ChallengeTestServer(folder)
        self.ca_bundle = folder / "pebble-tls.pem"
        """Trust for the directory's own TLS certificate: `issuance.ca_bundle`."""
        self._settings = settings or {}
        self._environ = {
            "PEBBLE_VA_NOSLEEP": "1",
            "PEBBLE_WFE_NONCEREJECT": "0",
            "PEBBLE_AUTHZREUSE": "0",
        } | (environ or {})

    @property
    def directory(self) -> str:
        """The URL for `issuance.directory`."""
        return f"https://127.0.0.1:{self.port}/dir"

    async def __aenter__(self) -> Self:
        certificate, key = self.folder / "pebble-tls.pem", self.folder / "pebble-tls.key"
        if not certificate.exists():
            _server_certificate(certificate, key)
        await self.dns.__aenter__()
        try:
            self._configure()
            try:
                await self.launch()
            except RuntimeError:
                if self._fixed_port or "address already in use" not in self.log:
                    raise
                # somebody was quicker: between the choice of a free port and its use lies a moment
                await self.stop()
                self.port, self.management_port = free_port(), free_port()
                self._configure()
                await self.launch()
        except BaseException:
            await self.__aexit__()
            raise
        return self

    def _configure(self) -> None:
        config = {
            "listenAddress": f"127.0.0.1:{self.port}",
            "managementListenAddress": f"127.0.0.1:{self.management_port}",
            "certificate": str(self.ca_bundle),
            "privateKey": str(self.folder / "pebble-tls.key"),
            "httpPort": self.http_port,
            "tlsPort": self.tls_port,
            "ocspResponderURL": "",
            "externalAccountBindingRequired": False,
        } | self._settings
        (self.folder / "pebble.json").write_text(json.dumps({"pebble": config}))

    async def __aexit__(self, *_error: object) -> None:
        await self.stop()
        await self.dns.__aexit__()

    async def launch(self) -> None:
        """Starts pebble, or starts it again with everything forgotten."""
        await self.start(
            *(
                "pebble",
                "-config",
                str(self.folder / "pebble.json"),
                "-dnsserver",
                f"127.0.0.1:{self._resolver or self.dns.dns_port}",
            ),
            environ=self._environ,
        )
        await self.listening(self.port)
        await self.listening(self.management_port)

    async def root(self) -> bytes:
        """The root of the certificates that it issues, PEM; another one after each launch."""
        context = ssl.create_default_context(cafile=self.ca_bundle)
        async with httpx2.AsyncClient(verify=context, trust_env=False, timeout=60) as client:
            answer = await client.get(f"https://127.0.0.1:{self.management_port}/roots/0")
            return answer.raise_for_status().content

    @property
    def orders(self) -> int:
        """Orders made since the first launch."""
        return self.log.count("Added order ")

    @property
    def accounts(self) -> int:
        """Accounts made since the first launch."""
        return self.log.count(" accounts in memory")


@contextlib.asynccontextmanager
async def pebble(folder: Path, **options: Any) -> AsyncIterator[Pebble]:
    """A running Pebble."""
    async with Pebble(folder, **options) as server:
        yield server


def _server_certificate(certificate_path: Path, key_path: Path) -> None:
    """A self-signed certificate for 127.0.0.1, which clients trust by its own file."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "pebble for tests")])
    now = datetime.datetime.now(datetime.UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(hours=1))
        .not_valid_after(now + datetime.timedelta(days=30))
        .add_extension(
            x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1")), x509.DNSName("localhost")]), False
        )
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .sign(key, hashes.SHA256())
    )
    certificate_path.write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    key_path.touch(mode=0o600)
    key_path.write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
