"""The edge's own answers: what a visitor reads where no origin answers. Pure.

A page names nobody's product: to its visitor it is the customer's site. It says what happened, whose doing it is as far as a
visitor can act on it, what to do now, and the request id that leads its operator to the log line. Programs that ask for JSON
get the same as a problem document (RFC 9457).
"""

from __future__ import annotations

import base64
import hashlib
import html
import re
from email.utils import formatdate
from functools import cache, lru_cache
from http import HTTPStatus
from typing import Final

import msgspec

from edgeproxy.errors import Fault

Fields = list[tuple[bytes, bytes]]
"""Header fields: lower-case name, value."""


class Text(msgspec.Struct, frozen=True):
    """What a page says."""

    status: int
    code: str
    """For programs."""
    title: str
    """What happened, in a few words."""
    detail: str
    """What happened, in a sentence."""
    advice: tuple[str, ...]
    """What the visitor can do, most promising first."""
    fault: Fault
    retryable: bool = False
    retry_after: int = 0
    """Seconds; 0: not said."""
    refresh: int = 0
    """Seconds after which a browser looks again by itself; 0: never."""
    intended: bool = False
    """Nothing has failed: the page does not begin with its status."""
    policy: str = ""
    """The quota that was exceeded, by its name in RateLimit-Policy."""


_OWNER: Final = "If this is your site, the request ID below leads your platform’s support to the reason."

_TEXTS: Final = (
    Text(
        400,
        "bad_request",
        "This request could not be understood",
        "What your browser or app sent is not a valid web request, so it went no further.",
        ("Reload the page.", "If that does not help, clear this site’s cookies, or try another browser or network."),
        Fault.CLIENT,
    ),
    Text(
        404,
        "unknown_host",
        "There is no site at this address",
        "The address leads here, but no site is set up for it.",
        (
            "Check the spelling of the address.",
            "If you have just connected this domain, wait a few minutes and reload; then look at its status in your dashboard.",
        ),
        Fault.CLIENT,
    ),
    Text(
        408,
        "request_timeout",
        "The request took too long to arrive",
        "Your connection was too slow or was interrupted before the whole request had come.",
        ("Check your network and try again.",),
        Fault.CLIENT,
        retryable=True,
    ),
    Text(
        413,
        "content_too_large",
        "That is too much to send at once",
        "What was sent is larger than this site accepts.",
        ("Send a smaller file, or several smaller ones.",),
        Fault.CLIENT,
    ),
    Text(
        414,
        "uri_too_long",
        "This address is too long",
        "The address, with everything after the question mark, is longer than this site accepts.",
        ("Shorten the address, or go to the site’s start page and search from there.",),
        Fault.CLIENT,
    ),
    Text(
        421,
        "misdirected_request",
        "This connection belongs to another site",
        "Your browser asked for this site over a connection that was opened for another one.",
        ("Reload the page: your browser then opens a connection of its own.",),
        Fault.CLIENT,
        retryable=True,
    ),
    Text(
        429,
        "too_many_requests",
        "Too many requests",
        "More requests came from your network in a short time than this site accepts.",
        ("Wait a moment, then reload the page.",),
        Fault.CLIENT,
        retryable=True,
        retry_after=10,
    ),
    Text(
        431,
        "header_fields_too_large",
        "Your browser sent too much with this request",
        "The request’s headers are larger than this site accepts; most often cookies have piled up.",
        ("Clear this site’s cookies, then reload the page.",),
        Fault.CLIENT,
    ),
    Text(
        500,
        "internal_error",
        "Something went wrong on our side",
        "The request was fine; it could not be handled here.",
        ("Reload the page in a minute.", _OWNER),
        Fault.EDGE,
        retryable=True,
    ),
    Text(
        502,
        "origin_failed",
        "The site is not responding properly",
        "Your connection is fine. The server behind this site refused the request or broke off its answer.",
        ("Reload the page in a minute.", _OWNER),
        Fault.ORIGIN,
        retryable=True,
    ),
    Text(
        503,
        "unavailable",
        "The site is not available just now",
        "Your connection is fine. The request cannot be handled at the moment.",
        ("Reload the page in a minute.", _OWNER),
        Fault.EDGE,
        retryable=True,
        retry_after=10,
    ),
    Text(
        504,
        "origin_timeout",
        "The site is taking too long to respond",
        "Your connection is fine. The server behind this site did not answer in time.",
        (
            "Reload the page in a minute. If you were sending something, check first whether it has arrived.",
            _OWNER,
        ),
        Fault.ORIGIN,
        retryable=True,
    ),
)
TEXTS: Final = {text.status: text for text in _TEXTS}
"""The pages that have words of their own; other statuses get `text_for`'s plain ones."""

API_AWAY: Final = Text(
    503,
    "api_not_available",
    "The API is not available just now",
    "The part of the edge that answers the API did not answer. Sites are served all the same.",
    ("Try again in a few seconds. If you were changing something, look first whether it has been done.",),
    Fault.EDGE,
    retryable=True,
    retry_after=2,
)
"""What `api.hostname` answers while the controller does not."""

API_IN_CLEAR: Final = Text(
    403,
    "https_needed",
    "The API speaks HTTPS only",
    "This request came without encryption, and with it whatever token it has.",
    ("Write https:// in front of the address.", "Revoke a token that was sent like this, and make another one."),
    Fault.CLIENT,
)
"""What `api.hostname` answers on port 80."""

_STYLE: Final = (
    ":root{color-scheme:light dark;--ink:#1d2430;--soft:#5b6472;--line:#dfe3e8;--paper:#fff;--wash:#f4f5f7}"
    "@media(prefers-color-scheme:dark){:root{--ink:#e8eaee;--soft:#a0a8b4;--line:#333a45;--paper:#1b2028;--wash:#12161c}}"
    "*{box-sizing:border-box}"
    "body{margin:0;min-height:100vh;display:grid;place-items:center;padding:1.5rem;background:var(--wash);color:var(--ink);"
    "font:1rem/1.6 system-ui,-apple-system,'Segoe UI',Roboto,'Helvetica Neue',Arial,sans-serif}"
    "main{width:100%;max-width:36rem;padding:2.25rem 2.25rem 1.5rem;background:var(--paper);border:1px solid var(--line);"
    "border-radius:.75rem}"
    "h1{margin:.25rem 0 .75rem;font-size:1.5rem;line-height:1.25}p{margin:0 0 1rem}"
    "ul{margin:0 0 1.75rem;padding-left:1.2rem}li{margin:.3rem 0}"
    ".where{margin:0;color:var(--soft);font-size:.9rem;overflow-wrap:anywhere}"
    "footer{padding-top:1rem;border-top:1px solid var(--line);color:var(--soft);font-size:.85rem;overflow-wrap:anywhere}"
    "footer:empty{display:none}"
    "code{font:.95em ui-monospace,SFMono-Regular,Menlo,Consolas,monospace}"
)
_POLICY: Final = (
    "default-src 'none'; img-src data:; style-src 'sha256-"
    + base64.b64encode(hashlib.sha256(_STYLE.encode()).digest()).decode()
    + "'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
).encode()

_OPERATORS_POLICY: Final = b"object-src 'none'; base-uri 'none'; frame-ancestors 'none'"
"""For the operator's own pages, which may bring styles, pictures and scripts; nobody else may frame them."""
_HTML: Final = b"text/html; charset=utf-8"
_ALLOW: Final = (b"allow", b"GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS")
"""Goes with every 405 (RFC 9110 section 15.5.6). Not all that is forwarded, which is any method but CONNECT and TRACE."""
_VARIABLE: Final = re.compile(r"\{\{ *(host|request_id|status|title|detail) *\}\}")

_QUOTA_EXCEEDED: Final = "https://iana.org/assignments/http-problem-types#quota-exceeded"
"""draft-ietf-httpapi-ratelimit-headers-11, section 5.1."""

_ID: Final = re.compile(r"[!-~]{1,128}\Z").match
_RANGE: Final = re.compile(r"\s*([!#$%&'*+.^_`|~0-9a-z-]+)/([!#$%&'*+.^_`|~0-9a-z-]+)\s*((?:;[^,;]*)*)\Z").match
_QUALITY: Final = re.compile(r";\s*q\s*=\s*([01](?:\.[0-9]{0,3})?)\s*(?:;|\Z)").search
_RANGES_MAX: Final = 32


class Template:
    """A page of the operator's own: HTML in which {{host}} and {{request_id}} stand for the request's, {{status}}, {{title}}
    and {{detail}} for what has happened, all escaped."""

    __slots__ = ("_parts",)

    def __init__(self, source: str) -> None:
        self._parts = _VARIABLE.split(source)  # text, variable, text, …, text

    def filled(self, host: str, request_id: str, text: Text) -> bytes:
        """The page for one request."""
        parts = list(self._parts)
        values = {
            "host": host,
            "request_id": request_id,
            "status": str(text.status),
            "title": text.title,
            "detail": text.detail,
        }
        parts[1::2] = [html.escape(values[name]) for name in parts[1::2]]
        return "".join(parts).encode()


def page(
    status: int, accept: bytes, request_id: str, host: str, text: Text | None = None, template: Template | None = None
) -> tuple[Fields, bytes]:
    """An answer of the edge's own: header fields, content-length included, and body.

    `accept` is the request's Accept field; the page is JSON where JSON is preferred over HTML by it, else HTML. `host` is
    shown where it is not empty; everything shown is escaped. `text` is for words other than the status's usual ones;
    `template` takes the place of the HTML that would be made of them. The caller leaves the body out for HEAD.
    """
    chosen = text or text_for(status)
    if not _ID(request_id):
        request_id = ""
    if b"json" in accept.lower() and prefers_json(accept):
        return _answer(chosen, b"application/problem+json", _problem(chosen, request_id, host), request_id)
    if template is not None:
        return _answer(chosen, _HTML, template.filled(host, request_id, chosen), request_id, _OPERATORS_POLICY)
    before, middle, after = _html(chosen)
    shown = html.escape(host)
    if host and not chosen.intended:
        shown = f" · {shown}"
    reference = f"Request ID: <code>{html.escape(request_id)}</code>" if request_id else ""
    body = b"".join((before, shown.encode(), middle, reference.encode(), after))
    return _answer(chosen, _HTML, body, request_id)


def bare_page(status: int, request_id: str) -> tuple[Fields, bytes]:
    """The same for what could not be read as a request, so that nobody knows what its sender accepts: a few lines of text.
    `request_id` is one of the edge's own."""
    text = text_for(status)
    lines = [f"{status} {text.title}", "", text.detail, *text.advice]
    if _ID(request_id):
        lines += ["", f"Request ID: {request_id}"]
    return _answer(
        text, b"text/plain; charset=utf-8", ("\n".join(lines) + "\n").encode(), request_id if _ID(request_id) else ""
    )


def api_answer(text: Text, target: bytes, request_id: str, host: str) -> tuple[Fields, bytes]:
    """The same under `api.hostname`, where programs ask, whatever they accept: a problem document, or for a path of the tenant
    API the two fields that its errors have."""
    if not target.startswith(b"/api/domains/"):
        return page(text.status, b"application/json", request_id, host, text)
    body = msgspec.json.encode({"status": "error", "message": f"{text.title}. {text.detail}"})
    return _answer(text, b"application/json", body, request_id)


@lru_cache(maxsize=2)
def http_date(now: int) -> bytes:
    """Seconds since the epoch as Date has them (RFC 9110 section 5.6.7). All answers of one second share it."""
    return formatdate(now, usegmt=True).encode("ascii")


def text_for(status: int) -> Text:
    """The words for a status; plain ones where it has none of its own."""
    return TEXTS.get(status) or _plain_text(status)


def prefers_json(accept: bytes) -> bool:
    """Whether an Accept field (RFC 9110 section 12.5.1) puts JSON above HTML.

    At one quality the type that is named goes before the one that a wildcard lets pass: "application/json, */*" is a program.
    """
    json_quality = html_quality = 0.0
    json_exact = html_exact = -1
    for part in accept.decode("latin-1").lower().split(",")[:_RANGES_MAX]:
        match = _RANGE(part)
        if match is None:
            continue
        kind, subtype = match[1], match[2]
        found = _QUALITY(match[3])
        quality = float(found[1]) if found is not None else 1.0
        # The most specific range that matches a type decides about it.
        exact = 2 if subtype != "*" else 1 if kind != "*" else 0
        if (kind, subtype) == ("application", "json") or (kind == "application" and subtype.endswith("+json")):
            quality = max(quality, json_quality) if json_exact == 2 else quality
            json_quality, json_exact = quality, 2
        elif (kind, subtype) in (("text", "html"), ("application", "xhtml+xml")):
            quality = max(quality, html_quality) if html_exact == 2 else quality
            html_quality, html_exact = quality, 2
        elif exact < 2:
            if kind in ("application", "*") and exact > json_exact:
                json_quality, json_exact = quality, exact
            if kind in ("text", "*") and exact > html_exact:
                html_quality, html_exact = quality, exact
    return json_quality > 0 and (json_quality, json_exact) > (html_quality, html_exact)


def moved(location: bytes) -> tuple[Fields, bytes]:
    """A 308 to `location`, a complete URL that `redirect.redirect` made.

    Not to be stored: browsers keep a permanent redirect as long as they like, and a domain may leave this edge again.
    """
    link = html.escape(location.decode("ascii", "replace"))
    body = f'<!doctype html><title>Moved</title><a href="{link}">{link}</a>\n'.encode()
    return [
        (b"location", location),
        (b"content-type", b"text/html; charset=utf-8"),
        (b"content-length", b"%d" % len(body)),
        (b"cache-control", b"no-store"),
    ], body


@cache
def plain_http_answer() -> bytes:
    """A whole response, as sent, for a client that speaks HTTP without TLS on the TLS port."""
    fields, body = page(
        400,
        b"",
        "",
        "",
        Text(
            400,
            "plain_http",
            "This port speaks HTTPS only",
            "Your browser or app sent a request without encryption to the port for encrypted connections.",
            ("Put https:// instead of http:// in front of the address.",),
            Fault.CLIENT,
        ),
    )
    lines = [b"HTTP/1.1 400 Bad Request", *(name + b": " + value for name, value in fields), b"connection: close", b"", body]
    return b"\r\n".join(lines)


def _answer(text: Text, kind: bytes, body: bytes, request_id: str, policy: bytes = _POLICY) -> tuple[Fields, bytes]:
    fields = [
        (b"content-type", kind),
        (b"content-length", b"%d" % len(body)),
        (b"cache-control", b"no-store"),
        (b"vary", b"accept"),
        (b"x-content-type-options", b"nosniff"),
        (b"content-security-policy", policy),
    ]
    if text.status == 405:
        fields.append(_ALLOW)
    if text.refresh and kind is _HTML:
        fields.append((b"refresh", b"%d" % text.refresh))
    if text.retry_after:
        fields.append((b"retry-after", b"%d" % text.retry_after))
    if request_id:
        fields.append((b"x-request-id", request_id.encode("ascii")))
    return fields, body


def _problem(text: Text, request_id: str, host: str) -> bytes:
    problem: dict[str, object] = {
        "type": _QUOTA_EXCEEDED if text.policy else "about:blank",
        "title": text.title,
        "status": text.status,
        "detail": text.detail,
        "code": text.code,
        "fault": text.fault,
        "retryable": text.retryable,
    }
    if text.policy:
        problem["violated-policies"] = [text.policy]
    if host:
        problem["host"] = host
    if request_id:
        problem["request_id"] = request_id
    return msgspec.json.encode(problem) + b"\n"


@cache
def _html(text: Text) -> tuple[bytes, bytes, bytes]:
    """A page in three parts: between them come the host and the request id."""
    lines = [html.escape(line, quote=False) for line in text.advice]
    advice = f"<p>{lines[0]}</p>" if len(lines) == 1 else f"<ul>{''.join(f'<li>{line}</li>' for line in lines)}</ul>"
    title = html.escape(text.title, quote=False)
    before = (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width,initial-scale=1">\n<meta name="robots" content="noindex">\n'
        f'<title>{title}</title>\n<link rel="icon" href="data:,">\n<style>{_STYLE}</style>\n</head>\n<body>\n<main>\n'
        f'<p class="where">{"" if text.intended else text.status}'
    )
    middle = f"</p>\n<h1>{title}</h1>\n<p>{html.escape(text.detail, quote=False)}</p>\n{advice}\n<footer>"
    return before.encode(), middle.encode(), b"</footer>\n</main>\n</body>\n</html>\n"


@cache
def _plain_text(status: int) -> Text:
    """Only statuses of our own choosing come here, so the cache is bounded."""
    try:
        phrase = HTTPStatus(status).phrase
    except ValueError:
        phrase = "Error"
    server = status >= 500
    return Text(
        status,
        phrase.lower().replace(" ", "_").replace("-", "_"),
        phrase,
        "The request could not be handled." if server else "The request is not one that this site answers.",
        ("Reload the page in a minute.", _OWNER) if server else ("Go back, and try another way.",),
        Fault.EDGE if server else Fault.CLIENT,
        retryable=server,
    )
