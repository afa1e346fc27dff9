"""Fetches the file that proves a name, from where the name's address is, and from nowhere else."""

from __future__ import annotations

import asyncio
import ipaddress
from collections.abc import Callable, Sequence
from urllib.parse import urljoin, urlsplit

import httpx2

from edgeproxy.control.domains.verification.case import printable
from edgeproxy.control.domains.verification.seen import Fetched, FileSaid

FILE_SECONDS = 10.0
"""What all of it may take, redirects included."""

FILE_BYTES = 4096
"""Bytes of an answer that are read: the token has some 40."""

REDIRECTS = 3
"""Redirects that are followed, within the same host: from http to https, for instance."""

LOCATION = 1000
"""Characters of a redirect's target."""

ADDRESSES = 4
"""Addresses of a name that are tried."""

Allowed = Callable[[str], bool]
"""Whether an address may be connected to."""


class WebFiles:
    """An HTTP client that goes where it is told and trusts nothing. `ports`: of http and https."""

    def __init__(self, allowed: Allowed, *, ports: tuple[int, int] = (80, 443)) -> None:
        self._allowed = allowed
        self._ports = ports
        self._client: httpx2.AsyncClient | None = None

    async def fetch(self, url: str, token: str, addresses: Sequence[str]) -> Fetched:
        """Looks for a token at a URL, at these addresses of its host. Never raises for what others do."""
        usable = [address for address in addresses if self._allowed(address)][:ADDRESSES]
        if not usable:
            where = ", ".join(addresses[:ADDRESSES])
            said = f"{urlsplit(url).hostname} has no public address ({where}), so that the file is not fetched."
            return Fetched(FileSaid.REFUSED, said)
        found = Fetched(FileSaid.FAILED, f"{url} could not be fetched.")
        try:
            async with asyncio.timeout(FILE_SECONDS):
                for address in usable:
                    found = await self._follow(url, token, address)
                    if found.said is not FileSaid.FAILED:
                        break
        except TimeoutError:
            return Fetched(FileSaid.FAILED, f"{url} did not come within {FILE_SECONDS:g} s (asked: {', '.join(usable)}).")
        return found

    async def close(self) -> None:
        """Ends its connections."""
        if self._client is not None:
            await self._client.aclose()

    async def _follow(self, url: str, token: str, address: str) -> Fetched:
        host = urlsplit(url).hostname or ""
        at = url
        for _ in range(REDIRECTS + 1):
            try:
                status, location, body = await self._get(at, host, address)
            except (httpx2.HTTPError, httpx2.InvalidURL, OSError, ValueError) as error:
                return Fetched(
                    FileSaid.FAILED, f"{at} cannot be fetched from {address}: {printable(str(error)) or 'no answer'}."
                )
            if 300 <= status < 400 and location:
                refused, at = self._next(at, location, host)
                if refused:
                    return Fetched(FileSaid.REFUSED, refused)
                continue
            return _judge(at, address, status, body, token)
        return Fetched(FileSaid.REFUSED, f"{url} is redirected more than {REDIRECTS} times.")

    def _next(self, at: str, location: str, host: str) -> tuple[str, str]:
        """Why a redirect is not followed, or where to."""
        try:
            target = urljoin(at, location)
            parts = urlsplit(target)
            same = parts.hostname == host and parts.scheme in ("http", "https") and not parts.username
            same = same and (parts.port is None or parts.port == self._ports[parts.scheme == "https"])
        except ValueError:
            return f"{at} is redirected to something that is no URL.", ""
        if not same or len(location) > LOCATION or not target.isprintable():
            return f"{at} is redirected to {printable(location)}, and only redirects within {host} are followed.", ""
        return "", f"{parts.scheme}://{host}{parts.path or '/'}{f'?{parts.query}' if parts.query else ''}"

    async def _get(self, url: str, host: str, address: str) -> tuple[int, str, bytes]:
        """One request; status, Location and the beginning of the body. The address is the one that was allowed: a name that is
        resolved anew could be another by then."""
        parts = urlsplit(url)
        port = self._ports[parts.scheme == "https"]
        literal = f"[{address}]" if ipaddress.ip_address(address).version == 6 else address
        path = f"{parts.path}{f'?{parts.query}' if parts.query else ''}"
        request = f"{parts.scheme}://{literal}:{port}{path}"
        headers = {"host": host, "user-agent": "edgeproxy", "accept-encoding": "identity", "connection": "close"}
        if self._client is None:
            # a certificate proves nothing here: the name's owner has none yet, or they would not be asked
            limits = httpx2.Limits(max_keepalive_connections=0)
            self._client = httpx2.AsyncClient(verify=False, trust_env=False, limits=limits, timeout=FILE_SECONDS)
        extensions = {"sni_hostname": host}
        async with self._client.stream("GET", request, headers=headers, extensions=extensions) as response:
            body = b""
            if response.status_code == 200:
                async for piece in response.aiter_raw():
                    body += piece
                    if len(body) > FILE_BYTES:
                        break
            return response.status_code, response.headers.get("location", ""), body


def _judge(url: str, address: str, status: int, body: bytes, token: str) -> Fetched:
    if status >= 500 or status in (408, 425, 429):
        return Fetched(FileSaid.FAILED, f"{url} answers {status} (at {address}).")
    if status != 200:
        return Fetched(FileSaid.MISSING, f"{url} answers {status} (at {address}): the file is not there.")
    if len(body) > FILE_BYTES:
        return Fetched(FileSaid.DIFFERS, f"{url} (at {address}) is larger than {FILE_BYTES} bytes, and so not the file.")
    # exactly the token, since an error page may well repeat the path that it was asked for
    if body.removeprefix(b"\xef\xbb\xbf").strip() == token.encode():
        return Fetched(FileSaid.FOUND)
    has = printable(body.decode("utf-8", "replace").strip())
    return Fetched(FileSaid.DIFFERS, f"{url} (at {address}) holds {f'“{has}”' if has else 'nothing'}, which is not the token.")
