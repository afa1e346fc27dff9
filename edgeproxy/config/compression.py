"""Compression of origins' answers that come without it."""

from __future__ import annotations

import re

from edgeproxy.config.section import Section
from edgeproxy.units import Size

CODINGS = ("zstd", "br", "gzip")
"""What the edge can compress with, by the names of RFC 9110 section 8.4.1, RFC 7932 and RFC 8878."""

_TYPE = re.compile(r"[a-z0-9!#$&^_.+-]{1,64}/(?:\*|[a-z0-9!#$&^_.+-]{1,64})\Z")
_SEGMENT = r"[!$&-),+:<->@-\[\]^_`a-z{|}~0-9-][!$&-),+:<->@-\[\]^_`a-z{|}~0-9.-]*"
PATH = rf"^/({_SEGMENT}(/{_SEGMENT})*/?)?$"
"""How the beginning of a path is written, as a regular expression: also what /openapi.json says."""

_PATH = re.compile(PATH.removesuffix("$") + r"\Z")
_PATH_CHARACTERS = 256

# fmt: off
TYPES = (
    "text/html", "text/css", "text/plain", "text/javascript", "text/xml", "text/csv", "text/markdown", "text/vtt",
    "application/javascript", "application/json", "application/ld+json", "application/manifest+json",
    "application/problem+json", "application/geo+json", "application/xml", "application/xhtml+xml", "application/rss+xml",
    "application/atom+xml", "application/graphql-response+json", "application/wasm", "image/svg+xml", "image/bmp",
    "image/x-icon", "image/vnd.microsoft.icon", "font/ttf", "font/otf", "application/vnd.ms-fontobject",
)
# fmt: on
"""Types of content that is not compressed by itself, and that browsers ask for. text/event-stream is none of them: what comes
a line at a time gains little, and not everybody who reads it knows codings."""


class Compression(Section, frozen=True):
    """Compression of origins' answers that come without it, by what the client accepts (Accept-Encoding). Off as it comes: it
    costs this machine 10 to 25 µs for each KB, and an origin or a CDN that compresses makes it needless. Answers that it was
    decided about have Vary: Accept-Encoding, and a weak ETag where they were compressed. Left alone are answers that have a
    coding already, that say `Cache-Control: no-transform`, or carry a digest of their bytes, and parts (206) of one."""

    enabled: bool = False
    """Whether answers are compressed."""

    codings: tuple[str, ...] = CODINGS
    """What is offered, most preferred first. It decides between codings that a client likes equally well."""

    types: tuple[str, ...] = TYPES
    """Media types that are compressed: "text/html", or "text/*" for a whole family. What is compressed by its own format, like
    pictures, films and archives, only costs time."""

    minimum: Size = Size(1024)
    """Answers with fewer bytes go as they are. Where an origin does not say how many there are it is not waited for."""

    never: tuple[str, ...] = ()
    """Beginnings of paths that are never compressed, like "/account": pages that have a secret (a token, an address) beside
    something that their visitor sent. Who can have such a page requested, and sees how long its answers are, finds out the
    secret piece by piece (BREACH). Case, escapes (%61), dots and repeated slashes make no difference. An origin says the same
    of one answer by `Cache-Control: no-transform`."""


def coding(text: str) -> str:
    """Checks one of `codings`. Raises ValueError."""
    if text not in CODINGS:
        raise ValueError(f'{text[:100]!r} is no coding of the edge\'s; write some of "zstd", "br", "gzip"')
    return text


def media_type(text: str) -> str:
    """Checks one of `types`, and gives it back in lower case. Raises ValueError."""
    kind = text.lower()
    if not _TYPE.match(kind) or kind.startswith("*"):
        raise ValueError(f'{text[:100]!r} is not a media type; write one like "text/html", without parameters, or "text/*"')
    return kind


def path(text: str) -> str:
    """Checks one of `never`, of which no segment begins with a dot. Raises ValueError."""
    if len(text) > _PATH_CHARACTERS or not _PATH.match(text):
        raise ValueError(
            f'{text[:100]!r} is not the beginning of a path; write one like "/account", without "*", escapes and blanks: '
            "everything that begins so is meant"
        )
    return text
