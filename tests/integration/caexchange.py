"""What passes through the CA proxy: requests, answers, and the faults that come between them."""

from __future__ import annotations

import base64
import contextlib
import dataclasses
import json
from collections.abc import Awaitable, Callable, Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tests.integration.caproxy import CaProxy


class Reset(Exception):
    """The connection ends with a TCP reset and without an answer."""


@dataclasses.dataclass
class Request:
    """One request, as it was received; `status` and `problem` are what was answered (0: nothing)."""

    at: float
    """By the proxy's clock."""
    kind: str
    method: str
    path: str
    host: str
    accept: str
    body: bytes = dataclasses.field(repr=False)
    account: str = ""
    """The kid of the signature."""
    jwk: dict[str, str] = dataclasses.field(default_factory=dict)
    """The key of a signature without kid."""
    payload: Any = None
    """The signed JSON; None for a POST-as-GET."""
    nonce: str = ""
    reached: bool = False
    """Whether pebble was asked."""
    made: bool = False
    """Whether pebble made something, be it that nobody heard of it."""
    status: int = 0
    problem: str = ""
    finished: float = 0.0

    @property
    def names(self) -> list[str]:
        """The identifiers of a newOrder."""
        return [str(identifier["value"]) for identifier in (self.payload or {}).get("identifiers", ())]


@dataclasses.dataclass(frozen=True)
class Answer:
    """What goes back to the client. Names of header fields are lower case."""

    status: int
    body: bytes = b""
    headers: Mapping[str, str] = dataclasses.field(default_factory=dict)

    @property
    def json(self) -> Any:
        """The body, decoded; None where it is not JSON."""
        with contextlib.suppress(ValueError):
            return json.loads(self.body)
        return None

    def with_json(self, value: Any) -> Answer:
        """The same with another body."""
        return dataclasses.replace(self, body=json.dumps(value).encode())


@dataclasses.dataclass
class Exchange:
    """What a fault works with."""

    request: Request
    proxy: CaProxy

    async def pass_on(self) -> Answer:
        """Asks the CA, and tells what it answers."""
        return await self.proxy.ask(self.request)

    async def nonce(self) -> str:
        """A good nonce of the CA's, for an answer that it does not give itself."""
        return await self.proxy.nonce()


Fault = Callable[[Exchange], Awaitable[Answer]]


def decode(request: Request) -> None:
    """Reads what the JWS says; pebble judges whether it is good."""
    with contextlib.suppress(ValueError, KeyError):
        message = json.loads(request.body)
        protected = json.loads(_unb64(message["protected"]))
        request.account, request.jwk = protected.get("kid", ""), protected.get("jwk", {})
        request.nonce = protected.get("nonce", "")
        request.payload = json.loads(_unb64(message["payload"])) if message["payload"] else None


def _unb64(text: str) -> bytes:
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))
