"""Idempotency-Key: who did not hear the answer to a request asks again, and nothing is done twice.

As draft-ietf-httpapi-idempotency-key-header has it: the same key with the same request of the same caller is answered as it
was, with `Idempotent-Replayed: true`; with another request by 422; while the first is at work by 409. What was refused did
nothing, so that its key may be used again.

Plain ASGI, behind `api.guard`, which has read the body, and behind the door, which knows who asks.
"""

from __future__ import annotations

import hashlib
import re
import secrets
from typing import Any

import anyio
import structlog
from starlette.requests import Request
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from edgeproxy.control.api.access.caller import caller_of
from edgeproxy.control.api.context import Context
from edgeproxy.control.api.guard import replaying
from edgeproxy.control.api.problems import Refused, request_id_of, response
from edgeproxy.control.store.idempotency import KEPT_SECONDS, Answer, KeyUse, use_id
from edgeproxy.errors import EdgeError

FIELD = "Idempotency-Key"

METHODS = frozenset(("POST", "PATCH"))
"""Those that may do something else the second time."""

UNDER = ("/api/v1/infrastructure/", "/api/domains/register")

WITHOUT = ("/api/v1/tokens",)
"""Where a key is refused: of a token only a digest is stored, and the answer has it whole."""

ANSWER_BYTES = 256 * 1024
"""Of an answer that is kept. A longer one is given once."""

KEY = re.compile(r"[!-~]{1,255}\Z")

log = structlog.get_logger("api")


class Idempotency:
    """Wraps an ASGI app. One per app: what is at work in this process is remembered in memory."""

    def __init__(self, app: ASGIApp, context: Context) -> None:
        self._app = app
        self._context = context
        self._holder = secrets.token_hex(8)
        self._at_work: dict[str, bytes] = {}
        """Digests of requests, by what names their keys. Bounded like the requests that are at work."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        keys = [value for name, value in scope.get("headers", ()) if name == b"idempotency-key"]
        if not keys or scope["type"] != "http" or scope["method"] not in METHODS or not _is_under(scope["path"]):
            await self._app(scope, receive, send)
            return
        request = Request(scope)
        try:
            answer = await self._answer(request, _key(keys, scope["path"]), receive, send)
        except EdgeError as error:
            refusal = response(error, request_id_of(request), path=scope["path"])
            await refusal(scope, receive, send)
            return
        if answer is not None:
            await _send(answer, send, replayed=True)

    async def _answer(self, request: Request, key: str, receive: Receive, send: Send) -> Answer | None:
        """What was answered before; None where it was answered now. Raises Refused."""
        message = await receive()
        if message["type"] == "http.disconnect":
            return None
        body: bytes = message.get("body", b"")
        digest, store = _digest(request.scope, body), self._context.open_plane().store
        caller = caller_of(request)
        by = f"token:{caller.token_id}" if caller.token_id else caller.actor
        name = use_id(by, key)
        if name in self._at_work:
            raise _other() if self._at_work[name] != digest else _at_work()
        self._at_work[name] = digest
        try:
            use = await store.begin_use(name, by, digest, holder=self._holder, now=self._context.now())
            if use is None:
                await self._run(request.scope, replaying(body, receive), send, name, digest)
                return None
        finally:
            del self._at_work[name]
        if use.request != digest:
            raise _other()
        if use.answer is None:
            raise _at_work()
        return use.answer

    async def _run(self, scope: Scope, receive: Receive, send: Send, name: str, digest: bytes) -> None:
        """Answers now. The answer is stored before it is sent, so that whoever has it is never told another one."""
        kept = _Kept(send)
        stored = False
        try:
            await self._app(scope, receive, kept)
            if kept.answer is not None:
                stored = await self._store(name, KeyUse(request=digest, answer=kept.answer))
                await _send(kept.answer, send)
        finally:
            if not stored:
                with anyio.CancelScope(shield=True):
                    await self._release(name)

    async def _store(self, name: str, use: KeyUse) -> bool:
        try:
            store = self._context.open_plane().store
            await store.end_use(name, use, holder=self._holder, now=self._context.now())
        except EdgeError as error:
            log.error("an answer could not be kept for its idempotency key", detail=error.detail)
            return False
        return True

    async def _release(self, name: str) -> None:
        try:
            await self._context.open_plane().store.release_use(name, holder=self._holder)
        except EdgeError as error:
            log.error("an idempotency key could not be given free", detail=error.detail)


class _Kept:
    """A `send` that holds back an answer which is to be kept: a success in JSON, not too long. Everything else goes on."""

    def __init__(self, send: Send) -> None:
        self._send = send
        self._start: Message | None = None
        self._body = bytearray()
        self.answer: Answer | None = None
        """The whole answer, which was not sent."""

    async def __call__(self, message: Message) -> None:
        if message["type"] == "http.response.start" and _is_kept(message):
            self._start = message
            return
        if self._start is None:
            await self._send(message)
            return
        self._body += message.get("body", b"")
        if len(self._body) > ANSWER_BYTES:
            start, self._start = self._start, None
            await self._send(start)
            await self._send({**message, "body": bytes(self._body)})
        elif not message.get("more_body", False):
            headers = tuple((bytes(field), bytes(value)) for field, value in self._start.get("headers", ()))
            self.answer = Answer(status=self._start["status"], headers=headers, body=bytes(self._body))


def described(document: dict[str, Any]) -> dict[str, Any]:
    """An OpenAPI document with the field at every operation that takes it."""
    field = {
        "name": FIELD,
        "in": "header",
        "required": False,
        "description": f"The same key with the same request is answered as before, for {KEPT_SECONDS / 3600:g} h; with another "
        "request 422, while the first is at work 409. What was refused may be sent again under its key",
        "schema": {"type": "string", "pattern": "^[!-~]{1,255}$"},
    }
    for path, operations in document.get("paths", {}).items():
        for method, operation in operations.items():
            takes = method.upper() in METHODS and path.startswith(UNDER)
            if takes and not any(each.get("name") == FIELD for each in operation.get("parameters", ())):
                operation["parameters"] = [*operation.get("parameters", ()), field]
    return document


def _is_under(path: str) -> bool:
    return path.startswith((*UNDER, *WITHOUT))


def _key(found: list[bytes], path: str) -> str:
    """The one key. A String of RFC 9651 and the same text without its quotes are one. Raises Refused."""
    if path.startswith(WITHOUT):
        detail = f"{FIELD} cannot be used here: the answer has a token's secret, which is stored nowhere. Leave it out, and "
        raise Refused(422, detail + "revoke a token whose text did not arrive.", code="no_idempotency_key_here")
    key = found[0].decode("latin-1").strip()
    if len(found) > 1 or not KEY.match(key):
        detail = f"{FIELD} must be there once, with 1 to 255 visible ASCII characters; a random UUID is good."
        raise Refused(400, detail, code="invalid_idempotency_key")
    return key[1:-1] if len(key) > 2 and key[0] == key[-1] == '"' else key


def _digest(scope: Scope, body: bytes) -> bytes:
    """Of all that makes a request another one."""
    conditions = [value for name, value in scope["headers"] if name in (b"if-match", b"content-type", b"accept")]
    parts = [scope["method"].encode(), scope["path"].encode("utf-8", "surrogateescape"), scope["query_string"], *conditions]
    digest = hashlib.sha256()
    for part in (*parts, body):
        digest.update(len(part).to_bytes(8, "big") + part)
    return digest.digest()


def _is_kept(start: Message) -> bool:
    media_type = next((bytes(value) for name, value in start.get("headers", ()) if name.lower() == b"content-type"), b"")
    return 200 <= start["status"] < 300 and media_type.partition(b";")[0].strip() == b"application/json"


async def _send(answer: Answer, send: Send, *, replayed: bool = False) -> None:
    again = [(b"idempotent-replayed", b"true")] if replayed else []
    await send({"type": "http.response.start", "status": answer.status, "headers": [*answer.headers, *again]})
    await send({"type": "http.response.body", "body": answer.body})


def _other() -> Refused:
    detail = f"This {FIELD} was used for another request. Send this one with a key of its own."
    return Refused(422, detail, code="idempotency_key_reused")


def _at_work() -> Refused:
    detail = f"The first request with this {FIELD} is still at work. Ask again in a moment for its answer."
    return Refused(409, detail, code="idempotency_key_in_use", retryable=True)
