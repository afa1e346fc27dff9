"""Signed requests to one ACME server (RFC 8555 section 6): nonces, retries, bounds, and errors in plain words."""

from __future__ import annotations

import asyncio
import dataclasses
import re
import ssl
from collections import deque
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path

import httpx2
import msgspec
from acme import jws
from josepy.b64 import b64decode
from josepy.jwa import ES256
from josepy.jwk import JWKEC

from edgeproxy.control.issuance.acme.pace import Pace
from edgeproxy.control.issuance.acme.problems import CaRefused, refusal, retry_after, unreachable
from edgeproxy.control.issuance.acme.wire import Directory, read, read_problem
from edgeproxy.errors import Fault, IssuanceError

ANSWER_BYTES = 256 * 1024
"""Bytes of an answer that are read. A chain has some 8 KiB, an order with 100 names some 20."""

NONCES = 64
"""Nonces kept; servers let old ones lapse, so the oldest go first."""

NONCE_TRIES = 10
"""Tries of one request that is refused for its nonce."""

NONCE_LIFE = 600.0
"""Seconds after which a kept nonce is thrown away instead of tried."""

DIRECTORY_LIFE = 3_600.0
"""Seconds after which the directory is read again."""

PATIENCE = 30.0
"""Seconds that a request waits for a CA that asked for a pause. A longer pause is an error that tells how long."""

CONNECTIONS = 8
"""Connections to one CA at once; a connection takes one request at a time."""

KEEP_ALIVE = 20.0
"""Seconds of an idle connection: shorter than servers keep theirs, so that none is closed under a request."""

_NEXT = re.compile(r"<([^<>]+)>\s*;\s*rel=\"?next\"?")
_TIMEOUT = httpx2.Timeout(30.0, connect=10.0, pool=60.0)
_REQUEST_TIME = 60.0
Sleep = Callable[[float], Awaitable[None]]

_BUSY = frozenset((502, 503, 504))


@dataclasses.dataclass(frozen=True, slots=True)
class Answer:
    """An answer that is not a refusal."""

    status: int
    headers: Mapping[str, str]
    body: bytes
    retry_after: float
    """Seconds, 0 without one."""

    @property
    def location(self) -> str:
        """The URL of the resource that was made or found."""
        return self.headers.get("location", "")

    @property
    def next(self) -> str:
        """The URL of the next page (Link, rel="next"), empty without one."""
        match = _NEXT.search(self.headers.get("link", ""))
        return match[1] if match else ""


class Transport:
    """One ACME server. `clock` gives Unix time, `monotonic` seconds for pauses."""

    def __init__(
        self,
        directory_url: str,
        ca_bundle: str,
        clock: Callable[[], float],
        monotonic: Callable[[], float],
        network: httpx2.AsyncBaseTransport | None = None,
        sleep: Sleep = asyncio.sleep,
    ) -> None:
        self.directory_url = directory_url
        self.host = httpx2.URL(directory_url).host
        self._clock = clock
        self._monotonic = monotonic
        self._sleep = sleep
        self._pace = Pace()
        self._nonces: deque[tuple[float, str]] = deque(maxlen=NONCES)
        self._directory: Directory | None = None
        self._directory_at = 0.0
        self._directory_lock = asyncio.Lock()
        self.requests = 0
        """Requests sent so far."""
        self._ca_bundle = ca_bundle
        self._network = network
        self._client: httpx2.AsyncClient | None = None

    async def close(self) -> None:
        """Ends the connections."""
        client, self._client = self._client, None
        if client is not None:
            await client.aclose()

    async def directory(self) -> Directory:
        """The directory, read once an hour; an old one serves on while the CA does not give a new one."""
        async with self._directory_lock:
            if self._directory is None or self._monotonic() - self._directory_at > DIRECTORY_LIFE:
                try:
                    self._directory = await self._read_directory()
                    self._directory_at = self._monotonic()
                except IssuanceError:
                    if self._directory is None:
                        raise
            return self._directory

    async def _read_directory(self) -> Directory:
        try:
            answer = await self._send("GET", self.directory_url)
        except CaRefused as error:
            if 300 <= error.status < 500:
                raise CaRefused(
                    f"There is no ACME directory at {self.directory_url} (HTTP status {error.status}). Look at "
                    "issuance.directory.",
                    problem="malformed",
                    fault=Fault.OPERATOR,
                    status=error.status,
                ) from None
            raise
        return read(answer.body, Directory)

    async def prepare(self) -> None:
        """Reads the directory and has a nonce at hand."""
        await self.directory()
        if not self._nonces:
            self._keep_nonce(await self._fresh_nonce())

    async def post(
        self,
        url: str,
        payload: Mapping[str, object] | None,
        key: JWKEC,
        kid: str | None,
        *,
        about: str = "",
        accept: str = "",
        resend: bool = True,
    ) -> Answer:
        """A signed POST; without payload a POST-as-GET. `kid` is None where the account is not known yet.

        A refused nonce is replaced and the request sent again. Raises CaRefused; its problem is "unreachable" where the
        request was never sent, "lost" where it was and no answer came. Without `resend` a request that may have been
        taken is never sent twice. `about` is the hostname that errors name.
        """
        body = b"" if payload is None else msgspec.json.encode(payload)
        tries = 0
        while True:
            tries += 1
            nonce = await self._nonce()
            signed = jws.JWS.sign(body, key, ES256, b64decode(nonce), url=url, kid=kid).json_dumps()
            try:
                return await self._send("POST", url, signed.encode(), accept, about=about, resend=resend)
            except CaRefused as error:
                if error.problem != "badNonce" or tries == NONCE_TRIES:
                    raise

    async def _nonce(self) -> str:
        while self._nonces:
            kept_at, nonce = self._nonces.pop()
            if self._monotonic() - kept_at < NONCE_LIFE:
                return nonce
        return await self._fresh_nonce()

    async def _fresh_nonce(self) -> str:
        directory = await self.directory()
        answer = await self._send("HEAD", directory.new_nonce, nonce_only=True)
        nonce = answer.headers.get("replay-nonce", "")
        if not _is_nonce(nonce):
            raise CaRefused("The CA gave no nonce. Is issuance.directory an ACME directory?", problem="malformed", status=200)
        return nonce

    def _keep_nonce(self, nonce: str) -> None:
        self._nonces.append((self._monotonic(), nonce))

    async def _send(
        self,
        method: str,
        url: str,
        body: bytes = b"",
        accept: str = "",
        *,
        about: str = "",
        nonce_only: bool = False,
        resend: bool = True,
    ) -> Answer:
        """One request, when the CA's pace allows it; twice where a kept connection turns out to have been closed."""
        if not url.startswith(("https://", "http://")):
            raise IssuanceError("The CA's answer holds something that is not a URL.", code="ca_malformed")
        await self._wait_for_pace()
        headers = {"content-type": "application/jose+json"} if method == "POST" else {}
        if accept:
            headers["accept"] = accept
        while True:
            self.requests += 1
            try:
                async with asyncio.timeout(_REQUEST_TIME):
                    status, fields, content = await self._exchange(method, url, body, headers)
                break
            except (httpx2.RemoteProtocolError, httpx2.ReadError, httpx2.WriteError) as error:
                # Most likely a kept connection that the server closed just now. Had the request been taken all the
                # same, its nonce is spent, and the second one is refused for that.
                if not resend:
                    raise self._nothing_came(error) from None
                resend = False
            except (httpx2.HTTPError, httpx2.InvalidURL, TimeoutError, OSError) as error:
                raise self._nothing_came(error) from None
        return self._judge(status, fields, content, about=about, nonce_only=nonce_only)

    def _nothing_came(self, error: BaseException) -> CaRefused:
        self._pace.trouble(self._monotonic(), 0.0)
        not_sent = isinstance(error, httpx2.ConnectError | httpx2.ConnectTimeout | httpx2.PoolTimeout)
        return unreachable(self.host, _reason(error), problem="unreachable" if not_sent else "lost")

    async def _exchange(self, method: str, url: str, body: bytes, headers: dict[str, str]) -> tuple[int, httpx2.Headers, bytes]:
        if self._client is None:
            self._client = self._new_client()
        async with self._client.stream(method, url, content=body or None, headers=headers) as response:
            content = bytearray()
            async for piece in response.aiter_raw():
                content += piece
                if len(content) > ANSWER_BYTES:
                    raise IssuanceError(f"The CA's answer has more than {ANSWER_BYTES} bytes.", code="ca_malformed")
            return response.status_code, response.headers, bytes(content)

    def _new_client(self) -> httpx2.AsyncClient:
        # Made at the first request: a bundle that cannot be read must not keep the controller from starting.
        limits = httpx2.Limits(max_connections=CONNECTIONS, max_keepalive_connections=CONNECTIONS, keepalive_expiry=KEEP_ALIVE)
        return httpx2.AsyncClient(
            transport=self._network,
            verify=_trust(self._ca_bundle),
            timeout=_TIMEOUT,
            limits=limits,
            headers={"user-agent": "edgeproxy", "accept-encoding": "identity", "accept-language": "en"},
        )

    def _judge(self, status: int, fields: httpx2.Headers, content: bytes, *, about: str, nonce_only: bool) -> Answer:
        nonce = fields.get("replay-nonce", "")
        if _is_nonce(nonce) and not nonce_only:
            self._keep_nonce(nonce)
        pause = retry_after(fields.get("retry-after"), self._clock())
        if status in _BUSY:
            self._pace.trouble(self._monotonic(), pause)
        elif not nonce_only:  # a CA that is too busy for orders may still have nonces to give
            self._pace.answered()
        if 200 <= status < 300:
            return Answer(status, fields, content, pause)
        raise refusal(read_problem(status, content), status=status, name=about, retry_after=pause)

    async def _wait_for_pace(self) -> None:
        wait = self._pace.waiting(self._monotonic())
        if wait > PATIENCE:
            raise CaRefused(
                f"The certificate authority at {self.host} is away or busy; it is asked again in {round(wait)} s.",
                problem="serverInternal",
                retry_after=wait,
                status=503,
            )
        wait = self._pace.reserve(self._monotonic())
        if wait > 0:
            await self._sleep(wait)


def _trust(ca_bundle: str) -> ssl.SSLContext | bool:
    """What the CA's own TLS certificate is checked against."""
    if not ca_bundle:
        return True
    try:
        return ssl.create_default_context(cafile=Path(ca_bundle))
    except (OSError, ssl.SSLError) as error:
        raise IssuanceError(
            f"issuance.ca_bundle {ca_bundle!r} cannot be used: {error.strerror or error}. It must be a readable PEM file.",
            fault=Fault.OPERATOR,
            retryable=False,
        ) from None


def _is_nonce(text: str) -> bool:
    """Whether this is base64url, as section 6.5.1 demands, and of a sane length."""
    try:
        return 0 < len(text) <= 512 and bool(b64decode(text))
    except (ValueError, TypeError):
        return False


def _reason(error: BaseException) -> str:
    """Why nothing came back, in a few words."""
    seen: BaseException | None = error
    while seen is not None:
        if isinstance(seen, ssl.SSLCertVerificationError):
            return (
                f"its TLS certificate is not trusted ({seen.verify_message}); for a private CA set issuance.ca_bundle to "
                "its root"
            )
        if isinstance(seen, ConnectionRefusedError):
            return "connection refused"
        seen = seen.__cause__ or seen.__context__
    if isinstance(error, httpx2.ConnectTimeout):
        return "it does not answer (connecting took more than 10 s)"
    if isinstance(error, TimeoutError | httpx2.TimeoutException):
        return "it does not answer in time"
    return str(error)[:200] or type(error).__name__
