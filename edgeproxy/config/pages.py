"""Pages of the operator's own: HTML files that are read with the configuration."""

from __future__ import annotations

import re
from typing import Self

from edgeproxy.config.section import Section

PAGE_BYTES = 256 * 1024
"""Bytes of a page. Each worker keeps it, and a visitor who is to come back later waits for it: room for a picture inside."""

VARIABLES = ("host", "request_id", "status", "title", "detail")
"""What may stand in one as {{host}}: the name that the visitor asked for, the id that leads to the line of the log, and the
status, with the words that the edge has for it."""

_BRACES = re.compile(r"\{\{(.*?)\}\}", re.DOTALL)


class Page(str):
    """The path of an HTML file, and what stood in it when the configuration was read; both empty for no file."""

    __slots__ = ("html",)

    html: str

    def __new__(cls, path: str, html: str = "") -> Self:
        """`html` has no variables but `VARIABLES`."""
        made = super().__new__(cls, path)
        made.html = html
        return made


class Pages(Section, frozen=True):
    """Pages of your own for what the edge answers by itself: HTML files, up to 256 KiB each, which are read when the edge
    starts or reloads. {{host}} in one is the name that was asked for, {{request_id}} the id in the access log, {{status}},
    {{title}} and {{detail}} what the edge's own page would say. Programs that ask for JSON get a problem document instead, and
    who sends what cannot be read as a request a few lines of text."""

    maintenance: Page = Page("")
    """The file shown, with status 503, where a domain's `maintenance` is on. Empty: a page of the edge's own."""

    suspended: Page = Page("")
    """The file shown, with status 403, for a domain that is suspended. Empty: a page of the edge's own."""

    setup: Page = Page("")
    """The file shown, with status 503, for a domain that was verified and is not active yet. A browser looks again after 10 s.
    Empty: a page of the edge's own."""

    setup_until_active: bool = False
    """When `setup` is shown. false: only where the origin does not answer; a domain whose origin does is served as soon as
    it is verified. true: to every visitor until the domain is active. Domains that the operator adds without verification are
    always served."""

    error: Page = Page("")
    """The file shown where the edge refuses a request, or could not have it answered, with whatever status that has. Empty: a
    page of the edge's own for each."""

    error_404: Page = Page("")
    """The file shown in place of `error` with status 404: no site has that name. Empty: `error`."""

    error_429: Page = Page("")
    """The file shown in place of `error` with status 429: too many requests. Empty: `error`."""

    error_502: Page = Page("")
    """The file shown in place of `error` with status 502: the origin refused, or broke off. Empty: `error`."""

    error_503: Page = Page("")
    """The file shown in place of `error` with status 503: the edge cannot say where to ask. Empty: `error`."""

    error_504: Page = Page("")
    """The file shown in place of `error` with status 504: the origin did not answer in time. Empty: `error`."""


def page(path: str, data: bytes) -> Page:
    """A page from what its file holds. Raises ValueError with "what is wrong; what would be right"."""
    try:
        html = data.decode().removeprefix("\ufeff")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise ValueError(f"{path}: line {line} is not UTF-8; save the file as UTF-8 text") from None
    if "<" not in html:
        raise ValueError(f"{path}: there is no HTML in it; visitors are to see a page")
    for found in _BRACES.finditer(html):
        if found[1].strip(" ") not in VARIABLES:
            line = html.count("\n", 0, found.start()) + 1
            *known, last = (f"{{{{{name}}}}}" for name in VARIABLES)
            right = f"{', '.join(known)} or {last}, or other braces"
            raise ValueError(f"{path}: line {line} has {found[0][:80]!r}, which is nothing here; write {right}")
    return Page(path, html)
