"""Rules of keys and secrets, which are never quoted. A rule takes a text and gives it back normalised, or raises ValueError."""

from __future__ import annotations

import re

_HEX_KEY = re.compile(r"[0-9A-Fa-f]{64}\Z")


_BASE64 = re.compile(r"(?:[A-Za-z0-9+/]{4})*(?:[A-Za-z0-9+/]{2}==|[A-Za-z0-9+/]{3}=)?\Z")


_KEY_NAME = re.compile(r"(?=.{1,253}\Z)[a-z0-9_-]{1,63}(?:\.[a-z0-9_-]{1,63})*\Z")


_EAB_KEY = re.compile(r"[A-Za-z0-9_-]+={0,2}\Z")


_EXEMPT_TOKEN = re.compile(r"[A-Za-z0-9._~+/=-]{16,256}\Z")


def state_key(text: str) -> str:
    """Never quotes the value: it is the root of every secret."""
    if text.startswith("file:"):
        if not text.startswith("file:/") or "\0" in text:
            raise ValueError('the path after "file:" is not absolute; write it like "file:/etc/edgeproxy/state.key"')
        return text
    if not _HEX_KEY.match(text):
        raise ValueError('the key is not 64 hexadecimal digits; write those, or "file:/PATH", or leave it out')
    return text.lower()


def eab_key(text: str) -> str:
    if not _EAB_KEY.match(text):
        raise ValueError("the key is not base64url; copy it exactly as the CA gave it, letters, digits, hyphen and underscore")
    return text


def fallback_eab(text: str) -> str:
    """Never quotes the value."""
    parts = text.split()
    if len(parts) != 3 or not parts[0].startswith("https://") or not _EAB_KEY.match(parts[2]):
        raise ValueError(
            'this is not a directory, a key id and an HMAC key with spaces between; write "https://ca.example/directory KEY_ID '
            'HMAC_KEY", or "file:/PATH"'
        )
    return " ".join(parts)


def exempt_token(text: str) -> str:
    """Never quotes the value."""
    if not _EXEMPT_TOKEN.match(text):
        raise ValueError(
            "the token is not 16 to 256 letters, digits and ._~+/=-; make one with `openssl rand -hex 32`, and better write "
            '"file:/PATH"'
        )
    return text


def tsig_name(text: str) -> str:
    name = text.lower().removesuffix(".")
    if not _KEY_NAME.match(name):
        raise ValueError(f'{text!r} is not the name of a TSIG key; copy it from the DNS server, like "edgeproxy-key"')
    return name


def tsig_secret(text: str) -> str:
    """Never quotes the value."""
    secret = text.strip()
    if not secret or not _BASE64.match(secret):
        raise ValueError('the secret is not base64; copy it exactly as it stands at the DNS server, or write "file:/PATH"')
    return secret
