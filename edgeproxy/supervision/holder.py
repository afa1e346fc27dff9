"""Who listens on a port: for the error that a port is in use. Linux's /proc, as far as this user may see it."""

from __future__ import annotations

import ipaddress
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path

_LISTEN = "0A"
_UNCONNECTED = "07"
"""State of a UDP socket that takes datagrams from everybody."""


def listening_inodes(table: str, port: int, state: str = _LISTEN) -> list[tuple[str, int]]:
    """From the text of /proc/net/tcp or tcp6 (or udp, with its state): address and socket inode of everything that listens on
    the port. Pure."""
    found = []
    for line in table.splitlines()[1:]:
        fields = line.split()
        if len(fields) < 10 or fields[3] != state:
            continue
        address, _, hex_port = fields[1].rpartition(":")
        if int(hex_port, 16) == port:
            found.append((_address(address), int(fields[9])))
    return found


def overlaps(one: str, other: str) -> bool:
    """Whether two listening addresses exclude each other: the same, or one of them all addresses. Pure.

    An IPv6 wildcard that also takes IPv4 excludes IPv4 addresses, and what it does is not visible here: it counts.
    """
    first, second = ipaddress.ip_address(one), ipaddress.ip_address(other)
    if first == second or (first.version == second.version and (first.is_unspecified or second.is_unspecified)):
        return True
    return any(address.version == 6 and address.is_unspecified for address in (first, second))


def holder(host: str, port: int, proc: Path = Path("/proc"), *, udp: bool = False) -> str:
    """Like "process 812 (nginx)"; "" when nobody can be seen."""
    inodes = set()
    state = _UNCONNECTED if udp else _LISTEN
    for name in ("udp", "udp6") if udp else ("tcp", "tcp6"):
        try:
            table = (proc / "net" / name).read_text()
        except OSError:
            continue
        inodes |= {inode for address, inode in listening_inodes(table, port, state) if overlaps(address, host)}
    pids = sorted(_owners(proc, inodes)) if inodes else []
    if not pids:
        return ""
    pid = pids[0]
    return f"process {pid} ({_command(proc, pid)})"


def _owners(proc: Path, inodes: Iterable[int]) -> Iterator[int]:
    wanted = {f"socket:[{inode}]" for inode in inodes}
    for entry in proc.iterdir():
        if not entry.name.isdigit():
            continue
        try:
            descriptors = list((entry / "fd").iterdir())
        except OSError:  # another user's, or gone
            continue
        for descriptor in descriptors:
            try:
                target = str(descriptor.readlink())
            except OSError:
                continue
            if target in wanted:
                yield int(entry.name)
                break


def _command(proc: Path, pid: int) -> str:
    try:
        return (proc / str(pid) / "comm").read_text().strip()
    except OSError:
        return "?"


def _address(text: str) -> str:
    """The kernel prints 32-bit words in the machine's byte order."""
    words = [bytes.fromhex(text[at : at + 8]) for at in range(0, len(text), 8)]
    if sys.byteorder == "little":
        words = [word[::-1] for word in words]
    return str(ipaddress.ip_address(b"".join(words)))
