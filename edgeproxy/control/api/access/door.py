"""The door of the API under `api.hostname`: nobody gets further without a token that is valid now.

Plain ASGI, before everything else: of a request without a token not even the body is read.
"""

from __future__ import annotations

import secrets

import structlog
from starlette.types import ASGIApp, Receive, Scope, Send

from edgeproxy.control.api.access import secret
from edgeproxy.control.api.access.address import client_address, networks, only, request_id
from edgeproxy.control.api.access.caller import Caller
from edgeproxy.control.api.access.uses import Uses
from edgeproxy.control.api.context import Context
from edgeproxy.control.api.problems import Refused, response
from edgeproxy.control.api.shapes import certain_moment
from edgeproxy.control.store import Token
from edgeproxy.errors import EdgeError

log = structlog.get_logger("api")

CHALLENGE = 'Bearer realm="edgeproxy"'
"""RFC 6750 section 3."""


class Door:
    """Wraps an ASGI app. In the scope's state it leaves `caller`, `actor` and `request_id`."""

    def __init__(self, app: ASGIApp, context: Context, uses: Uses) -> None:
        self._app = app
        self._context = context
        self._uses = uses
        self._trusted = networks(context.config.listen.trusted_proxies)

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
            extra = {"x-request-id": state["request_id"]}
            if isinstance(error, Refused) and error.status == 401:
                known = "" if error.code == "unauthorized" else ', error="invalid_token"'
                extra["www-authenticate"] = CHALLENGE + known
            await response(error, state["request_id"], extra, path=scope["path"])(scope, receive, send)
            return
        state["caller"] = caller
        state["actor"] = caller.actor
        await self._app(scope, receive, send)

    async def _caller(self, headers: list[tuple[bytes, bytes]]) -> Caller:
        """Who sent these. Raises Refused, or what the store raises."""
        forwarded = next((value for name, value in headers if name == b"x-forwarded-for"), b"")
        address = client_address(forwarded.decode("latin-1"), self._trusted)
        text = _bearer(headers)
        token_id = secret.id_of(text)
        token = None if token_id is None else await self._context.open_plane().store.token(token_id)
        if not secret.matches(text, None if token is None else token.digest) or token is None:
            log.info("a request with a token that nobody has", address=address)
            raise _invalid("This token is not known here: it is mistyped, from another edge, or was revoked long ago.")
        now = self._context.now()
        _check_lasts(token, now)
        self._uses.note(token.id, now)
        return Caller(f"token:{token.id} {address}", token.scope, token.workspace_id, token.hostname, token.id)


def _bearer(headers: list[tuple[bytes, bytes]]) -> str:
    """The token of a request, as it came. Raises Refused where there is none."""
    try:
        value = only(headers, b"authorization")
    except ValueError:
        raise Refused(
            401, "There is more than one Authorization field: which counts, nobody could say.", code="unauthorized"
        ) from None
    scheme, _, text = (value or b"").decode("latin-1").partition(" ")
    if scheme.lower() != "bearer" or not text.strip():
        raise Refused(
            401,
            "This needs a token: send the field `Authorization: Bearer TOKEN`. `edgeproxy tokens create` makes one.",
            code="unauthorized",
        )
    return text.strip()


def _check_lasts(token: Token, now: float) -> None:
    """Raises Refused for a token that has ended. Only whoever has the whole token is told that."""
    if token.revoked_at is not None:
        raise _invalid(f"This token was revoked at {certain_moment(token.revoked_at)}. Make another one.")
    if token.expires_at is not None and token.expires_at <= now:
        raise _invalid(f"This token expired at {certain_moment(token.expires_at)}. Make another one.")


def _invalid(detail: str) -> Refused:
    return Refused(401, detail, code="invalid_token")
