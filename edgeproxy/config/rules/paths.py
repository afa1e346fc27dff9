"""Rules of files, sockets and the store. A rule takes a text and gives it back normalised, or raises ValueError."""

from __future__ import annotations

SOCKET_PATH = 107
"""Bytes that a Unix socket's path may have: sizeof sun_path, less the NUL (unix(7))."""


def store_url(text: str) -> str:
    if text.startswith(("postgresql:", "postgres:", "postgresql+")):
        raise ValueError('PostgreSQL is not built yet; write "sqlite:///edgeproxy.db"')
    if not text.startswith("sqlite:///") or text == "sqlite:///" or "?" in text or ":memory:" in text:
        raise ValueError(
            'a store is a SQLite file: "sqlite:///FILE", relative to state.directory, or "sqlite:////absolute/FILE"'
        )
    return text


def absolute_path(text: str) -> str:
    """The rule of paths. Raises ValueError."""
    if not text.startswith("/") or "\0" in text:
        raise ValueError(f'{text!r} is not an absolute path; write it from the root, like "/var/lib/edgeproxy"')
    return text


def unix_path(text: str, example: str) -> str:
    if not text.startswith("/") or "\0" in text or text.endswith("/"):
        raise ValueError(f"{text!r} is not an absolute path of a socket; write it from the root, {example}")
    if len(text.encode()) > SOCKET_PATH:
        raise ValueError(
            f"the path of a Unix socket may have {SOCKET_PATH} bytes, this has {len(text.encode())}; choose a shorter one"
        )
    return text


def admin_socket(text: str) -> str:
    return unix_path(text, 'like "/run/edgeproxy/admin.sock"')


def access_log(text: str) -> str:
    if text in ("stdout", "off"):
        return text
    if not text.startswith("/"):
        raise ValueError(f'{text!r} is no place for a log; write "stdout", "off" or an absolute path')
    return text
