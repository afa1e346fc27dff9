"""The edge's own errors as visitors see them: pages of the operator's where there are some, by status. Pure.

None of them says more than the status does: the reason, with addresses and what an origin or a library said, is the log's.
"""

from __future__ import annotations

from edgeproxy.config.pages import Page, Pages
from edgeproxy.edge.respond import Fields, Template, Text, bare_page, page


def by_status(pages: Pages) -> dict[int, Page]:
    """The pages of statuses that may have one of their own."""
    return {
        404: pages.error_404,
        429: pages.error_429,
        502: pages.error_502,
        503: pages.error_503,
        504: pages.error_504,
    }


class ErrorPages:
    """Made of the configuration once."""

    __slots__ = ("_any", "_own")

    def __init__(self, pages: Pages) -> None:
        self._any = Template(pages.error.html) if pages.error.html else None
        self._own = {status: Template(file.html) for status, file in by_status(pages).items() if file.html}

    def answer(
        self, status: int, accept: bytes | None, request_id: str, host: str, text: Text | None = None
    ) -> tuple[Fields, bytes]:
        """Header fields and body, see respond.page; `accept` None: no request could be read, and a few lines of text have to
        do. `text` is for words other than the status's usual ones."""
        if accept is None:
            return bare_page(status, request_id)
        return page(status, accept, request_id, host, text, self._own.get(status, self._any))
