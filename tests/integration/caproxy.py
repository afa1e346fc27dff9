"""A CA with bad days, and with what newer CAs have: an HTTPS proxy in front of a real pebble.

Pebble makes its URLs of the Host that it is asked for, so everything goes through the proxy and every signature stays good.

    async with Pebble(folder) as pebble, CaProxy(folder, pebble) as ca:
        ca.directory, ca.ca_bundle            # for issuance.directory and issuance.ca_bundle
        ca.plan("newOrder", fault.busy(), fault.busy(retry_after=30))   # the next two newOrder requests, in this order
        ca.always("finalize", fault.reset(after=True))                  # each one, until ca.well()
        await ca.go_down()                    # nothing listens any more; ca.come_back() on the same port
        ca.move()                             # every URL but the directory's moves to another host; the old ones are gone
        ca.skew = 300                         # its clock: Date, and notBefore of what it signs
        ca.requests, ca.count("newOrder")     # everything that it was asked, with times by `clock`
        ca.made                               # orders and accounts
        ca.most_within(1.0)                   # the most requests within any such number of seconds

Faults are made by `cafaults` (there is the list; any `async def f(exchange) -> Answer` is one too). Kinds of requests are
directory, newNonce, newAccount, newOrder, keyChange, revokeCert, account, orders, order, authorization, challenge, finalize,
certificate, renewalInfo; "*" is all of them. A planned fault comes before one that is always there.

What Debian's pebble lacks is `ca.newer` (`newerca.NewerCa`): renewal information (RFC 9773) with a window per certificate,
`replaces`, profiles, dns-persist-01, certificates of any life under a root of its own. `await ca.roots()` is what visitors
have to trust. Pebble with PEBBLE_VA_ALWAYS_VALID=1 in its environment spares a test the answers to challenges.

A test with the whole program runs both in a loop of another thread; what it sets here may be set from any thread.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import ssl
import struct
import time
from collections.abc import Callable
from email.utils import formatdate
from pathlib import Path
from typing import Self

import httpx2

from tests.integration.caexchange import Answer, Exchange, Fault, Request, Reset, decode
from tests.integration.newerca import NewerCa, write_server_certificate
from tests.integration.servers import Pebble
from tests.ports import free_port

HOST = "127.0.0.1"
MOVED_HOST = "127.0.0.2"

_PATHS = {
    "/dir": "directory",
    "/nonce-plz": "newNonce",
    "/sign-me-up": "newAccount",
    "/order-plz": "newOrder",
    "/rollover-account-key": "keyChange",
    "/revoke-cert": "revokeCert",
    "/my-account/": "account",
    "/list-orderz/": "orders",
    "/my-order/": "order",
    "/authZ/": "authorization",
    "/chalZ/": "challenge",
    "/finalize-order/": "finalize",
    "/certZ/": "certificate",
    "/renewal-info/": "renewalInfo",
}
_PASSED_BACK = ("content-type", "location", "link", "replay-nonce", "retry-after", "cache-control")


class CaProxy:
    """See the module. An async context manager; `pebble` must be running and is not ended."""

    def __init__(self, folder: Path, pebble: Pebble, *, clock: Callable[[], float] = time.time) -> None:
        """`clock` is what requests are noted with and renewal windows are compared with: a test's simulated time, or ours."""
        self.folder, self.pebble, self.clock = folder, pebble, clock
        self.port = free_port()
        self.ca_bundle = folder / "caproxy-tls.pem"
        self.requests: list[Request] = []
        self.skew = 0.0
        """Seconds by which its clock is ahead of ours."""
        self.newer = NewerCa(self)
        self.under_way = 0
        """Requests that are not answered yet."""
        self.stirred = 0.0
        """When the last request began or ended, monotonic."""
        self._planned: list[tuple[str, Fault]] = []
        self._standing: list[tuple[str, Fault]] = []
        self._moved = False
        self._server: asyncio.Server | None = None
        self._serving: dict[asyncio.Task[None], asyncio.StreamWriter] = {}
        self._upstream: httpx2.AsyncClient | None = None

    # For tests

    @property
    def directory(self) -> str:
        """The URL for `issuance.directory`."""
        return f"https://{HOST}:{self.port}/dir"

    @property
    def url(self) -> str:
        """Where the other URLs are just now."""
        return f"https://{MOVED_HOST if self._moved else HOST}:{self.port}"

    def plan(self, kind: str, *faults: Fault) -> None:
        """The next requests of this kind meet these faults, one each."""
        self._planned += [(kind, fault) for fault in faults]

    def always(self, kind: str, fault: Fault) -> None:
        """Every request of this kind meets this fault; several kinds may have one, the first that fits counts."""
        self._standing.append((kind, fault))

    def well(self) -> None:
        """Forgets every fault; what moved stays where it is."""
        self._planned.clear()
        self._standing.clear()
        self.skew = 0.0

    def forget(self) -> None:
        """As new: no faults, no requests noted, everything where it was; for the next test with the same proxy."""
        self.well()
        self.requests.clear()
        self.newer = NewerCa(self)
        self._moved = False

    def move(self) -> None:
        """Every URL but the directory's moves to another host; at the old one nothing is found any more."""
        self._moved = True

    @property
    def planned(self) -> int:
        """Planned faults that nobody met yet."""
        return len(self._planned)

    def count(self, *kinds: str, since: float = 0.0) -> int:
        """How many requests of these kinds (of all) came."""
        return sum(request.at >= since and (not kinds or request.kind in kinds) for request in self.requests)

    @property
    def made(self) -> tuple[int, int]:
        """Orders and accounts that were made."""
        kinds = [request.kind for request in self.requests if request.made]
        return kinds.count("newOrder"), kinds.count("newAccount")

    def kinds(self) -> list[str]:
        """The kinds of all requests, in order."""
        return [request.kind for request in self.requests]

    def of(self, *kinds: str) -> list[Request]:
        """The requests of these kinds."""
        return [request for request in self.requests if request.kind in kinds]

    def most_within(self, seconds: float, *kinds: str, since: float = 0.0) -> int:
        """The most requests (of these kinds) within any such number of seconds."""
        times = sorted(request.at for request in (self.of(*kinds) if kinds else self.requests) if request.at >= since)
        most = first = 0
        for last, at in enumerate(times):
            while at - times[first] >= seconds:
                first += 1
            most = max(most, last - first + 1)
        return most

    async def go_down(self) -> None:
        """Nothing listens any more, and open connections are reset."""
        server, self._server = self._server, None
        if server is not None:
            server.close()
        for writer in self._serving.values():
            _abort(writer)
        await asyncio.sleep(0)

    async def come_back(self) -> None:
        """Listens again."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(self.ca_bundle, self.folder / "caproxy-tls.key")
        self._server = await asyncio.start_server(self._accept, [HOST, MOVED_HOST], self.port, ssl=context, limit=1 << 20)

    async def roots(self) -> bytes:
        """The roots of all certificates that come from here, PEM: pebble's and our own."""
        return await self.pebble.root() + self.newer.root_pem

    async def __aenter__(self) -> Self:
        write_server_certificate(self.ca_bundle, self.folder / "caproxy-tls.key", (HOST, MOVED_HOST))
        await self.come_back()
        return self

    async def __aexit__(self, *_error: object) -> None:
        await self.go_down()
        tasks = list(self._serving)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        if self._upstream is not None:
            await self._upstream.aclose()

    # For faults

    async def ask(self, request: Request) -> Answer:
        """Asks pebble, and adds what newer CAs have."""
        early = await self.newer.before(request)
        if early is not None:
            return early
        request.reached = True
        headers = {"host": self.url.removeprefix("https://")} if request.kind == "directory" else {"host": request.host}
        if request.body:
            headers["content-type"] = "application/jose+json"
        if request.accept:
            headers["accept"] = request.accept
        answer = await self._pebble(request.method, request.path, headers, request.body)
        request.made = answer.status == 201
        return await self.newer.after(request, answer)

    async def nonce(self) -> str:
        """A good nonce."""
        return (await self._pebble("HEAD", "/nonce-plz", {}, b"")).headers["replay-nonce"]

    async def _pebble(self, method: str, path: str, headers: dict[str, str], body: bytes) -> Answer:
        if self._upstream is None:
            trust = ssl.create_default_context(cafile=self.pebble.ca_bundle)
            self._upstream = httpx2.AsyncClient(verify=trust, trust_env=False, timeout=60)
        url = f"https://{HOST}:{self.pebble.port}{path}"
        try:
            response = await self._upstream.request(method, url, headers=headers, content=body or None)
        except httpx2.HTTPError as error:
            return Answer(502, str(error).encode())
        passed = {name: response.headers[name] for name in _PASSED_BACK if name in response.headers}
        return Answer(response.status_code, response.content, passed)

    # Serving

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        if task is None or self._server is None:
            _abort(writer)
            return
        self._serving[task] = writer
        try:
            while (request := await self._read(reader)) is not None:
                await self._serve(request, writer)
        except (Reset, OSError, asyncio.IncompleteReadError, asyncio.LimitOverrunError):
            pass
        finally:
            _abort(writer)
            del self._serving[task]

    async def _read(self, reader: asyncio.StreamReader) -> Request | None:
        head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
        first, *lines = head.split("\r\n")
        method, path, _ = first.split(" ")
        fields = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines if line)}
        body = await reader.readexactly(int(fields.get("content-length", 0)))
        kind = next((kind for prefix, kind in _PATHS.items() if path.startswith(prefix)), "unknown")
        request = Request(self.clock(), kind, method, path, fields.get("host", ""), fields.get("accept", ""), body)
        decode(request)
        return request

    async def _serve(self, request: Request, writer: asyncio.StreamWriter) -> None:
        self.requests.append(request)
        self.under_way += 1
        self.stirred = time.monotonic()
        try:
            answer = await self._answer(request)
            request.status = answer.status
            if answer.status >= 400 and isinstance(answer.json, dict):
                request.problem = str(answer.json.get("type", "")).rpartition(":")[2]
        finally:
            request.finished = self.clock()
            self.under_way -= 1
            self.stirred = time.monotonic()
        fields = {
            "date": formatdate(self.clock() + self.skew, usegmt=True),
            **answer.headers,
            "content-length": str(len(answer.body)),
        }
        head = [f"HTTP/1.1 {answer.status} Status", *(f"{name}: {value}" for name, value in fields.items())]
        body = b"" if request.method == "HEAD" or answer.status == 204 else answer.body
        writer.write("\r\n".join([*head, "", ""]).encode("latin-1") + body)
        await writer.drain()

    async def _answer(self, request: Request) -> Answer:
        fault = self._fault(request.kind)
        if fault is not None:
            return await fault(Exchange(request, self))
        if request.kind != "directory" and request.host != self.url.removeprefix("https://"):
            return Answer(404, b"404 page not found", {"content-type": "text/plain"})
        return await self.ask(request)

    def _fault(self, kind: str) -> Fault | None:
        for place, (planned, fault) in enumerate(self._planned):
            if planned in (kind, "*"):
                del self._planned[place]
                return fault
        return next((fault for standing, fault in self._standing if standing in (kind, "*")), None)


def _abort(writer: asyncio.StreamWriter) -> None:
    """Ends a connection with a reset."""
    plain = writer.get_extra_info("socket")
    if plain is not None:
        with contextlib.suppress(OSError):
            plain.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    writer.transport.abort()
