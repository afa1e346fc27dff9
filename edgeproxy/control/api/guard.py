"""What stands before every endpoint: a request id, a bound on the body and on concurrency, JSON that is JSON, and the last
resort for errors.

Plain ASGI. The body is read before the endpoint runs, so that its size and time are bounded in one place.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable

import anyio
import structlog
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from edgeproxy.control.api.problems import Refused, response
from edgeproxy.control.api.strict import check_json
from edgeproxy.errors import EdgeError

BODY_BYTES = 1024 * 1024
"""Bytes of a request's body. Above it: 413."""

BODY_SECONDS = 30.0
"""Time for a request's whole body. Above it: 408."""

REQUESTS = 128
"""Requests that may be at work at once. Above it: 503, to be tried again."""

log = structlog.get_logger("api")


class Guard:
    """Wraps an ASGI app. `unexpected(part)` counts errors that nobody foresaw; `requests` is another bound than REQUESTS."""

    def __init__(self, app: ASGIApp, unexpected: Callable[[str], None], requests: int = 0) -> None:
        self._app = app
        self._unexpected = unexpected
        self._requests = requests
        self._running = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        if scope["method"] == "HEAD":
            # RFC 9110 section 9.3.2: as GET, without the content. uvicorn leaves that out, by its own scope.
            scope = {**scope, "method": "GET"}
        # Under api.hostname it has one already, the worker's.
        request_id: str = scope.setdefault("state", {}).setdefault("request_id", secrets.token_hex(8))
        path = scope["path"]
        started = False

        async def send_with_id(message: Message) -> None:
            nonlocal started
            if message["type"] == "http.response.start":
                started = True
                message["headers"] = [*message.get("headers", ()), (b"x-request-id", request_id.encode())]
            await send(message)

        most = self._requests or REQUESTS
        if self._running >= most:
            detail = f"{most} requests are at work already. Try again in a moment."
            busy = Refused(503, detail, code="busy", retryable=True)
            await response(busy, request_id, path=path)(scope, receive, send_with_id)
            return
        self._running += 1
        try:
            try:
                body = await _read_body(scope, receive)
            except Refused as error:
                # The rest of the body is not read, so the connection cannot be used again.
                await response(error, request_id, {"connection": "close"}, path=path)(scope, receive, send_with_id)
                return
            if body is not None:
                try:
                    if _is_json(scope):
                        check_json(body)
                except Refused as error:
                    await response(error, request_id, path=path)(scope, receive, send_with_id)
                    return
                await self._app(scope, replaying(body, receive), send_with_id)
        except Exception as error:  # the last resort: logged once, counted, answered without internals
            self._unexpected("api")
            log.error(
                "a request failed in a way that nobody foresaw",
                request_id=request_id,
                method=scope["method"],
                path=scope["path"][:200],
                exc_info=error,
            )
            if started:
                # The answer is cut off, so that the client cannot take it for whole.
                raise
            detail = f"Something went wrong in the edge. Its log has the reason under request id {request_id}."
            await response(EdgeError(detail), request_id, path=path)(scope, receive, send_with_id)
        finally:
            self._running -= 1


def _is_json(scope: Scope) -> bool:
    """Whether the framework will take the body for JSON."""
    given = next((value for name, value in scope["headers"] if name == b"content-type"), b"")
    kind = given.partition(b";")[0].strip().lower()
    return kind == b"application/json" or (kind.startswith(b"application/") and kind.endswith(b"+json"))


async def _read_body(scope: Scope, receive: Receive) -> bytes | None:
    """The whole body; None when the client left. Raises Refused when it is too large or too slow."""
    too_large = Refused(413, f"The request's body is larger than {BODY_BYTES} bytes.", code="body_too_large")
    declared = next((value for name, value in scope["headers"] if name == b"content-length"), b"")
    if declared.isdigit() and int(declared[:20]) > BODY_BYTES:
        raise too_large
    body = bytearray()
    with anyio.move_on_after(BODY_SECONDS):
        while True:
            message = await receive()
            if message["type"] == "http.disconnect":
                return None
            body += message.get("body", b"")
            if len(body) > BODY_BYTES:
                raise too_large
            if not message.get("more_body", False):
                return bytes(body)
    detail = f"The request's body did not arrive within {BODY_SECONDS:.0f} s."
    raise Refused(408, detail, code="request_timeout", retryable=True)


def replaying(body: bytes, receive: Receive) -> Receive:
    """A `receive` that gives the body first and then what really comes (a disconnect)."""
    given = False

    async def replayed() -> Message:
        nonlocal given
        if given:
            return await receive()
        given = True
        return {"type": "http.request", "body": body, "more_body": False}

    return replayed
