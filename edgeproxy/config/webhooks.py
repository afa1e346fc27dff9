"""Where events are sent, which there are, how they are chosen, and what a secret looks like. Pure.

Secrets and signatures are those of Standard Webhooks (https://www.standardwebhooks.com).
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Iterator, Sequence

from edgeproxy.config.section import Section


class Endpoint(Section, frozen=True):
    """An endpoint of webhooks; one table for each, with the secret in a file of its own. Others are added while the edge runs:
    `edgeproxy webhooks add`."""

    url: str = ""
    """Where its events are sent: "https://HOST/PATH", or http. The operator's word: private addresses too."""

    secret: str = ""
    """What events are signed with, as Standard Webhooks has it: "whsec_" and the base64 of 24 to 64 random bytes; better
    "file:PATH"."""

    events: tuple[str, ...] = ()
    """Which events it gets: "domain.verified", "domain.*", "certificate.*", "*". Empty: all."""

    label: str = ""
    """What `edgeproxy webhooks list` and faults call it. Empty: its url."""

    def __repr__(self) -> str:
        return f"Endpoint(url={self.url!r}, events={self.events!r}, label={self.label!r})"


class Webhooks(Section, frozen=True):
    """Events that are sent to the platform by HTTP POST, signed as Standard Webhooks has it."""

    allow: tuple[str, ...] = ()
    """CIDRs and names that endpoints added by the API may point at beside public addresses. Endpoints of this file may point
    anywhere."""

    endpoints: tuple[Endpoint, ...] = ()
    """Endpoints, each in a table of its own."""


DOMAIN_EVENTS = tuple(
    f"domain.{what}" for what in ("registered", "verified", "active", "attention", "suspended", "parked", "removed")
)

CERTIFICATE_EVENTS = tuple(
    f"certificate.{what}"
    for what in (
        "issued",
        "renewed",
        "failed",
        "expiring",
        "expired",
        "parked",
        "unparked",
        "uploaded",
        "removed",
        "revoked",
        "accompanied",
    )
)

EVENTS = (*DOMAIN_EVENTS, *CERTIFICATE_EVENTS)
"""Types of events that are kept and sent. They are part of the program's contract."""

ALL = "*"

PREFIX = "whsec_"

SECRET_BYTES = (24, 64)
"""Least and most bytes of a secret, by the specification of Standard Webhooks."""

URL_CHARACTERS = 2_048

LABEL_CHARACTERS = 100

CONFIGURED = 32
"""Endpoints in the configuration."""


def event_filter(text: str) -> str:
    """Checks one member of an endpoint's filter: a type of EVENTS, "domain.*", "certificate.*" or "*". Raises ValueError."""
    if text in (ALL, *EVENTS) or text in {f"{each.partition('.')[0]}.*" for each in EVENTS}:
        return text
    raise ValueError(f'{text[:100]!r} is no event; write "domain.*", "certificate.*", "*", or one of {", ".join(EVENTS)}')


def chosen(filters: Sequence[str], type_: str) -> bool:
    """Whether an endpoint with these filters gets events of this type. No filter is every event."""
    family = type_.partition(".")[0]
    return not filters or any(each in (ALL, type_, f"{family}.*") for each in filters)


def secret_bytes(text: str) -> bytes:
    """The key that a secret stands for. Raises ValueError, never quoting it."""
    wrong = ValueError(
        f'this is not a secret of Standard Webhooks; write "{PREFIX}" and the base64 of {SECRET_BYTES[0]} to {SECRET_BYTES[1]} '
        f"random bytes: echo {PREFIX}$(openssl rand -base64 32)"
    )
    if not text.startswith(PREFIX):
        raise wrong
    try:
        key = base64.b64decode(text.removeprefix(PREFIX), validate=True)
    except (binascii.Error, ValueError):
        raise wrong from None
    if not SECRET_BYTES[0] <= len(key) <= SECRET_BYTES[1]:
        raise wrong
    return key


def secret(text: str) -> str:
    """Checks a secret. Raises ValueError, never quoting it."""
    secret_bytes(text)
    return text


def faults(webhooks: Webhooks) -> Iterator[tuple[str, str, tuple[str, ...]]]:
    """Key, what is wrong and what would be right, and the other keys looked at, of endpoints that lack something."""
    if len(webhooks.endpoints) > CONFIGURED:
        text = f"there are {len(webhooks.endpoints)} endpoints, and at most {CONFIGURED} can be; take some out"
        yield "webhooks.endpoints", text, ()
    seen: set[str] = set()
    for number, endpoint in enumerate(webhooks.endpoints):
        key = f"webhooks.endpoints.{number}"
        if not endpoint.url:
            text = 'the endpoint has no url; write where its events go, like url = "https://example.com/hooks"'
            yield f"{key}.url", text, ()
        elif endpoint.url in seen:
            text = "there is an endpoint with this url already; give each its own, or write one with both filters"
            yield f"{key}.url", text, ()
        seen.add(endpoint.url)
        if not endpoint.secret:
            text = (
                "the endpoint has no secret, so that its receiver could not tell our events from forged ones; write "
                'secret = "file:/etc/edgeproxy/webhook.secret", and into that file '
                f'"{PREFIX}" and the output of: openssl rand -base64 32'
            )
            yield f"{key}.secret", text, ()
