"""Rules of whatever has a form of its own: headers, users, mail addresses, challenges, workspaces.

A rule takes a text and gives it back normalised, or raises ValueError.
"""

from __future__ import annotations

import re

from edgeproxy import model
from edgeproxy.config import webhooks
from edgeproxy.gcra import parse_rate

_TOKEN = re.compile(r"[a-z0-9!#$%&'*+.^_`|~-]{1,64}\Z")
_USER = re.compile(r"[A-Za-z_][A-Za-z0-9_.-]{0,31}\$?\Z")
_CHALLENGES = ("tls-alpn-01", "http-01", "dns-01", "dns-persist-01")
_EMAIL = re.compile(r"[^@\s]{1,64}@[^@\s]+\Z")
_MAILBOX = re.compile(r"[A-Za-z0-9.!#$%&'*+/=?^_`{|}~-]{1,64}@[a-z0-9.-]{1,253}\Z", re.ASCII | re.IGNORECASE)
_NUMBER = re.compile(r"[0-9]{1,9}\Z", re.ASCII)
# fmt: off
_TAKEN_HEADERS = frozenset((
    "host", "connection", "keep-alive", "proxy-connection", "te", "trailer", "transfer-encoding", "upgrade", "content-length",
    "content-type", "expect", "cookie", "authorization", "date", "via", "forwarded", "x-forwarded-for", "x-forwarded-proto",
    "x-forwarded-host", "x-request-id",
))
# fmt: on


def entitled_workspace(text: str) -> str:
    """A workspace, and how many domains it may have."""
    workspace, _, number = " ".join(text.split()).partition(" ")
    if not model.WORKSPACE_ID.match(workspace) or (number and not _NUMBER.match(number)):
        raise ValueError(
            f'{text!r} is not a workspace, or one and a number of domains; write "spandantest" or "spandantest 50"'
        )
    return f"{workspace} {number}".strip()


def hook_label(text: str) -> str:
    if len(text) > webhooks.LABEL_CHARACTERS or not text.isprintable():
        raise ValueError(f"a label has at most {webhooks.LABEL_CHARACTERS} printable characters; choose a shorter one")
    return text


def header(text: str, example: str = "workspace-id") -> str:
    name = text.lower()
    if not _TOKEN.match(name):
        raise ValueError(f'{text!r} is not a header name; write one like "{example}"')
    if name.replace("_", "-") in _TAKEN_HEADERS:
        raise ValueError(f'{text!r} means something else in HTTP already; choose a name of your own, like "{example}"')
    return name


def exempt_header(text: str) -> str:
    name = header(text, "edgeproxy-exempt")
    if name.replace("_", "-").startswith("x-forwarded-"):
        raise ValueError(f'{text!r} is a proxy\'s word; choose a name of your own, like "edgeproxy-exempt"')
    return name


def rate(text: str) -> str:
    return str(parse_rate(text))


def challenge(text: str) -> str:
    if text not in _CHALLENGES:
        raise ValueError(f"{text!r} is not a challenge; write some of {', '.join(map(repr, _CHALLENGES))}".replace("'", '"'))
    return text


def user(text: str) -> str:
    if not _USER.match(text):
        raise ValueError(f'{text!r} is not the name of a user or group; write one like "edgeproxy"')
    return text


def email(text: str) -> str:
    if not _EMAIL.match(text):
        raise ValueError(f'{text!r} is not an e-mail address; write one like "ops@example.com"')
    return text


def anything(text: str) -> str:
    """What only the server can judge."""
    return text


def sender(text: str) -> str:
    from email.utils import parseaddr  # 9 ms, which a start without mail need not wait for

    name, address = parseaddr(text)
    if not _MAILBOX.match(address) or not name.isprintable():
        raise ValueError(f'{text!r} is not a sender; write "edge@example.com" or "Example <edge@example.com>"')
    return text
