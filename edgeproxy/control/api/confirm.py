"""The page to which the links in mails lead, under `api.hostname`, for whoever has the link.

GET shows a button and changes nothing: programs that look for harm in mails open every link that they find.
"""

from __future__ import annotations

import html
import re
import secrets
import time
from collections.abc import Callable

from fastapi import APIRouter, Request
from starlette.responses import HTMLResponse
from starlette.types import ASGIApp, Receive, Scope, Send

from edgeproxy.buckets import Buckets, network_of_literal
from edgeproxy.control.api.access.address import client_address, networks
from edgeproxy.control.api.context import Context, context_of
from edgeproxy.control.domains.mail_proof import ProofRefused
from edgeproxy.control.domains.mail_proving import PAGE_PATH

router = APIRouter(include_in_schema=False)

RATE = 0.5
"""Requests a second of one client network (/24, /56) for these pages. A person needs two in all."""

AT_ONCE = 30
"""And at once, after a quiet time: a company's mail scanner, and all who work there."""

_LINK = re.compile(r"[A-Za-z0-9_-]{43}\Z")

_HEADERS = {
    "cache-control": "no-store",
    "content-security-policy": "default-src 'none'; style-src 'unsafe-inline'; form-action 'self'; frame-ancestors 'none'",
    "referrer-policy": "no-referrer",  # the link is a secret until it was used
    "x-content-type-options": "nosniff",
    "x-robots-tag": "noindex",
}

_STYLE = (  # as the pages that visitors see; color-scheme is the root's, or the paper behind the body stays white
    ":root{color-scheme:light dark;--ink:#1d2430;--line:#dfe3e8;--paper:#fff;--wash:#f4f5f7;--hue:#1f5fd6}"
    "@media(prefers-color-scheme:dark)"
    "{:root{--ink:#e8eaee;--line:#333a45;--paper:#1b2028;--wash:#12161c;--hue:#2b62c9}}"
    "*{box-sizing:border-box}body{margin:0;min-height:100vh;display:grid;place-items:center;padding:1.5rem;"
    "background:var(--wash);color:var(--ink);font:1rem/1.6 system-ui,-apple-system,'Segoe UI',Roboto,Arial,sans-serif;"
    "overflow-wrap:anywhere}main{width:100%;max-width:36rem;padding:2.25rem;background:var(--paper);"
    "border:1px solid var(--line);border-radius:.75rem}h1{margin:0 0 .75rem;font-size:1.5rem;line-height:1.25}p{margin:0}"
    "form{margin:1.5rem 0 0}button{max-width:100%;font:inherit;font-weight:600;padding:.6em 1.2em;border:0;"
    "border-radius:.5rem;background:var(--hue);color:#fff;overflow-wrap:anywhere;cursor:pointer}"
)


class Aside:
    """Wraps an ASGI app: these pages need no token, and are answered by `pages`."""

    def __init__(self, app: ASGIApp, pages: ASGIApp, context: Context, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._app = app
        self._pages = pages
        self._trusted = networks(context.config.listen.trusted_proxies)
        self._monotonic = monotonic
        self._buckets = Buckets(RATE, AT_ONCE, secrets.token_bytes(16))

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or not scope["path"].startswith(PAGE_PATH):
            await self._app(scope, receive, send)
        elif self._may(scope):
            await self._pages(scope, receive, send)
        else:
            refused = _page(429, "Too many requests", "Wait a minute, then open the link again.")
            refused.headers["retry-after"] = "60"
            await refused(scope, receive, send)

    def _may(self, scope: Scope) -> bool:
        forwarded = next((value for name, value in scope["headers"] if name == b"x-forwarded-for"), b"")
        try:
            network = network_of_literal(client_address(forwarded.decode("latin-1"), self._trusted))
        except ValueError:
            network = b""  # somebody on this machine
        return self._buckets.take(network, self._monotonic())


@router.get(PAGE_PATH + "{link}")
async def ask(request: Request, link: str) -> HTMLResponse:
    """What is to be confirmed, with a button."""
    proving = context_of(request).open_plane().mail_proving
    proof = await proving.of_link(link) if _LINK.match(link) else None
    if proof is None:
        return _gone()
    name, workspace = html.escape(proof.hostname), html.escape(proof.workspace_id)
    text = f"The workspace <b>{workspace}</b> wants to show a website under <b>{name}</b>. "
    text += "If you do not know of this, close this page: nothing happens then."
    button = f'<form method="post"><button>Yes, {name} may be used</button></form>'
    return _page(200, f"May {name} be used?", text, button)


@router.post(PAGE_PATH + "{link}")
async def confirm(request: Request, link: str) -> HTMLResponse:
    """The button was pressed."""
    proving = context_of(request).open_plane().mail_proving
    if not _LINK.match(link):
        return _gone()
    try:
        domain = await proving.confirm_link(link)
    except ProofRefused:
        return _gone()
    name = html.escape(domain.hostname)
    return _page(200, f"{name} is confirmed", "Thank you. You can close this page.")


def _gone() -> HTMLResponse:
    text = "It was used already, is too old, or a newer mail was sent since. Have another one sent where you asked for this."
    return _page(404, "This link does not count any more", text)


def _page(status: int, title: str, text: str, more: str = "") -> HTMLResponse:
    """`title`, `text` and `more` are HTML."""
    page = (
        f'<!doctype html><html lang="en"><head><meta charset="utf-8"><title>{title}</title>'
        f'<meta name="viewport" content="width=device-width,initial-scale=1"><style>{_STYLE}</style></head>'
        f"<body><main><h1>{title}</h1><p>{text}</p>{more}</main></body></html>"
    )
    return HTMLResponse(page, status, headers=_HEADERS)
