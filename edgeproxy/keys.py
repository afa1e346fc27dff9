"""The root of all keys at rest, and the one key per purpose that is derived from it.

Losing the root loses every private key in the store and the map, so it is made once, replaced by `control.rekey` alone, and a
state directory that holds a store without its root is an error rather than a reason to make a new one.
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

Purpose = Literal["map", "store", "acme", "backup", "proofs"]

KEY_FILE = "state.key"
COMING, FORMER = ".new", ".old"
"""Behind the name of the key's file, while the key is changed."""
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
        if path.with_name(path.name + COMING).exists():
            raise StateError(
                f"A change of the state key was interrupted: {path}{COMING} is there. Run `edgeproxy state rotate-key`, which "
                "finishes it; nothing is lost."
            )
        return key
    store = store_path(config, state_directory)
    if store.exists():
        raise StateError(
            f"The state key is missing: {path}. {store} exists, and the private keys in it open under its own state key "
            f"alone. Put the key back from your copy; or, if it is lost for good, move {store} and "
            f"{state_directory / 'published'} away, which loses all certificates and registered domains."
        )
    if not may_create:
        raise StateError(f"The state key is missing: {path}. It is made when the edge starts for the first time.")
    _create(path)
    key = _read(path, strict=not text)
    if key is None:
        raise StateError(f"The state key was made but is gone again: {path}. Check who else writes there.")
    return key


class KeyFile:
    """The file of the state key, and what is beside it while the key is changed (`control.rekey` says in which order)."""

    def __init__(self, path: Path, *, strict: bool) -> None:
        self.path = path
        self.coming = path.with_name(path.name + COMING)
        """The key that is to take its place. While it is there no edge starts."""
        self.former = path.with_name(path.name + FORMER)
        """The key whose place was taken, until everything was opened under its successor."""
        self._strict = strict

    def read(self) -> bytes:
        """The key; raises StateError where there is none."""
        key = _read(self.path, strict=self._strict)
        if key is None:
            raise StateError(f"The state key is missing: {self.path}. Put it back from your copy.")
        return key

    def read_coming(self) -> bytes | None:
        """The key that is to take its place; None where there is none."""
        return _read(self.coming, strict=False)

    def make_coming(self) -> bytes:
        """Makes it, of the present one's owner and mode. Raises StateError where the folder cannot be written."""
        key = secrets.token_bytes(32)
        _write(self.coming, key, like=self.path)
        return key

    def set_aside(self) -> None:
        """Keeps a copy of the present key as `former`."""
        present = self.read()
        if _read(self.former, strict=False) != present:
            with contextlib.suppress(FileNotFoundError):
                self.former.unlink()
            _write(self.former, present, like=self.path)

    def take_over(self) -> None:
        """Has the coming key take the place of the present one, at once or not at all."""
        try:
            self.coming.replace(self.path)
            _sync_folder(self.path)
        except OSError as error:
            raise StateError(f"The state key cannot be replaced: {self.path}: {error.strerror}.") from error

    def destroy_former(self) -> None:
        """Deletes the former key."""
        try:
            self.former.unlink(missing_ok=True)
            _sync_folder(self.path)
        except OSError as error:
            raise StateError(f"The old state key cannot be deleted: {self.former}: {error.strerror}. Delete it.") from error


def key_file(config: Config, state_directory: Path) -> KeyFile:
    """The file of the state key. Raises StateError where the key is no file: then nobody but its owner can change it."""
    text = config.state.key.strip()
    if text and not text.startswith("file:"):
        raise StateError(
            "The state key is in the configuration itself (state.key), which this program does not write. Put it into a file "
            'of its own, mode 0600, and write state.key = "file:PATH"; then run this again.'
        )
    return KeyFile(Path(text.removeprefix("file:")) if text else state_directory / KEY_FILE, strict=not text)


def copy_key(key: bytes, path: Path) -> None:
    """Writes a key into a new file (0600). Raises StateError, also where something is there."""
    if path.exists():
        raise StateError(f"{path} exists, and is not overwritten. Name another file for the copy of the old key.")
    _write(path, key, what="copy of the old key")


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
    """Makes the file with a new key, and never over another one."""
    _write(path, secrets.token_bytes(32))


def _write(path: Path, key: bytes, *, like: Path | None = None, what: str = "state key") -> None:
    """Makes a key's file, whole or not at all, and never over another one: of the owner and mode of `like`, else 0600."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
        try:
            os.fchmod(descriptor, 0o600)
            os.write(descriptor, key.hex().encode() + b"\n")
            if like is not None:
                model = like.stat()
                os.fchown(descriptor, model.st_uid, model.st_gid)
                os.fchmod(descriptor, stat.S_IMODE(model.st_mode))
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
        with contextlib.suppress(FileExistsError):  # another start was quicker: its key counts
            os.link(temporary, path)
        _sync_folder(path)
    except OSError as error:
        if disk.is_full(error):
            raise disk.full(StateError, path) from error
        raise StateError(f"The {what} cannot be made: {path}: {error.strerror}.") from error
    finally:
        with contextlib.suppress(OSError):
            temporary.unlink()


def _sync_folder(path: Path) -> None:
    folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)
