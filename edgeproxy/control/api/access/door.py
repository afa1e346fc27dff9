"""The door of the API under `api.hostname`: nobody gets further without a token that is valid now.

Plain ASGI, before everything else: of a request without a token not even the body is read.
"""

from __future__ import annotations

import math
import secrets
import time
from collections.abc import Callable

import structlog
from starlette.types import ASGIApp, Receive, Scope, Send

from edgeproxy.control.api.access import secret
from edgeproxy.control.api.access.address import client_address, networks, only, request_id
from edgeproxy.control.api.access.caller import Caller
from edgeproxy.control.api.access.guesses import Guesses
from edgeproxy.control.api.access.rates import AT_ONCE, PAGE_RATE, Rates
from edgeproxy.control.api.access.uses import Uses
from edgeproxy.control.api.context import Context
from edgeproxy.control.api.problems import Refused, response
from edgeproxy.control.api.shapes import certain_moment
from edgeproxy.control.metrics import TokenRefusal
from edgeproxy.control.store import Token
from edgeproxy.errors import EdgeError

log = structlog.get_logger("api")

TRY_AGAIN_SECONDS = 10.0
"""When whoever guessed may try again: a try comes free every six seconds."""

GUESSES = "too_many_guesses"

CHALLENGE = 'Bearer realm="edgeproxy"'
"""RFC 6750 section 3."""


class TooOften(Refused):
    """Somebody asks more often than is let in; `seconds` is when to come again."""

    def __init__(self, detail: str, code: str, seconds: float) -> None:
        super().__init__(429, detail, code=code, retryable=True)
        self.seconds = seconds


class NoToken(Refused):
    """A request without a token that is valid now; `reason` as metrics count it."""

    def __init__(self, detail: str, reason: TokenRefusal) -> None:
        super().__init__(401, detail, code="unauthorized" if reason == "missing" else "invalid_token")
        self.reason: TokenRefusal = reason


class Door:
    """Wraps an ASGI app. In the scope's state it leaves `caller`, `actor` and `request_id`."""

    def __init__(self, app: ASGIApp, context: Context, uses: Uses, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._app = app
        self._context = context
        self._uses = uses
        self._trusted = networks(context.config.listen.trusted_proxies)
        self._monotonic = monotonic
        self._rates = Rates()
        self._guesses = Guesses(secrets.token_bytes(16))

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        headers = scope["headers"]
        state = scope.setdefault("state", {})
        state["request_id"] = request_id(headers) or secrets.token_hex(8)
        try:
            caller = await self._caller(headers)
        except EdgeError as error:
            self._count(error)
            extra = {"x-request-id": state["request_id"]}
            if isinstance(error, Refused) and error.status == 401:
                known = "" if error.code == "unauthorized" else ', error="invalid_token"'
                extra["www-authenticate"] = CHALLENGE + known
            if isinstance(error, TooOften):
                extra["retry-after"] = str(math.ceil(error.seconds))
            await response(error, state["request_id"], extra, path=scope["path"])(scope, receive, send)
            return
        state["caller"] = caller
        state["actor"] = caller.actor
        await self._app(scope, receive, send)

    def _count(self, error: EdgeError) -> None:
        metrics = self._context.metrics
        if isinstance(error, NoToken):
            metrics.token_refused(error.reason)
        elif isinstance(error, TooOften) and error.code == GUESSES:
            metrics.token_guess_limited()
        elif isinstance(error, TooOften):
            metrics.token_request_limited()

    async def _caller(self, headers: list[tuple[bytes, bytes]]) -> Caller:
        """Who sent these. Raises Refused, or what the store raises."""
        forwarded = next((value for name, value in headers if name == b"x-forwarded-for"), b"")
        address = client_address(forwarded.decode("latin-1"), self._trusted)
        token = await self._valid(_bearer(headers), address)
        self._uses.note(token.id, self._context.now())
        rate = PAGE_RATE if token.hostname else float(self._context.config.limits.token_requests)
        wait = self._rates.take(token.id, rate, self._monotonic())
        if wait:
            raise TooOften(
                f"This token asks too often: {rate:g} requests a second are let in, {rate * AT_ONCE:g} at once. Try again in "
                f"{math.ceil(wait)} s.",
                "rate_limited",
                wait,
            )
        return Caller(f"token:{token.id} {address}", token.scope, token.workspace_id, token.hostname, token.id)

    async def _valid(self, text: str, address: str) -> Token:
        """The token with this text. Raises Refused where there is none that is valid, or its sender guesses."""
        token_id, found = secret.id_of(text), secret.digest(text)
        unknown = "This token is not known here: it is mistyped, from another edge, or was revoked long ago."
        if token_id is None:
            raise NoToken(unknown, "unknown")
        if not self._guesses.may_try(address, found, self._monotonic()):
            raise TooOften(
                f"From your network came too many tokens that are not known here. Try again in {TRY_AGAIN_SECONDS:.0f} s.",
                GUESSES,
                TRY_AGAIN_SECONDS,
            )
        token = await self._context.open_plane().store.token(token_id)
        try:
            if not secret.matches(text, None if token is None else token.digest) or token is None:
                log.info("a request with a token that nobody has", address=address)
                raise NoToken(unknown, "unknown")
            _check_lasts(token, self._context.now())
        except Refused:
            self._guesses.wrong(address, found, self._monotonic())
            raise
        self._guesses.right(found)
        return token


def _bearer(headers: list[tuple[bytes, bytes]]) -> str:
    """The token of a request, as it came. Raises Refused where there is none."""
    try:
        value = only(headers, b"authorization")
    except ValueError:
        raise NoToken("There is more than one Authorization field: which counts, nobody could say.", "missing") from None
    scheme, _, text = (value or b"").decode("latin-1").partition(" ")
    if scheme.lower() != "bearer" or not text.strip():
        detail = "This needs a token: send the field `Authorization: Bearer TOKEN`. `edgeproxy tokens create` makes one."
        raise NoToken(detail, "missing")
    return text.strip()


def _check_lasts(token: Token, now: float) -> None:
    """Raises Refused for a token that has ended. Only whoever has the whole token is told that."""
    if token.revoked_at is not None:
        raise NoToken(f"This token was revoked at {certain_moment(token.revoked_at)}. Make another one.", "revoked")
    if token.expires_at is not None and token.expires_at <= now:
        raise NoToken(f"This token expired at {certain_moment(token.expires_at)}. Make another one.", "expired")
