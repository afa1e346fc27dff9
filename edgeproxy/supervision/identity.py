"""As whom children run, and what they give up: users, groups, capabilities, core dumps, new privileges."""

from __future__ import annotations

import ctypes
import dataclasses
import grp
import os
import pwd
import resource
import struct
from collections.abc import Iterable

from edgeproxy.config.machine import Process
from edgeproxy.errors import ConfigError, StartError

_PR_SET_PDEATHSIG = 1
_PR_SET_DUMPABLE = 4
_PR_SET_NAME = 15
_PR_SET_NO_NEW_PRIVS = 38
_CAPABILITY_VERSION_3 = 0x20080522


@dataclasses.dataclass(frozen=True, slots=True)
class Identity:
    """A user to become."""

    name: str
    uid: int
    gid: int
    groups: tuple[int, ...]


@dataclasses.dataclass(frozen=True, slots=True)
class Identities:
    """Whom the controller and the workers become; None: they stay who the supervisor is."""

    controller: Identity | None
    worker: Identity | None

    @property
    def separated(self) -> bool:
        """Whether workers run as another user than the controller, so that they need the group to read the map."""
        return self.controller is not None and self.worker is not None and self.controller.uid != self.worker.uid

    @property
    def owner(self) -> tuple[int, int]:
        """Uid and gid of the state directory and the admin socket; -1 leaves as it is (os.chown)."""
        return (self.controller.uid, self.controller.gid) if self.controller else (-1, -1)


def identities(process: Process) -> Identities:
    """Looks up `[process]`. Raises ConfigError for a user or group that does not exist, or that cannot be become."""
    group = _group(process.group) if process.group else None
    if os.geteuid() != 0:
        for key, name in (("process.user", process.user), ("process.worker_user", process.worker_user)):
            if name and _user(key, name).pw_uid != os.geteuid():
                raise ConfigError(
                    f"{key}: the program was started as {_own_name()}, who cannot become {name!r}. "
                    f"Start it as root or as {name!r}, or leave {key} empty."
                )
        if group is not None and group not in (os.getegid(), *os.getgroups()):
            raise ConfigError(
                f"process.group: {_own_name()} is not a member of {process.group!r}. Add the user to it, or leave it empty."
            )
        gid = os.getegid() if group is None else group
        own = Identity(_own_name(), os.geteuid(), gid, tuple(os.getgroups()))
        return Identities(own, own) if group is not None else Identities(None, None)
    if not process.user and not process.worker_user and group is None:
        return Identities(None, None)
    controller = _identity("process.user", process.user or "root", group, ())
    worker_name = process.worker_user or process.user or "root"
    shared = (controller.gid,) if worker_name != controller.name else ()
    return Identities(controller, _identity("process.worker_user", worker_name, None if shared else group, shared))


def become(identity: Identity | None) -> None:
    """Drops this process to that user, for good, and whatever else a child does not need. OSError where it fails.

    Without an identity the process keeps its user; capabilities are dropped unless it is root's.
    """
    if identity is not None and os.geteuid() == 0:
        os.setgroups(identity.groups)
        os.setresgid(identity.gid, identity.gid, identity.gid)
        os.setresuid(identity.uid, identity.uid, identity.uid)
    _prctl(_PR_SET_NO_NEW_PRIVS, 1)
    if os.geteuid() != 0:
        _drop_capabilities()
    forbid_core_dumps()


def require_readable(files: Iterable[str]) -> None:
    """Raises StartError unless this process, which has become another user, may read these modules' files: what is imported
    later would fail then, in the middle of something.
    """
    for file in files:
        if not os.access(file, os.R_OK):
            raise StartError(
                f"The user {_own_name()} may not read the program's own files: {file}. Install Python and edgeproxy where "
                "every user may read them (/usr, /opt), not below a home directory.",
                retryable=False,
            )


def forbid_core_dumps() -> None:
    """No core dump, and no other process of this user may read this one's memory: it holds keys."""
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    _prctl(_PR_SET_DUMPABLE, 0)


def die_with_parent(signal_number: int, parent: int) -> bool:
    """Has the kernel send this signal when the parent ends. To be called after `become`, which would undo it.

    False when the parent, of this pid, is gone already.
    """
    _prctl(_PR_SET_PDEATHSIG, signal_number)
    return os.getppid() == parent


def name_process(name: str) -> None:
    """What ps and top show; the kernel keeps 15 bytes."""
    buffer = ctypes.create_string_buffer(name.encode()[:15])
    _prctl(_PR_SET_NAME, ctypes.addressof(buffer))


def raise_descriptor_limit() -> int:
    """As many descriptors as this user may have: the limit that holds now."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != hard:
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    return hard


def _identity(key: str, name: str, group: int | None, also: tuple[int, ...]) -> Identity:
    user = _user(key, name)
    gid = user.pw_gid if group is None else group
    groups = {*os.getgrouplist(user.pw_name, gid), *also}
    return Identity(user.pw_name, user.pw_uid, gid, tuple(sorted(groups)))


def _user(key: str, name: str) -> pwd.struct_passwd:
    try:
        return pwd.getpwnam(name)
    except KeyError:
        raise ConfigError(
            f"{key}: there is no user {name!r} on this machine. Make one: useradd --system --no-create-home {name}"
        ) from None


def _group(name: str) -> int:
    try:
        return grp.getgrnam(name).gr_gid
    except KeyError:
        raise ConfigError(
            f"process.group: there is no group {name!r} on this machine. Make one: groupadd --system {name}"
        ) from None


def _own_name() -> str:
    try:
        return pwd.getpwuid(os.geteuid()).pw_name
    except KeyError:  # containers run as uids without a name
        return f"uid {os.geteuid()}"


def _drop_capabilities() -> None:
    """Empty sets, also the inheritable one; the ambient ones go with them (capabilities(7))."""
    header = ctypes.create_string_buffer(struct.pack("=Ii", _CAPABILITY_VERSION_3, 0))
    data = ctypes.create_string_buffer(24)
    if _libc().capset(header, data) != 0:
        raise OSError(ctypes.get_errno(), "capset")


def _prctl(option: int, argument: int) -> None:
    unused = ctypes.c_ulong(0)
    if _libc().prctl(ctypes.c_int(option), ctypes.c_ulong(argument), unused, unused, unused) != 0:
        number = ctypes.get_errno()
        raise OSError(number, f"prctl({option}): {os.strerror(number)}")


def _libc() -> ctypes.CDLL:
    try:
        return ctypes.CDLL(None, use_errno=True)
    except OSError as error:
        raise StartError(f"The C library cannot be loaded: {error}.") from None
