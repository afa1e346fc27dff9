"""The sockets that the supervisor binds, holds for its whole life and hands to its children.

One listening socket per address: all workers accept from it, so what waits to be accepted is lost neither when a worker
dies nor when it is replaced.
"""

from __future__ import annotations

import contextlib
import dataclasses
import errno
import os
import socket
import stat
import time
from collections.abc import Callable, Iterable
from pathlib import Path

from edgeproxy.config.rules.addresses import socket_address
from edgeproxy.config.structs import Config
from edgeproxy.errors import StartError, StateError
from edgeproxy.limits import LISTEN_BACKLOG
from edgeproxy.supervision import holder
from edgeproxy.supervision.identity import Identities

RETRY = 2.0
"""Seconds for which an address in use is tried again: workers of a supervisor that was killed are closing theirs."""

UDP = "/udp"
"""Behind the address of a socket for datagrams, where addresses stand for sockets."""

_PAUSE = 0.02
_IP_PKTINFO = 8  # ip(7); Python 3.11 does not name it
_UNIX_PATH = 107
"""Bytes of a path in struct sockaddr_un."""


class PortRefused(StartError):
    """A port cannot be had. `what` says why and `role` for what it was wanted, for whoever has other advice than `detail`."""

    def __init__(self, role: str, what: str, cure: str, code: str) -> None:
        super().__init__(f"{what} {cure}", code=code)
        self.role = role
        self.what = what


@dataclasses.dataclass(frozen=True, slots=True)
class Wanted:
    """A socket that the configuration asks for."""

    role: str
    """"https HOST:PORT", "http HOST:PORT" (workers'); "dns udp HOST:PORT", "dns tcp HOST:PORT", "metrics", "admin", "api" (the
    controller's)."""
    address: str
    """HOST:PORT, or the path of a Unix socket."""
    mode: int = 0
    """Of a Unix socket."""
    owner: tuple[int, int] = (-1, -1)

    @property
    def is_unix(self) -> bool:
        """Whether `address` is a path."""
        return self.address.startswith("/")

    @property
    def is_udp(self) -> bool:
        """Whether it is for datagrams."""
        return self.role.startswith("dns udp ")

    @property
    def name(self) -> str:
        """The address with what else makes a socket: TCP and UDP have the same ports side by side."""
        return f"{self.address}{UDP}" if self.is_udp else self.address

    @property
    def for_workers(self) -> bool:
        """Whether workers get it; else the controller does."""
        return self.role.startswith(("https ", "http "))


def wanted(config: Config, identities: Identities) -> list[Wanted]:
    """All sockets of a configuration."""
    admin = Path(config.admin.socket).absolute()
    worker = (identities.worker.uid, identities.worker.gid) if identities.worker else (-1, -1)
    sockets = [Wanted(f"https {address}", address) for address in config.listen.https]
    sockets += [Wanted(f"http {address}", address) for address in config.listen.http]
    sockets += [Wanted(f"dns {kind} {address}", address) for address in config.dns.listen for kind in ("udp", "tcp")]
    if config.metrics.listen:
        sockets.append(Wanted("metrics", config.metrics.listen))
    sockets.append(Wanted("admin", str(admin), 0o660, identities.owner))
    sockets.append(Wanted("api", config.admin.api_socket, 0o600, worker))
    return sockets


class Listeners:
    """The bound sockets, by `Wanted.name`."""

    def __init__(self, activated: Iterable[socket.socket] = ()) -> None:
        """`activated`: what systemd opened; taken where an address asks for it, see `unused`."""
        self._activated = {name: sock for sock in activated if (name := bound_name(sock))}
        self._held: dict[str, socket.socket] = {}
        self._wanted: list[Wanted] = []
        self._made: set[str] = set()
        self.skipped: list[str] = []
        """Why an address of the last `prepare` is not listened on although that is no fault."""

    @property
    def roles(self) -> list[str]:
        """What is listened on now: "https HOST:PORT", "admin /path"."""
        return [_shown(each) for each in self._wanted if each.name in self._held]

    @property
    def unused(self) -> list[str]:
        """Addresses of sockets that systemd opened and no configuration asked for."""
        return sorted(self._activated)

    def worker_sockets(self, wants: Iterable[Wanted]) -> dict[str, socket.socket]:
        """For `WorkerStart.sockets`."""
        return {each.role: self._held[each.name] for each in wants if each.for_workers and each.name in self._held}

    def controller_sockets(self, wants: Iterable[Wanted]) -> dict[str, socket.socket]:
        """For the controller's `ChildStart.sockets`."""
        return {each.role: self._held[each.name] for each in wants if not each.for_workers and each.name in self._held}

    def all(self) -> list[socket.socket]:
        """Every socket held, also systemd's unused: a child closes those that are not its own."""
        return [*self._held.values(), *self._activated.values()]

    def prepare(self, wants: list[Wanted], retry: float = RETRY, pause: Callable[[float], None] | None = None) -> list[str]:
        """Binds what is not held yet, all or nothing; returns the addresses that are new.

        Addresses in use are tried again for `retry` seconds. Raises StartError saying which address, why, and what to do;
        everything bound by this call is closed again then.
        """
        deadline = time.monotonic() + retry
        new: list[str] = []
        self.skipped = []
        try:
            for each in wants:
                if each.name not in self._held and self._bind(each, deadline, pause or _pause):
                    new.append(each.name)  # noqa: PERF401 - what was bound before a failure must be known
        except BaseException:
            self.drop(new)
            raise
        return new

    def commit(self, wants: list[Wanted]) -> list[str]:
        """These are in effect from now on: what is not among them is closed. Returns the addresses that went."""
        kept = {each.name for each in wants}
        gone = [name for name in self._held if name not in kept]
        self._wanted = list(wants)
        self.drop(gone)
        return gone

    def drop(self, names: Iterable[str]) -> None:
        """Closes these."""
        for name in list(names):
            sock = self._held.pop(name, None)
            if sock is not None:
                sock.close()
            if name in self._made:
                self._made.discard(name)
                with contextlib.suppress(OSError):
                    Path(name).unlink()

    def close_public(self) -> None:
        """Closes what visitors connect to: nobody new comes."""
        self.drop([each.name for each in self._wanted if each.for_workers])

    def close(self) -> None:
        """Closes everything, and removes the Unix sockets' files."""
        self.drop(list(self._held))
        for sock in self._activated.values():
            sock.close()
        self._activated.clear()

    def _bind(self, want: Wanted, deadline: float, pause: Callable[[float], None]) -> bool:
        sock = self._activated.pop(want.name, None)
        if sock is None and self._covered(want):
            self.skipped.append(f"{want.address} is served by systemd's socket for all addresses")
            return False
        while sock is None:
            try:
                sock = bind_unix(want) if want.is_unix else bind_udp(want.address) if want.is_udp else bind_tcp(want.address)
            except OSError as error:
                if error.errno == errno.EADDRINUSE and time.monotonic() < deadline:
                    pause(_PAUSE)
                    continue
                if want.address.startswith("[::]") and error.errno in (errno.EAFNOSUPPORT, errno.EADDRNOTAVAIL):
                    self.skipped.append(f"{want.address} is left out: this machine has no IPv6")
                    return False
                raise _refusal(want, error, self._held) from None
            if want.is_unix:
                self._made.add(want.address)
        sock.setblocking(False)
        if want.is_udp:
            _tell_destination(sock)
        else:
            sock.listen(LISTEN_BACKLOG)
        sock.set_inheritable(True)  # an upgrade re-executes the supervisor with its sockets
        self._held[want.name] = sock
        return True

    def _covered(self, want: Wanted) -> bool:
        """systemd's [::]:443 takes IPv4 too, unless told otherwise: then 0.0.0.0:443 is ours already."""
        if not want.address.startswith("0.0.0.0:"):
            return False
        name = "[::]:" + want.name.rpartition(":")[2]
        sock = self._activated.get(name) or self._held.get(name)
        return sock is not None and sock.getsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY) == 0


def bind_tcp(address: str) -> socket.socket:
    """A bound TCP socket; raises OSError."""
    host, port = socket_address(address)
    sock = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET, socket.SOCK_STREAM)
    try:
        # For addresses that old connections still hold. Not SO_REUSEPORT: another program of this user could then bind too.
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if sock.family == socket.AF_INET6:
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)  # accepted connections inherit it
        sock.bind((host, port))
        sock.listen(LISTEN_BACKLOG)  # here, since two may bind an address with SO_REUSEADDR and only listen() tells
    except OSError:
        sock.close()
        raise
    return sock


def bind_udp(address: str) -> socket.socket:
    """A bound UDP socket; raises OSError. Without SO_REUSEADDR, which would let another program bind it too."""
    host, port = socket_address(address)
    sock = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET, socket.SOCK_DGRAM)
    try:
        if sock.family == socket.AF_INET6:
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        sock.bind((host, port))
    except OSError:
        sock.close()
        raise
    return sock


def _tell_destination(sock: socket.socket) -> None:
    """Has the kernel say to which of this machine's addresses a datagram came: the answer must come from there. From now on,
    since what waits before somebody reads is told only then."""
    if sock.family == socket.AF_INET6:
        sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_RECVPKTINFO, 1)
    else:
        sock.setsockopt(socket.IPPROTO_IP, _IP_PKTINFO, 1)


def bind_unix(want: Wanted) -> socket.socket:
    """A bound Unix socket with its owner and mode; raises OSError. A socket file that nobody listens on is replaced."""
    path = Path(want.address)
    if len(os.fsencode(path)) > _UNIX_PATH:
        raise OSError(errno.ENAMETOOLONG, f"the path is longer than {_UNIX_PATH} bytes")
    _make_folder(path.parent, want.owner)
    _remove_stale(path)
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        before = os.umask(0o177)
        try:
            sock.bind(str(path))
        finally:
            os.umask(before)
        os.chown(path, *want.owner)
        path.chmod(want.mode)
    except OSError:
        sock.close()
        raise
    return sock


def bound_name(sock: socket.socket) -> str:
    """The `Wanted.name` that this socket would have; "" for other kinds."""
    name = sock.getsockname()
    if sock.type not in (socket.SOCK_STREAM, socket.SOCK_DGRAM):
        return ""
    kind = UDP if sock.type == socket.SOCK_DGRAM else ""
    if sock.family == socket.AF_INET:
        return f"{name[0]}:{name[1]}{kind}"
    if sock.family == socket.AF_INET6:
        return f"[{name[0]}]:{name[1]}{kind}"
    return str(name) if sock.family == socket.AF_UNIX and not kind else ""


def _make_folder(folder: Path, owner: tuple[int, int]) -> None:
    if not folder.is_dir():
        folder.mkdir(mode=0o750, parents=True)
        folder.chmod(0o750)
        os.chown(folder, *owner)


def _remove_stale(path: Path) -> None:
    """Removes a socket file that a process left behind; raises EADDRINUSE when somebody listens, EEXIST for another kind."""
    try:
        mode = path.lstat().st_mode
    except FileNotFoundError:
        return
    if not stat.S_ISSOCK(mode):
        raise FileExistsError(errno.EEXIST, "something else than a socket is there")
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.setblocking(False)
        try:
            probe.connect(str(path))
        except (ConnectionRefusedError, FileNotFoundError):
            with contextlib.suppress(FileNotFoundError):
                path.unlink()
            return
        except BlockingIOError:
            pass  # its backlog is full: somebody listens
    raise OSError(errno.EADDRINUSE, os.strerror(errno.EADDRINUSE))


def _refusal(want: Wanted, error: OSError, held: dict[str, socket.socket]) -> StartError | StateError:
    """The sentence for whoever has to cure it."""
    if want.is_unix:
        if error.errno == errno.EADDRINUSE:
            return StartError(
                f"The socket {want.address} is in use by another program. Stop that, or set admin.socket to another path."
            )
        if error.errno == errno.EEXIST:
            return StartError(
                f"The socket {want.address} cannot be made: {error.strerror}. Move that away, or set admin.socket to another "
                "path."
            )
        return StartError(
            f"The socket {want.address} cannot be made: {error.strerror}. Set admin.socket to a path in a folder that "
            "the user who starts the program may write, or make that folder."
        )
    host, port = socket_address(want.address)
    role = want.role.partition(" ")[0]
    key = f"{role}.listen" if role in ("metrics", "dns") else f"listen.{role}"
    if error.errno == errno.EADDRINUSE:
        own = next((name for name in held if _same_port(name, want, host, port)), None)
        if own is not None:
            return StartError(
                f"{want.address} overlaps {own}, which this program listens on. Change {key}, or restart for that."
            )
        who = holder.holder(host, port, udp=want.is_udp)
        return PortRefused(
            role,
            f"{'UDP port' if want.is_udp else 'Port'} {port} on {host} is in use by "
            f"{who or 'another program (whose, this user may not see)'}.",
            f"Stop that program, or change {key}.",
            "address_in_use",
        )
    if error.errno in (errno.EACCES, errno.EPERM):
        return PortRefused(
            role,
            f"This user may not listen on port {port} of {host}: ports below {_unprivileged_from()} need a permission.",
            "Start the program as root with process.user set, or grant it: AmbientCapabilities=CAP_NET_BIND_SERVICE in the "
            f"systemd unit, or for every program: sysctl -w net.ipv4.ip_unprivileged_port_start={port}",
            "port_not_permitted",
        )
    if error.errno == errno.EADDRNOTAVAIL:
        return StartError(f"This machine has no address {host}. Correct {key}, or use 0.0.0.0 or [::] for all addresses.")
    return StartError(f"{want.address} ({key}) cannot be listened on: {error.strerror}.")


def _same_port(name: str, want: Wanted, host: str, port: int) -> bool:
    """Whether the held socket `name` takes the place of one that is wanted."""
    if name.startswith("/") or name.endswith(UDP) != want.is_udp:
        return False
    name = name.removesuffix(UDP)
    other_host, other_port = socket_address(name)
    return other_port == port and holder.overlaps(other_host, host)


def _unprivileged_from() -> int:
    try:
        return int(Path("/proc/sys/net/ipv4/ip_unprivileged_port_start").read_text())
    except (OSError, ValueError):
        return 1024


def _shown(want: Wanted) -> str:
    return want.role if want.role.endswith(want.address) else f"{want.role} {want.address}"


def _pause(seconds: float) -> None:
    """There is nothing else to do at a start; an event loop does not run here."""
    time.sleep(seconds)  # noqa: TID251
