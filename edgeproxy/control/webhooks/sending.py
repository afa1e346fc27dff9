"""One try of one delivery: a POST to an address that was looked at first, within a time, its answer bounded.

An endpoint that was added by the API may be at public addresses and where `webhooks.allow` says; one of the configuration
anywhere. The name is resolved, each address is checked, and the connection is made to the checked address: what the name points
at a moment later does not count. Redirects are not followed, since they would lead past the check.
"""

from __future__ import annotations

import asyncio
import contextlib
import ipaddress
import socket
import ssl
import time
from collections.abc import Callable, Mapping, Sequence
from urllib.parse import urlsplit

import anyio
import httpx2
from anyio.to_thread import run_sync

from edgeproxy.addresses import is_public
from edgeproxy.config.rules.urls import receiver
from edgeproxy.control.issuance.origins import in_networks, name_listed
from edgeproxy.control.store import Endpoint
from edgeproxy.control.unreachable import reason
from edgeproxy.control.webhooks.outcome import Sent
from edgeproxy.errors import InvalidName

SECONDS = 15.0
"""For a whole try, from the look-up of the name to the answer's status."""

CONNECT_SECONDS = 5.0
"""For a connection to one address."""

ADDRESSES = 4
"""Addresses of a name that are tried."""

ANSWER_BYTES = 4 * 1024
"""Bytes of an answer that are read."""

ANSWER_SECONDS = 1.0
"""For which an answer's content is waited for."""

EXCERPT = 200
"""Characters of a refusal's content that are kept for the delivery log."""

CONNECTIONS = 4
"""Connections to one endpoint."""

KEEP_ALIVE = 20.0


class Refused(Exception):
    """A receiver that is not tried at all, with the sentence why not."""


def check_url(url: str, allow: Sequence[str]) -> str:
    """The URL of an endpoint that is not in the configuration, normalised; raises InvalidName saying why not. Pure.

    https, or where `allow` lists its host http too; an address must be public or within a CIDR of `allow`. Where a name
    points is looked at before each try.
    """
    try:
        url = receiver(url)
    except ValueError as error:
        raise InvalidName(f"The url cannot be used: {error}.", code="invalid_url") from None
    host = urlsplit(url).hostname or ""
    address = literal(host)
    listed = name_listed(host, allow) if address is None else in_networks(address, allow)
    if address is not None and not listed and not is_public(address):
        raise InvalidName(f"{host} is not a public address, and webhooks.allow does not list it.", code="invalid_url")
    if urlsplit(url).scheme != "https" and not listed:
        raise InvalidName(
            f"{url} is not https: everybody on the way could read the events. Write https, or list {host} in webhooks.allow.",
            code="invalid_url",
        )
    return url


def literal(host: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    """The address that a host is; None for a name."""
    try:
        return ipaddress.ip_address(host)
    except ValueError:
        return None


class Sender:
    """Sends to one endpoint.

    `trust` gives the roots that receivers' certificates are checked against. `lookups` bounds the threads that look names up.
    They are not the loop's own, which everything shares: slow look-ups would hold up all the rest.
    """

    def __init__(
        self,
        endpoint: Endpoint,
        allow: Sequence[str],
        trust: Callable[[], ssl.SSLContext],
        lookups: anyio.CapacityLimiter,
    ) -> None:
        self.url = endpoint.url
        self._anywhere = endpoint.source == "config"
        self._allow = tuple(allow)
        self._trust = trust
        self._lookups = lookups
        self._client: httpx2.AsyncClient | None = None
        self._closed = False

    async def close(self) -> None:
        """Ends its connections."""
        self._closed = True
        client, self._client = self._client, None
        if client is not None:
            await client.aclose()

    async def send(self, content: bytes, headers: Mapping[str, str]) -> Sent:
        """Tries once; never raises for what the receiver does. 2xx within SECONDS is a success."""
        began = time.monotonic()
        try:
            async with asyncio.timeout(SECONDS):
                sent = await self._send(content, headers)
        except Refused as refused:
            sent = Sent(None, str(refused))
        except (TimeoutError, httpx2.TimeoutException):
            sent = Sent(None, f"It did not answer within {SECONDS:.0f} s.")
        except (httpx2.HTTPError, httpx2.InvalidURL, OSError) as error:
            sent = Sent(None, f"It cannot be reached: {reason(error)}.")
        return Sent(sent.status, sent.error, sent.retry_after, round(time.monotonic() - began, 3))

    async def _send(self, content: bytes, headers: Mapping[str, str]) -> Sent:
        addresses = await self._addresses()
        trusted = await run_sync(self._trust) if self._client is None else None
        if trusted is not None and self._client is None and not self._closed:  # another delivery may have made it meanwhile
            self._client = _client(trusted)
        client = self._client
        if client is None or self._closed:
            raise Refused("The endpoint was changed meanwhile.")
        for address in addresses[:-1]:
            try:
                return await self._post(client, address, content, headers)
            except (httpx2.ConnectError, httpx2.ConnectTimeout):
                continue  # nothing was sent: the next address
        return await self._post(client, addresses[-1], content, headers)

    async def _addresses(self) -> list[str]:
        """Where the endpoint's host is, of that what may be tried. Raises Refused, or OSError where it cannot be looked up."""
        parts = urlsplit(self.url)
        host, port = parts.hostname or "", parts.port or (443 if parts.scheme == "https" else 80)
        found = await run_sync(
            lambda: socket.getaddrinfo(host, port, type=socket.SOCK_STREAM), abandon_on_cancel=True, limiter=self._lookups
        )
        addresses = list(dict.fromkeys(str(each[4][0]) for each in found))
        if not self._anywhere and not name_listed(host, self._allow):
            addresses = [each for each in addresses if self._allowed(each)]
            if not addresses:
                where = "is" if literal(host) else f"points at {found[0][4][0]}, which is"
                raise Refused(f"{host} {where} not a public address, and webhooks.allow does not list it.")
        return addresses[:ADDRESSES]

    def _allowed(self, text: str) -> bool:
        address = literal(text.partition("%")[0])
        return address is not None and (is_public(address) or in_networks(address, self._allow))

    async def _post(self, client: httpx2.AsyncClient, address: str, content: bytes, headers: Mapping[str, str]) -> Sent:
        url = httpx2.URL(self.url)
        # By the address that was checked; its certificate must still be for the name.
        fields = {**headers, "host": url.netloc.decode("ascii")}
        async with client.stream(
            "POST", url.copy_with(host=address), content=content, headers=fields, extensions={"sni_hostname": url.host}
        ) as response:
            status = response.status_code
            said = await _read(response)
            if 200 <= status < 300:
                return Sent(status)
            return Sent(status, _refusal(status, said), _retry_after(response.headers.get("retry-after", "")))


def _client(trusted: ssl.SSLContext) -> httpx2.AsyncClient:
    return httpx2.AsyncClient(
        verify=trusted,
        timeout=httpx2.Timeout(SECONDS, connect=CONNECT_SECONDS),
        limits=httpx2.Limits(max_connections=CONNECTIONS, max_keepalive_connections=CONNECTIONS, keepalive_expiry=KEEP_ALIVE),
        trust_env=False,  # a proxy would look the name up again
        follow_redirects=False,
        headers={"accept": "*/*", "accept-encoding": "identity"},
    )


async def _read(response: httpx2.Response) -> bytes:
    """The beginning of an answer's content. The status counts already: what does not come is done without."""
    content = b""
    with contextlib.suppress(TimeoutError, httpx2.HTTPError):
        async with asyncio.timeout(ANSWER_SECONDS):
            async for piece in response.aiter_raw():
                content += piece
                if len(content) > ANSWER_BYTES:
                    break
    return content[:ANSWER_BYTES]


def _refusal(status: int, said: bytes) -> str:
    if 300 <= status < 400:
        return f"It answered {status}. Redirects are not followed: give the endpoint the final URL."
    if status == 410:
        return "It answered 410: it wants no more events."
    text = "".join(each if each.isprintable() else " " for each in said.decode("utf-8", "replace"))
    excerpt = " ".join(text.split())[:EXCERPT]
    return f"It answered {status}{f': {excerpt}' if excerpt else '.'}"


def _retry_after(text: str) -> float:
    """Seconds; 0 for none. A date is not read: the schedule does as well."""
    return float(text) if text.isascii() and text.isdigit() and len(text) < 8 else 0.0
