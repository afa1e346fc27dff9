"""The zone that this edge answers for DNS-01: which records it has. Pure."""

from __future__ import annotations

import base64
import hashlib

LABEL_CHARACTERS = 26
"""Of a customer's label: 130 bits of the hostname's SHA-256, so that no two hostnames ever share one."""


def zone_label(hostname: str) -> str:
    """The label under which a hostname's challenges are answered, the same for its wildcard: customers point
    `_acme-challenge.HOST` at `LABEL.ZONE` once and for good. `hostname` is normalised (`model.hostname`)."""
    digest = hashlib.sha256(hostname.removeprefix("*.").encode("ascii")).digest()
    return base64.b32encode(digest).decode("ascii").lower()[:LABEL_CHARACTERS]
