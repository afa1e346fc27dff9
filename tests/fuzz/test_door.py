"""Whatever is sent to the API without a valid token is refused in an orderly way, and nothing behind the door is reached."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace
from typing import Any

import msgspec
from hypothesis import example, given
from hypothesis import strategies as st

from edgeproxy.config.structs import Config
from edgeproxy.config.visitors import Listen
from edgeproxy.control.api.access import secret
from edgeproxy.control.api.access.door import Door
from edgeproxy.control.api.access.uses import Uses
from edgeproxy.control.metrics import Metrics
from edgeproxy.control.store import Token
from edgeproxy.model import TokenScope

ID, RIGHT = secret.made()
TOKEN = Token(id=ID, digest=secret.digest(RIGHT), scope=TokenScope.PLATFORM, created_at=0.0, created_by="uid:0")

near_misses = st.builds(
    lambda place, byte: (RIGHT[:place] + byte + RIGHT[place + 1 :]).encode("latin-1"),
    st.integers(0, len(RIGHT) - 1),
    st.characters(max_codepoint=255),
).filter(lambda text: text.strip() != RIGHT.encode())
credentials = st.one_of(st.binary(max_size=200), near_misses, st.just(RIGHT.encode() + b"x"))
fields = st.lists(
    st.tuples(
        st.sampled_from((b"authorization", b"x-forwarded-for", b"x-request-id", b"cookie")),
        st.one_of(st.binary(max_size=80), credentials.map(lambda text: b"Bearer " + text)),
    ),
    max_size=6,
)


class Store:
    async def token(self, token_id: str) -> Token | None:
        return TOKEN if token_id == ID else None


METRICS = Metrics("1", 10)


class Behind:
    """What must not be reached."""

    reached = 0

    async def __call__(self, *_: object) -> None:
        self.reached += 1


def answer(headers: list[tuple[bytes, bytes]], path: str) -> tuple[int, dict[str, Any], int]:
    """Status and document, and how often what is behind was reached."""
    plane = SimpleNamespace(store=Store())
    config = Config(listen=Listen(trusted_proxies=("10.0.0.0/8",)))
    context: Any = SimpleNamespace(config=config, now=lambda: 1.0, open_plane=lambda: plane, metrics=METRICS)
    behind = Behind()
    sent: list[Any] = []

    async def send(message: Any) -> None:
        sent.append(message)

    async def receive() -> Any:
        raise AssertionError("the body was read")

    scope = {"type": "http", "method": "POST", "path": path, "headers": headers, "state": {}}
    asyncio.run(Door(behind, context, Uses(context))(scope, receive, send))
    if not sent:
        return 0, {}, behind.reached
    return sent[0]["status"], msgspec.json.decode(sent[1]["body"]), behind.reached


@given(fields, st.sampled_from(("/api/v1/tokens", "/api/domains/register", "/", "/api/domains/../v1/tokens")))
@example([(b"authorization", b"Bearer \xff")], "/")
@example([(b"authorization", b"Bearer " + RIGHT.encode()), (b"authorization", b"Bearer " + RIGHT.encode())], "/")
def test_nobody_gets_in_without_the_very_token(headers: list[tuple[bytes, bytes]], path: str) -> None:
    status, document, reached = answer(headers, path)
    assert (status, reached) == (401, 0)
    if path.startswith("/api/domains/"):
        assert set(document) == {"status", "message"}
    else:
        assert document["code"] in ("unauthorized", "invalid_token")


@given(
    st.lists(st.tuples(st.sampled_from((b"x-forwarded-for", b"x-request-id", b"cookie")), st.binary(max_size=80)), max_size=5)
)
def test_the_very_token_gets_in_whatever_else_is_sent(others: list[tuple[bytes, bytes]]) -> None:
    status, _, reached = answer([*others, (b"authorization", b"Bearer " + RIGHT.encode())], "/")
    assert (status, reached) == (0, 1)
