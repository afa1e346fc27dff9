"""dig, and a real resolver that asks our zone: unbound."""

from __future__ import annotations

import asyncio
import dataclasses
import subprocess
from collections.abc import Iterable, Mapping
from pathlib import Path
from types import TracebackType
from typing import Self

from edgeproxy import keys
from edgeproxy.config.machine import State
from edgeproxy.config.structs import Config
from edgeproxy.control.dns.zone import zone_label
from edgeproxy.control.store import Store
from edgeproxy.published.records import Challenge
from edgeproxy.published.seal import Sealer
from tests.integration.running import PATIENCE, wait_for
from tests.ports import free_port


@dataclasses.dataclass(frozen=True)
class Dug:
    """What dig printed."""

    status: str
    """NOERROR, NXDOMAIN …; "" where nobody answered."""
    flags: frozenset[str]
    answer: tuple[str, ...]
    """Lines of the answer section, fields separated by one space."""
    text: str

    @property
    def values(self) -> list[str]:
        """The records' data."""
        return sorted(line.split(" ", 4)[4] for line in self.answer)


def dig(port: int, *arguments: str, server: str = "127.0.0.1") -> Dug:
    """Asks a server on loopback."""
    command = ["dig", f"@{server}", "-p", str(port), "+time=5", "+tries=6", "+nocookie", *arguments]
    text = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE, check=False).stdout
    status, flags, section = "", "", ""
    answer = []
    for line in text.splitlines():
        if "->>HEADER<<-" in line:
            status = line.split("status: ")[1].split(",")[0]
        elif line.startswith(";; flags:"):
            flags = line.removeprefix(";; flags:").split(";")[0]
        elif line.startswith(";; ") and line.endswith("SECTION:"):
            section = line.split()[1]
        elif line and not line.startswith(";") and section == "ANSWER":
            answer.append(" ".join(line.split()))
    return Dug(status, frozenset(flags.split()), tuple(answer), text)


def put_challenges(state: Path, values: Mapping[str, Iterable[str]], *, remove: bool = False) -> None:
    """Writes what a CA shall find in the DNS into the store of a program, running or not: values by hostname. `remove`: has
    nothing there any more but these."""

    async def put() -> None:
        config = Config(state=State(directory=str(state)))
        root = keys.root_key(config, state, may_create=True)
        sealer, account_sealer = Sealer(keys.derive(root, "store")), Sealer(keys.derive(root, "acme"))
        store = await Store.open(config, state, sealer, account_sealer=account_sealer)
        try:
            for host, each in values.items():
                if remove:
                    for key in await store.keys_of("challenges", f"dns:{zone_label(host)}/", 1000):
                        if key.startswith(f"dns:{zone_label(host)}/"):
                            await store.delete_challenge(key, 1.0e10)
                for value in each:
                    await store.put_challenge(f"dns:{zone_label(host)}/{value}", Challenge(hostname=host), 1.0e10)
        finally:
            await store.close()

    state.mkdir(mode=0o700, parents=True, exist_ok=True)
    asyncio.run(put())


class Unbound:
    """A resolver on loopback that asks for `zone` at our port, has another zone with `records` itself, and knows nobody else.

    It writes the names in its questions in mixed case, and wants them back so (0x20). `tcp`: it asks by TCP only. `more`:
    further zones that it asks for, by their ports. `anchors`: keys or digests, as in zone files, by which it validates.
    `nameserver`: the address of the own zone's server, as it says.
    """

    def __init__(
        self,
        folder: Path,
        zone: str,
        zone_port: int,
        own: str,
        records: Iterable[str],
        *,
        tcp: bool = False,
        more: Mapping[str, int] | None = None,
        anchors: Iterable[str] = (),
        nameserver: str = "127.0.0.1",
    ) -> None:
        folder.mkdir(parents=True)
        self.port = free_port()
        self._log = folder / "unbound.log"
        self._process: subprocess.Popen[bytes] | None = None
        zonefile = folder / "own.zone"
        head = [
            f"{own}. 60 IN SOA ns.{own}. hostmaster.{own}. 1 60 60 60 1",
            f"{own}. 60 IN NS ns.{own}.",
            f"ns.{own}. 60 IN A {nameserver}",
        ]
        zonefile.write_text("\n".join([*head, *records, ""]))
        stubs = "\n".join(
            f'stub-zone:\n  name: "{name}"\n  stub-addr: 127.0.0.1@{port}'
            for name, port in ({zone: zone_port} | dict(more or {})).items()
        )
        trusted = "\n".join(f"  trust-anchor: '{each}'" for each in anchors)
        self._config = folder / "unbound.conf"
        self._config.write_text(f"""
server:
  interface: 127.0.0.1
  port: {self.port}
  do-daemonize: no
  use-syslog: no
  verbosity: 2
  chroot: ""
  username: ""
  directory: "{folder}"
  pidfile: ""
  num-threads: 1
  module-config: "{"validator iterator" if trusted else "iterator"}"
{trusted}
  do-not-query-localhost: no
  do-ip6: no
  use-caps-for-id: yes
  qname-minimisation: yes
  tcp-upstream: {"yes" if tcp else "no"}
  local-zone: "test." nodefault
remote-control:
  control-enable: no
{stubs}
auth-zone:
  name: "{own}"
  zonefile: "{zonefile}"
  for-downstream: no
  for-upstream: yes
""")

    def __enter__(self) -> Self:
        with self._log.open("wb") as log:
            self._process = subprocess.Popen(["unbound", "-d", "-c", str(self._config)], stdout=log, stderr=log)
        try:
            wait_for(self._answers, "unbound answers")
        except BaseException:
            self.__exit__(None, None, None)
            raise
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        if self._process is not None:
            self._process.terminate()
            try:
                self._process.wait(60)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()

    def ask(self, name: str, kind: str = "TXT", *options: str) -> Dug:
        """What it finds."""
        return dig(self.port, name, kind, *options)

    def _answers(self) -> bool:
        if self._process is not None and self._process.poll() is not None:
            raise AssertionError(f"unbound ended: {self._log.read_text(errors='replace')[-3000:]}")
        return bool(dig(self.port, "localhost", "A", "+time=1", "+tries=1").status)
