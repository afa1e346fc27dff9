"""The root of all keys at rest, and the one key per purpose that is derived from it.

Losing the root loses every private key in the store and the map, so it is made once, never replaced, and a state
directory that holds a store without its root is an error rather than a reason to make a new one.
"""

from __future__ import annotations

import contextlib
import os
import re
import secrets
import stat
from pathlib import Path
from typing import Literal

from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from edgeproxy import disk
from edgeproxy.config.structs import Config
from edgeproxy.errors import ConfigError, StateError

Purpose = Literal["map", "store", "acme", "backup"]

KEY_FILE = "state.key"
_HEX = re.compile(r"[0-9a-fA-F]{64}\Z")
_MAX_FILE = 4096


def derive(root: bytes, purpose: Purpose) -> bytes:
    """The 32-byte key for one purpose (HKDF-SHA256, RFC 5869). Knowing it tells nothing about the root or the others."""
    return HKDF(algorithm=SHA256(), length=32, salt=b"edgeproxy", info=b"edgeproxy/v1/" + purpose.encode()).derive(root)


def root_key(config: Config, state_directory: Path, *, may_create: bool) -> bytes:
    """The 32-byte root, from `state.key` of the configuration: the key itself, "file:PATH", or empty for `state.key` in
    the state directory.

    With `may_create` a missing file is made (0600), unless the state directory holds a store already. Raises StateError
    where there is no key, or not a usable one; ConfigError where the key in the configuration is not 64 hex digits.
    """
    text = config.state.key.strip()
    if text and not text.startswith("file:"):
        if not _HEX.match(text):
            raise ConfigError(
                'state.key: neither 64 hex digits nor "file:PATH". Write state.key = "file:/etc/edgeproxy/state.key", '
                "or leave it out to keep the key in the state directory."
            )
        return bytes.fromhex(text)
    path = Path(text.removeprefix("file:")) if text else state_directory / KEY_FILE
    key = _read(path, strict=not text)
    if key is not None:
        return key
    store = store_path(config, state_directory)
    if store.exists():
        raise StateError(
            f"The state key is missing: {path}. {store} exists, and the private keys in it open under its own state key "
            f"alone. Put the key back from your copy; or, if it is lost for good, move {store} away, which loses all "
            "certificates and registered domains."
        )
    if not may_create:
        raise StateError(f"The state key is missing: {path}. It is made when the edge starts for the first time.")
    _create(path)
    key = _read(path, strict=not text)
    if key is None:
        raise StateError(f"The state key was made but is gone again: {path}. Check who else writes there.")
    return key


def store_path(config: Config, state_directory: Path) -> Path:
    """The file of the SQLite store. Raises ConfigError for any other kind of store."""
    url = config.store.url
    if not url.startswith("sqlite:///") or len(url) == len("sqlite:///"):
        raise ConfigError(
            f'store.url: {url.partition(":")[0] or "nothing"}: only "sqlite:///FILE" can be used; '
            "PostgreSQL comes with clusters."
        )
    return state_directory / url.removeprefix("sqlite:///")


def _read(path: Path, *, strict: bool) -> bytes | None:
    """The key in a file; None where there is no such file. `strict`: refuse a file that everybody may read. A path that
    the operator named may be a container's secret, which is world-readable inside its container by design."""
    try:
        with path.open("rb") as file:
            mode = os.fstat(file.fileno()).st_mode
            text = file.read(_MAX_FILE).strip()
    except FileNotFoundError:
        return None
    except OSError as error:
        raise StateError(
            f"The state key cannot be read: {path}: {error.strerror}. The service's user must be able to read it."
        ) from error
    if strict and mode & stat.S_IROTH:
        raise StateError(f"The state key can be read by everybody: {path}. Run: chmod 600 {path}")
    if not _HEX.match(text.decode("ascii", "replace")):
        raise StateError(
            f"{path} does not hold a state key: 64 hex digits are expected. Put it back from your copy. "
            "Nothing was overwritten."
        )
    return bytes.fromhex(text.decode("ascii"))


def _create(path: Path) -> None:
    """Makes the file, whole or not at all, and never over another one."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
        try:
            os.fchmod(descriptor, 0o600)
            os.write(descriptor, secrets.token_hex(32).encode() + b"\n")
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
        with contextlib.suppress(FileExistsError):  # another start was quicker: its key counts
            os.link(temporary, path)
        folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)
    except OSError as error:
        if disk.is_full(error):
            raise disk.full(StateError, path) from error
        raise StateError(f"The state key cannot be made: {path}: {error.strerror}.") from error
    finally:
        with contextlib.suppress(OSError):
            temporary.unlink()
