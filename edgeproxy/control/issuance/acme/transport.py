"""Signed requests to one ACME server (RFC 8555 section 6): nonces, retries, bounds, and errors in plain words."""

from __future__ import annotations

import asyncio
import dataclasses
import math
import re
import socket
import ssl
from collections import deque
from collections.abc import Awaitable, Callable, Mapping
from email.utils import parsedate_to_datetime
from pathlib import Path
from typing import Any, Literal

import httpx2
import msgspec
import structlog
from acme import jws
from josepy.b64 import b64decode
from josepy.jwa import ES256, ES384, RS256, JWASignature
from josepy.jwk import JWK, JWKEC

from edgeproxy.control.issuance.acme.pace import WIDEST, Pace
from edgeproxy.control.issuance.acme.problems import CaRefused, refusal, retry_after, unreachable
from edgeproxy.control.issuance.acme.wire import Directory, read, read_problem
from edgeproxy.control.issuance.issuer import host_of
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

DIRECTORY_RETRY = 60.0
"""Seconds between two tries to read a directory anew that cannot be read, or that did not change where it ought to have."""

CLOCK_OFF = 60.0
"""Seconds by which the CA's clock may differ from ours before that is worth a line in the log."""

PATIENCE = 30.0
"""Seconds that a request waits for a CA that asked for a pause. A longer pause is an error that tells how long."""

KEEP_ALIVE = 20.0
"""Seconds of an idle connection: shorter than servers keep theirs, so that none is closed under a request."""

_NEXT = re.compile(r"<([^<>]+)>\s*;\s*rel=\"?next\"?")
_TERMS = re.compile(r"<([^<>]+)>\s*;\s*rel=\"?terms-of-service\"?")
_TIMEOUT = httpx2.Timeout(30.0, connect=10.0, pool=60.0)
_REQUEST_TIME = 60.0
Sleep = Callable[[float], Awaitable[None]]

_GONE = frozenset((301, 302, 303, 307, 308, 404, 405, 410))
"""What a CA says at an address where it has moved away from."""

Resource = Literal["new_nonce", "new_account", "new_order", "revoke_cert"]
log = structlog.get_logger("issuance")


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
        self.ca = host_of(directory_url)
        """For the log, as events have it."""
        self.monotonic = monotonic
        self._clock = clock
        self._clock_off = False
        self._sleep = sleep
        self._pace = Pace()
        self._turn = asyncio.Lock()
        self._under_way = 0
        self._answered = asyncio.Event()
        self._nonces: deque[tuple[float, str]] = deque(maxlen=NONCES)
        self._directory: Directory | None = None
        self._directory_at = 0.0
        self._directory_tried = -math.inf
        self._directory_failed = False
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

    async def directory(self, *, instead_of: Directory | None = None) -> Directory:
        """The directory, read once an hour; an old one serves on while the CA does not give a new one.

        `instead_of`: this one has proved wrong; it is read again, if that was not tried a moment ago. Raises IssuanceError.
        """
        async with self._directory_lock:
            now, old = self.monotonic(), self._directory
            if old is None:
                self._directory = await self._read_directory()
                self._directory_at = self.monotonic()
                return self._directory
            wrong = old is instead_of or now - self._directory_at > DIRECTORY_LIFE
            if not wrong or now - self._directory_tried < DIRECTORY_RETRY:
                return old
            self._directory_tried = now
            try:
                self._directory = await self._read_directory()
            except IssuanceError as error:
                if not self._directory_failed:
                    log.warning("the CA's directory cannot be read anew; the one from before is used on", detail=error.detail)
                self._directory_failed = True
                return old
            self._directory_failed = False
            self._directory_at = self.monotonic()
            _compare_terms(old, self._directory)
            return self._directory

    async def _read_directory(self) -> Directory:
        try:
            answer = await self._send("GET", self.directory_url)
        except CaRefused as error:
            if 300 <= error.status < 500 and error.status != 429:
                raise CaRefused(
                    f"There is no ACME directory at {self.directory_url} (HTTP status {error.status}). Look at "
                    "issuance.directory.",
                    problem="malformed",
                    fault=Fault.OPERATOR,
                    status=error.status,
                ) from None
            raise
        return read(answer.body, Directory)

    @property
    def known_directory(self) -> Directory | None:
        """The directory as it was read last; None: not yet."""
        return self._directory

    async def get(self, url: str) -> Answer:
        """An unsigned GET, for what everybody may know (RFC 9773 section 4.1). Raises CaRefused."""
        return await self._send("GET", url)

    async def prepare(self) -> None:
        """Reads the directory and has a nonce at hand."""
        await self.directory()
        if not self._nonces:
            self._keep_nonce(await self._fresh_nonce())

    async def post(
        self,
        url: str,
        payload: Mapping[str, object] | None,
        key: JWK,
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
            signed = jws.JWS.sign(body, key, algorithm(key), b64decode(nonce), url=url, kid=kid).json_dumps()
            try:
                return await self._send("POST", url, signed.encode(), accept, about=about, resend=resend)
            except CaRefused as error:
                if error.problem != "badNonce":
                    raise
                if tries == NONCE_TRIES:
                    self._pace.trouble(self.monotonic(), 0.0)
                    raise

    async def post_new(
        self,
        resource: Resource,
        payload: Mapping[str, object],
        key: JWK,
        kid: str | None,
        *,
        about: str = "",
        resend: bool = True,
    ) -> Answer:
        """`post` to a resource of the directory. One that is not where it was is looked for in a new directory.

        An account whose URL is of the place that the CA has left is one that it does not know: "accountDoesNotExist".
        """
        directory = await self.directory()
        url = str(getattr(directory, resource))
        try:
            return await self.post(url, payload, key, kid, about=about, resend=resend)
        except CaRefused as error:
            elsewhere = httpx2.URL(url).host != self.host
            if error.status not in _GONE and not (error.problem == "unreachable" and elsewhere):
                raise _unknown_there(error, url, kid) from None
            moved = str(getattr(await self.directory(instead_of=directory), resource))
            if moved == url:
                raise
        try:
            return await self.post(moved, payload, key, kid, about=about, resend=resend)
        except CaRefused as error:
            raise _unknown_there(error, moved, kid) from None

    async def _nonce(self) -> str:
        while self._nonces:
            kept_at, nonce = self._nonces.pop()
            if self.monotonic() - kept_at < NONCE_LIFE:
                return nonce
        return await self._fresh_nonce()

    async def _fresh_nonce(self) -> str:
        directory = await self.directory()
        try:
            answer = await self._send("HEAD", directory.new_nonce)
        except CaRefused as error:
            moved = (await self.directory(instead_of=directory)).new_nonce if error.status in _GONE else directory.new_nonce
            if moved == directory.new_nonce:
                raise self._no_nonce(error) from None
            answer = await self._send("HEAD", moved)
        nonce = answer.headers.get("replay-nonce", "")
        if not _is_nonce(nonce):
            raise CaRefused("The CA gave no nonce. Is issuance.directory an ACME directory?", problem="noNonce", status=200)
        return nonce

    def _no_nonce(self, error: CaRefused) -> CaRefused:
        """The CA refused to give a nonce, which says nothing of the name that it is for."""
        if error.about_the_ca:
            return error
        self._pace.trouble(self.monotonic(), error.retry_after)
        return CaRefused(
            f"The CA gives no nonces (HTTP status {error.status}); it is tried again.",
            problem="noNonce",
            retry_after=error.retry_after,
            status=error.status,
        )

    def _keep_nonce(self, nonce: str) -> None:
        self._nonces.append((self.monotonic(), nonce))

    async def _send(
        self,
        method: str,
        url: str,
        body: bytes = b"",
        accept: str = "",
        *,
        about: str = "",
        resend: bool = True,
    ) -> Answer:
        """One request, when the CA's pace allows it; twice where a kept connection turns out to have been closed."""
        if not url.startswith(("https://", "http://")):
            raise IssuanceError("The CA's answer holds something that is not a URL.", code="ca_malformed")
        headers = {"content-type": "application/jose+json"} if method == "POST" else {}
        if accept:
            headers["accept"] = accept
        while True:
            await self._take_turn()
            self.requests += 1
            try:
                async with asyncio.timeout(_REQUEST_TIME):
                    status, fields, content = await self._exchange(method, url, body, headers)
                return self._judge(method, status, fields, content, about)
            except (httpx2.RemoteProtocolError, httpx2.ReadError, httpx2.WriteError) as error:
                # Most likely a kept connection that the server closed just now. Had the request been taken all the
                # same, its nonce is spent, and the second one is refused for that.
                if not resend:
                    raise self._nothing_came(error) from None
                resend = False
            except (httpx2.HTTPError, httpx2.InvalidURL, TimeoutError, OSError) as error:
                raise self._nothing_came(error) from None
            finally:
                self._under_way -= 1
                self._answered.set()

    async def _take_turn(self) -> None:
        """Waits until the CA's pace allows a request, which is then under way. First come, first served."""
        patience = self.monotonic() + PATIENCE
        async with self._turn:
            while (wait := self._pace.waiting(self.monotonic(), self._under_way)) > 0:
                if self._pace.troubled and self.monotonic() + wait > patience:
                    raise CaRefused(
                        f"The certificate authority at {self.host} is away or busy; it is asked again in {round(wait)} s.",
                        problem="serverInternal",
                        retry_after=wait,
                        status=503,
                    )
                await self._wait(wait)
            self._pace.sent(self.monotonic())
            self._under_way += 1

    async def _wait(self, seconds: float) -> None:
        """Until a request is answered, or so many seconds have passed."""
        self._answered.clear()
        tasks: list[asyncio.Future[Any]] = [asyncio.ensure_future(self._answered.wait())]
        if seconds < math.inf:
            tasks.append(asyncio.ensure_future(self._sleep(seconds)))
        try:
            await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in tasks:
                task.cancel()

    def _nothing_came(self, error: BaseException) -> CaRefused:
        self._pace.trouble(self.monotonic(), 0.0)
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
        limits = httpx2.Limits(max_connections=WIDEST, max_keepalive_connections=WIDEST, keepalive_expiry=KEEP_ALIVE)
        return httpx2.AsyncClient(
            transport=self._network,
            verify=_trust(self._ca_bundle),
            timeout=_TIMEOUT,
            limits=limits,
            headers={"user-agent": "edgeproxy", "accept-encoding": "identity", "accept-language": "en"},
        )

    def _judge(self, method: str, status: int, fields: httpx2.Headers, content: bytes, about: str) -> Answer:
        # a CA that is too busy for orders may still have nonces to give
        tells = method != "HEAD"
        nonce = fields.get("replay-nonce", "")
        if _is_nonce(nonce) and tells:
            self._keep_nonce(nonce)
        pause = retry_after(fields.get("retry-after"), self._ca_time(fields))
        if 200 <= status < 300:
            if tells:
                self._pace.answered(self.monotonic())
            return Answer(status, fields, content, pause)
        terms = _TERMS.search(fields.get("link", ""))
        refused = refusal(
            read_problem(status, content), status=status, name=about, retry_after=pause, terms=terms[1] if terms else ""
        )
        if refused.whole_ca or (status == 429 and method != "POST"):
            self._pace.trouble(self.monotonic(), pause)
        elif refused.problem != "badNonce" and tells:
            self._pace.answered(self.monotonic())
        raise refused

    def _ca_time(self, fields: httpx2.Headers) -> float:
        """What time it is for the CA: a Retry-After that is a date is meant so (RFC 9110 section 10.2.3)."""
        now = self._clock()
        try:
            date = parsedate_to_datetime(fields.get("date", "")).timestamp()
        except (ValueError, TypeError, OverflowError):
            return now
        off = abs(date - now) > CLOCK_OFF
        if off and not self._clock_off:
            log.warning(
                "this machine's clock and the CA's differ; look whether this one is set by the time of the network",
                ca=self.ca,
                ahead_by=round(now - date),
            )
        self._clock_off = off
        return date


def _unknown_there(error: CaRefused, url: str, kid: str | None) -> CaRefused:
    """The error, or "accountDoesNotExist" where a CA that moved cannot make anything of the account's old URL."""
    if kid and error.problem == "malformed" and httpx2.URL(kid).host != httpx2.URL(url).host:
        return CaRefused(error.detail, problem="accountDoesNotExist", status=error.status)
    return error


def _compare_terms(old: Directory, new: Directory) -> None:
    if new.meta.terms_of_service != old.meta.terms_of_service:
        log.warning("the CA has changed its terms of service; read them", terms=new.meta.terms_of_service[:200])


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


def algorithm(key: JWK) -> JWASignature:
    """How a key signs (RFC 7518 section 3.1). Accounts' are on P-256; a certificate's own key may be of any kind."""
    if not isinstance(key, JWKEC):
        return RS256
    return ES384 if key.key.key_size == 384 else ES256


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
        if isinstance(seen, socket.gaierror):
            return f"its name cannot be looked up ({(seen.strerror or str(seen)).lower()})"
        seen = seen.__cause__ or seen.__context__
    if isinstance(error, httpx2.ConnectTimeout):
        return "it does not answer (connecting took more than 10 s)"
    if isinstance(error, TimeoutError | httpx2.TimeoutException):
        return "it does not answer in time"
    return str(error)[:200] or type(error).__name__
