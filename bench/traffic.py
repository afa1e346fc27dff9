"""Who visits what: the tenants, and the requests that their visitors' browsers send. Pure.

Figures depend on it: a proxy that remembers header lines by their bytes must not be flattered by requests that are all
alike. So each tenant has its own paths and visitors, a visitor has its own cookie and user agent, and asks for a few
pages with their styles, scripts, images and data, every request with its own path.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

DOMAIN = "bench.test"
TENANTS = 16
PATHS = 1344
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
KINDS = ("document", "style", "script", "image", "empty")
"""What requests are for, as Sec-Fetch-Dest has it; "empty" is data that a script asks for."""

_LANGUAGES = (
    "en-US,en;q=0.9",
    "de-DE,de;q=0.9,en-US;q=0.8,en;q=0.7",
    "fr-FR,fr;q=0.9,en;q=0.8",
    "es-ES,es;q=0.9",
    "ja,en-US;q=0.9,en;q=0.8",
)
_PAGE = ("document", *("style",) * 2, *("script",) * 3, *("image",) * 5, *("empty",) * 3)
_KINDS = {
    # Sec-Fetch-Dest → Accept, Sec-Fetch-Mode, and the two fields in which kinds of requests differ besides.
    "document": (
        "text/html,application/xhtml+xml,application/xml;q=0.9,image/avif,image/webp,image/apng,*/*;q=0.8",
        "navigate",
        ("upgrade-insecure-requests", "1"),
        ("sec-fetch-user", "?1"),
    ),
    "style": ("text/css,*/*;q=0.1", "no-cors", ("priority", "u=0"), ("dnt", "1")),
    "script": ("*/*", "no-cors", ("priority", "u=1"), ("dnt", "1")),
    "image": (
        "image/avif,image/webp,image/apng,image/svg+xml,image/*,*/*;q=0.8",
        "no-cors",
        ("priority", "u=2, i"),
        ("dnt", "1"),
    ),
    "empty": ("application/json", "cors", ("priority", "u=1, i"), ("x-requested-with", "XMLHttpRequest")),
}


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


def kind_of(number: int) -> str:
    """What a visitor asks for with the `number`th request: pages, each with what belongs to it."""
    return _PAGE[number % len(_PAGE)]


def visitor_of(number: int) -> int:
    """Who sends the `number`th request: one visitor for some pages, then the next."""
    return number // (4 * len(_PAGE))


def page_of(number: int) -> int:
    """The page that the `number`th request is for, or belongs to."""
    return number // len(_PAGE)


def browser_fields(tenant: Tenant, visitor: int, kind: str = "document", page: int | None = None) -> list[tuple[str, str]]:
    """The 14 fields, Host aside, that this visitor's browser sends with a request of this kind; the names in lower case.

    What a page asks for has that page as its referer, and a page the one before it; without `page`, one of the visitor's own.
    """
    referer = visitor if page is None else page - (kind == "document")
    platform, brands, system, version = _BROWSERS[visitor % len(_BROWSERS)]
    mobile = platform == "Android"
    suffix = " Mobile" if mobile else ""
    identity = f"{hash_text(tenant.hostname, visitor):08x}"
    accept, mode, first, second = _KINDS[kind]
    return [
        ("sec-ch-ua", brands),
        ("sec-ch-ua-mobile", "?1" if mobile else "?0"),
        ("sec-ch-ua-platform", f'"{platform}"'),
        first,
        ("user-agent", f"Mozilla/5.0 ({system}) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/{version}{suffix} Safari/537.36"),
        ("accept", accept),
        ("sec-fetch-site", "same-origin"),
        ("sec-fetch-mode", mode),
        second,
        ("sec-fetch-dest", kind),
        ("referer", f"https://{tenant.hostname}/c{referer % PAGES}/"),
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


def request_tail(
    tenant: Tenant, visitor: int, kind: str, page: int | None = None, extra: Sequence[tuple[str, str]] = ()
) -> str:
    """All of an HTTP/1.1 head that follows the request line, its empty line included."""
    fields = [("host", tenant.hostname), ("connection", "keep-alive"), *browser_fields(tenant, visitor, kind, page), *extra]
    return "".join(f"{name}: {value}\r\n" for name, value in fields) + "\r\n"
