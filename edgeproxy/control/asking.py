"""Questions to a server of the platform's, by HTTP GET: bounded in time and size, and how long their answers count."""

from __future__ import annotations

import asyncio
import dataclasses
import re
from collections.abc import Mapping

import httpcore2  # noqa: F401  # else httpx2 has it imported by its first client, maybe while a thread of ours imports: see `importing`
import httpx2

from edgeproxy.control.unreachable import reason
from edgeproxy.units import Duration

ANSWER_BYTES = 16 * 1024
"""Bytes of an answer that are read. What is asked for has some 100."""

LIFETIME_MAX = 30 * 86_400.0
"""Seconds for which the longest Cache-Control is believed."""

LIFETIME_MIN = 1.0
"""Seconds for which even an answer with no-store counts: one question a second and key is what a stranger can cause."""

_MAX_AGE = re.compile(r"(s-maxage|max-age)\s*=\s*\"?([0-9]{1,12})\"?\Z")


def lifetime(headers: Mapping[str, str], default: float) -> float:
    """Seconds for which an answer counts by its Cache-Control and Age, else `default`. Pure."""
    control = [part.strip().lower() for part in headers.get("cache-control", "").split(",")]
    if "no-store" in control or "no-cache" in control:
        return LIFETIME_MIN
    found: dict[str, str] = {match[1]: match[2] for part in control if (match := _MAX_AGE.match(part))}
    text = found.get("s-maxage", found.get("max-age"))
    if text is None:
        return max(LIFETIME_MIN, float(default))  # a Duration cannot be sent to a worker
    age = headers.get("age", "")
    seconds = int(text) - (int(age) if age.isascii() and age.isdigit() and len(age) < 12 else 0)
    return min(max(float(seconds), LIFETIME_MIN), LIFETIME_MAX)


class NoAnswer(Exception):
    """Nothing came that could be read. Its text is a plain sentence: what happened, and where to look."""


@dataclasses.dataclass(frozen=True, slots=True)
class Answer:
    """A whole answer."""

    status: int
    headers: Mapping[str, str]
    body: bytes


class Asker:
    """Asks one server. `subject` begins sentences about it ("The gate"), `key` is where the operator wrote its URL, and
    `transport` replaces the network in tests."""

    def __init__(
        self, subject: str, key: str, timeout: Duration, connections: int, transport: httpx2.AsyncBaseTransport | None = None
    ) -> None:
        self._subject = subject
        self._key = key
        self._timeout = timeout
        self.asked = 0
        """Requests sent so far."""
        self._connections = connections
        self._transport = transport
        self._client: httpx2.AsyncClient | None = None

    def _asking(self) -> httpx2.AsyncClient:
        """Its client. Made at the first question: to read the roots that the machine trusts costs 60 ms of CPU, and most
        ask nobody."""
        if self._client is None:
            most = self._connections
            # trust_env off: a proxy for the way out of the building must not get the questions to a server inside it
            self._client = httpx2.AsyncClient(
                transport=self._transport,
                timeout=float(self._timeout),
                limits=httpx2.Limits(max_connections=most, max_keepalive_connections=most, keepalive_expiry=30),
                trust_env=False,
                headers={"accept": "application/json, */*;q=0.5", "user-agent": "edgeproxy", "accept-encoding": "identity"},
            )
        return self._client

    async def get(self, url: str, parameters: Mapping[str, str]) -> Answer:
        """The answer to GET {url}, with parameters beside those that it has. Raises NoAnswer."""
        whole = httpx2.URL(url).copy_merge_params(dict(parameters))
        self.asked += 1
        try:
            # httpx2's own timeouts are per read: a server that sends a byte a second would hold a place for ever
            async with asyncio.timeout(self._timeout), self._asking().stream("GET", whole) as response:
                body = b""
                async for piece in response.aiter_raw():
                    body += piece
                    if len(body) > ANSWER_BYTES:
                        raise NoAnswer(f"{self._subject}'s answer has more than {ANSWER_BYTES} bytes.")
                return Answer(response.status_code, response.headers, body)
        except (TimeoutError, httpx2.TimeoutException):
            raise NoAnswer(f"{self._subject} did not answer within {self._timeout}.") from None
        except (httpx2.HTTPError, httpx2.InvalidURL, OSError) as error:
            why = f"{self._subject} cannot be reached: {reason(error)}. See whether it runs, and {self._key}."
            raise NoAnswer(why) from error

    async def close(self) -> None:
        """Ends its connections."""
        if self._client is not None:
            await self._client.aclose()
