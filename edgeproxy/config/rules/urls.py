"""Rules of URLs and origins. A rule takes a text and gives it back normalised, or raises ValueError."""

from __future__ import annotations

import ipaddress
import re
from urllib.parse import SplitResult, urlsplit

from edgeproxy import model
from edgeproxy.config import webhooks
from edgeproxy.config.rules.paths import unix_path

_NOTIFY = re.compile(r"[a-z][a-z0-9+.-]{1,31}://[!-~]{1,4000}\Z")


def _has_port(parts: SplitResult) -> bool:
    """Whether the port of a URL, if it names one, is one."""
    try:
        return parts.port != 0
    except ValueError:
        return False


def _split(text: str, example: str) -> SplitResult:
    """A URL in its parts, with what every URL here must or must not have."""
    wrong = ValueError(f'{text!r} is not a URL; write one like "{example}"')
    if not text.isascii() or any(character <= " " for character in text):
        raise ValueError(f'{text!r} has spaces or characters outside ASCII; write a URL like "{example}"')
    try:
        parts = urlsplit(text)
        host = parts.hostname
    except ValueError:
        raise wrong from None
    if not host:
        raise wrong
    if not _has_port(parts):
        raise ValueError(f"{text!r} has a port that is none; ports are 1 to 65535")
    if parts.username is not None:
        raise ValueError("a user name or password in a URL would show in logs and process lists; write it without")
    if parts.fragment:
        raise ValueError(f'{text!r} has a fragment, "#…", which is never sent; write it without')
    return parts


def origin_url(text: str) -> str:
    if text.startswith("unix:"):
        unix_path(text.removeprefix("unix:"), 'like "unix:/run/app/app.sock"')
        return text
    parts = _split(text, "http://127.0.0.1:3000")
    if parts.scheme not in ("http", "https"):
        raise ValueError(
            f'{text!r} has the scheme {parts.scheme!r}; an origin is "http://HOST:PORT", "https://HOST" or "unix:/PATH"'
        )
    if parts.path not in ("", "/") or parts.query:
        raise ValueError(
            f'{text!r} has a path; visitors\' paths go to the origin as they come: write "{parts.scheme}://{parts.netloc}"'
        )
    return f"{parts.scheme}://{parts.netloc}"


def _asked(text: str, example: str) -> str:
    """A URL of the platform's that is asked."""
    if _split(text, example).scheme not in ("http", "https"):
        raise ValueError(f'{text!r} is neither http nor https; write a URL like "{example}"')
    return text


def gate_url(text: str) -> str:
    return _asked(text, "http://127.0.0.1:3000/edge/allow")


def entitlement_url(text: str) -> str:
    return _asked(text, "http://127.0.0.1:3000/edge/paid")


def receiver(text: str) -> str:
    """Where webhooks are sent."""
    if len(text) > webhooks.URL_CHARACTERS:
        raise ValueError(f"the URL has more than {webhooks.URL_CHARACTERS} characters; choose a shorter one")
    return _asked(text, "https://example.com/hooks/edge")


def notify_url(text: str) -> str:
    """Never quotes the value: it holds a secret."""
    if not _NOTIFY.match(text):
        raise ValueError('this is not a URL of apprise; write one like "mailtos://user:password@example.com" or "file:/PATH"')
    return text


def directory(text: str) -> str:
    if text == "internal":
        return text
    example = "https://acme-v02.api.letsencrypt.org/directory"
    if _split(text, example).scheme != "https":
        raise ValueError(f'{text!r} is not https, which ACME demands (RFC 8555 section 6.1); write "{example}" or "internal"')
    return text


def acme_directory(text: str) -> str:
    if text == "internal":
        raise ValueError(
            'the built-in CA is no fallback: no browser trusts it; write ACME directories, or directory = "internal"'
        )
    return directory(text)


def page_origin(text: str) -> str:
    """As browsers write it in Origin (RFC 6454 section 6.2): lower case, without the scheme's own port."""
    if text == "*":
        return text
    example = 'write it like "https://app.example.com"'
    try:
        parts = urlsplit(text)
        host, port = parts.hostname or "", parts.port
    except ValueError:
        raise ValueError(f"{text!r} is not an origin; {example}") from None
    if parts.username is not None:
        raise ValueError(f"an origin has no user name; {example}")
    if parts.scheme not in ("http", "https") or not host or port == 0:
        raise ValueError(f"{text!r} is not an origin; {example}")
    if parts.path not in ("", "/") or parts.query or parts.fragment:
        raise ValueError(f"{text!r} has a path; an origin is only scheme, host and port: {example}")
    try:
        address = ipaddress.ip_address(host)
        host = f"[{address}]" if address.version == 6 else str(address)
    except ValueError:
        host = model.hostname(host)
    default = {"http": 80, "https": 443}[parts.scheme]
    return f"{parts.scheme}://{host}{'' if port in (None, default) else f':{port}'}"
