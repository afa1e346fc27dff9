"""The program on its machine: as whom it runs, how many processes, and where it keeps what."""

from __future__ import annotations

from pathlib import Path

from edgeproxy.config.section import Section


class Process(Section, frozen=True):
    """As whom the processes run."""

    user: str = ""
    """Whom the controller becomes when the program is started as root. Empty: it stays, with a warning."""

    worker_user: str = ""
    """Whom the workers become. Empty: the same as `user`."""

    group: str = ""
    """The group of the admin socket and of the published map. Empty: the user's own."""


class State(Section, frozen=True):
    """Where the edge keeps what must survive a restart."""

    directory: str = "/var/lib/edgeproxy"
    """Database, published map, internal CA."""

    key: str = ""
    """The root of all keys at rest: the key itself (64 hex digits), or "file:PATH". A missing file is made on the first
    start only, mode 0600. Empty: `state.key` in the state directory. Keep a copy elsewhere: without it every private key
    is lost."""

    def __repr__(self) -> str:
        return f"State(directory={self.directory!r})"


class Store(Section, frozen=True):
    """The database."""

    url: str = "sqlite:///edgeproxy.db"
    """`sqlite:///FILE`, relative to `state.directory`. PostgreSQL comes with clusters and is refused until then."""


class Workers(Section, frozen=True):
    """The data plane's processes."""

    count: int = 0
    """0: one per core."""


class Admin(Section, frozen=True):
    """The admin socket."""

    socket: str = "/run/edgeproxy/admin.sock"
    """Unix socket for the CLI and for `curl --unix-socket`: mode 0660, open to root, the service's user and members of
    its group. Beside it is api.sock, open to the edge's workers alone, who bring there what comes for `api.hostname`."""

    @property
    def api_socket(self) -> str:
        """The path of that one."""
        return str(Path(self.socket).absolute().with_name("api.sock"))
