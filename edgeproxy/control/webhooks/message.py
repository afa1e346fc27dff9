"""What a delivery says, and its signature (Standard Webhooks, https://www.standardwebhooks.com). Pure."""

from __future__ import annotations

import base64
import hashlib
import hmac
import secrets
from collections.abc import Sequence

import msgspec

import edgeproxy
from edgeproxy.config.webhooks import PREFIX, secret_bytes
from edgeproxy.control.store import Event
from edgeproxy.control.store.outbox import timestamp

NEW_SECRET_BYTES = 32


def body(event: Event) -> bytes:
    """The JSON that is sent: `type`, `timestamp` of the event (RFC 3339, UTC) and `data`."""
    return msgspec.json.encode({"type": event.type, "timestamp": timestamp(event.at), "data": msgspec.Raw(event.data)})


def headers(event_id: str, content: bytes, keys: Sequence[str], now: float) -> dict[str, str]:
    """The fields of a try at `now`. Its receiver refuses an old `webhook-timestamp`, so each try has its own."""
    at = int(now)
    return {
        "content-type": "application/json",
        "user-agent": f"edgeproxy/{edgeproxy.__version__}",
        "webhook-id": event_id,
        "webhook-timestamp": str(at),
        "webhook-signature": " ".join(signature(key, event_id, at, content) for key in keys),
    }


def signature(key: str, event_id: str, at: int, content: bytes) -> str:
    """A signature by one secret ("whsec_…"), of id, time and content."""
    signed = f"{event_id}.{at}.".encode() + content
    digest = hmac.new(secret_bytes(key), signed, hashlib.sha256).digest()
    return f"v1,{base64.b64encode(digest).decode()}"


def new_secret() -> str:
    """A random secret."""
    return PREFIX + base64.b64encode(secrets.token_bytes(NEW_SECRET_BYTES)).decode()
