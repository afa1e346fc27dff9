"""Who visits what: the tenants, and the requests that their visitors' browsers send. Pure.

Figures depend on it: a proxy that remembers header lines by their bytes must not be flattered by requests that are all
alike. So each tenant has its own paths and visitors, a visitor has its own cookie and user agent, and every request has
its own path and the page that led there as referer.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

DOMAIN = "bench.test"
TENANTS = 16
VISITORS = 24
PATHS = 600
PAGES = 20
SMALL_BODY = 256

NEWCOMERS = 50
"""Numbers from here on are tenants whom nobody has visited when a run begins."""

_BROWSERS = (
    (
        "Windows",
        '"Chromium";v="142", "Google Chrome";v="142", "Not?A_Brand";v="99"',
        "Windows NT 10.0; Win64; x64",
        "142.0.0.0",
    ),
    (
        "macOS",
        '"Chromium";v="142", "Google Chrome";v="142", "Not?A_Brand";v="99"',
        "Macintosh; Intel Mac OS X 10_15_7",
        "142.0.0.0",
    ),
    ("Linux", '"Chromium";v="141", "Google Chrome";v="141", "Not?A_Brand";v="8"', "X11; Linux x86_64", "141.0.0.0"),
    ("Android", '"Chromium";v="140", "Google Chrome";v="140", "Not=A?Brand";v="24"', "Linux; Android 10; K", "140.0.0.0"),
)
_LANGUAGES = (
    "en-US,en;q=0.9",
    "de-DE,de;q=0.9,en-US;q=0.8,en;q=0.7",
    "fr-FR,fr;q=0.9,en;q=0.8",
    "es-ES,es;q=0.9",
    "ja,en-US;q=0.9,en;q=0.8",
)
_ACCEPT = "text/html,application/xhtml+xml,application/xml;q=0.9,image/avif,image/webp,image/apng,*/*;q=0.8"


@dataclasses.dataclass(frozen=True, slots=True)
class Tenant:
    """A customer's hostname, and the workspace that the origin must hear of."""

    hostname: str
    workspace: str


def tenants(count: int = TENANTS, first: int = 0) -> tuple[Tenant, ...]:
    """`count` tenants, numbered from `first`. Workspace ids are of one length, so that bodies which begin with them are too."""
    return tuple(Tenant(f"cust{n:02}.{DOMAIN}", f"ws_{n:02}") for n in range(first, first + count))


def paths(tenant: Tenant, root: str, count: int = PATHS) -> list[str]:
    """Distinct request targets below `root` (which ends in "/"), as a shop's pages and their assets have them."""
    return [f"{root}c{n % PAGES}/item-{tenant.workspace}-{n * 7919 % 100_003}?page={n % 11}&v={n:04x}" for n in range(count)]


def browser_fields(tenant: Tenant, visitor: int) -> list[tuple[str, str]]:
    """The 14 fields, Host aside, that this visitor's browser sends with a navigation; the names in lower case."""
    platform, brands, system, version = _BROWSERS[visitor % len(_BROWSERS)]
    mobile = platform == "Android"
    suffix = " Mobile" if mobile else ""
    identity = f"{hash_text(tenant.hostname, visitor):08x}"
    return [
        ("sec-ch-ua", brands),
        ("sec-ch-ua-mobile", "?1" if mobile else "?0"),
        ("sec-ch-ua-platform", f'"{platform}"'),
        ("upgrade-insecure-requests", "1"),
        ("user-agent", f"Mozilla/5.0 ({system}) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/{version}{suffix} Safari/537.36"),
        ("accept", _ACCEPT),
        ("sec-fetch-site", "same-origin"),
        ("sec-fetch-mode", "navigate"),
        ("sec-fetch-user", "?1"),
        ("sec-fetch-dest", "document"),
        ("referer", f"https://{tenant.hostname}/c{visitor % PAGES}/"),
        ("accept-encoding", "gzip, deflate, br, zstd"),
        ("accept-language", _LANGUAGES[visitor % len(_LANGUAGES)]),
        ("cookie", f"session={identity}{identity[::-1]}; _ga=GA1.1.{int(identity, 16)}.17{visitor:08}; consent=all"),
    ]


def hash_text(text: str, number: int) -> int:
    """32 bits that look random and are the same in every run (FNV-1a)."""
    value = 0x811C9DC5
    for byte in f"{text}/{number}".encode():
        value = (value ^ byte) * 0x01000193 & 0xFFFFFFFF
    return value


def request_tail(tenant: Tenant, visitor: int, extra: Sequence[tuple[str, str]] = ()) -> str:
    """All of an HTTP/1.1 head that follows the request line, its empty line included."""
    fields = [("host", tenant.hostname), ("connection", "keep-alive"), *browser_fields(tenant, visitor), *extra]
    return "".join(f"{name}: {value}\r\n" for name, value in fields) + "\r\n"
