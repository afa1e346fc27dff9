"""The text of a token: how it is made, and how one that comes is compared with what is stored. Pure but for the chance.

`edgeproxy_ID_SECRET`: the id is no secret and says which row to look at; the secret is 256 bits. The name in front is for
programs that look for secrets where none should be.
"""

from __future__ import annotations

import hashlib
import hmac
import re
import secrets

_ID_BYTES = 8
_SECRET_BYTES = 32
_TOKEN = re.compile(r"edgeproxy_([0-9a-f]{16})_[A-Za-z0-9_-]{43}\Z")
_NOBODYS = bytes(32)


def made() -> tuple[str, str]:
    """A new token: its id and its text."""
    token_id = secrets.token_hex(_ID_BYTES)
    return token_id, f"edgeproxy_{token_id}_{secrets.token_urlsafe(_SECRET_BYTES)}"


def id_of(text: str) -> str | None:
    """The id in a token's text; None where it is no token of ours."""
    match = _TOKEN.match(text)
    return None if match is None else match[1]


def digest(text: str) -> bytes:
    """What is stored of a token. One round of SHA-256: 256 random bits cannot be guessed however fast guessing is, so what
    slows down the guessing of passwords would slow down nobody but us."""
    return hashlib.sha256(text.encode("utf-8", "surrogateescape")).digest()


def matches(text: str, stored: bytes | None) -> bool:
    """Whether a text is the token with this digest, in a time that does not tell how nearly; None: there is no such token,
    which takes as long."""
    return hmac.compare_digest(digest(text), _NOBODYS if stored is None else stored) and stored is not None
