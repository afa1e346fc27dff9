"""What load generators have in common: commands to run, and what they say at their end."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from pathlib import Path

import bench
from bench.peers.base import Peer
from bench.stage import Stage


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class LoadReport:
    """What one load process counted over its life."""

    succeeded: int
    """Answers with a status of 2xx."""
    failures: dict[str, int]
    """What went wrong, by kind; all counts above zero."""
    bytes_read: int = 0
    seconds: tuple[float, ...] = ()
    """How long single things took, where the process was asked for that."""
    late: tuple[float, ...] = ()
    """By how much the process itself began them too late."""


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class LoadCommand:
    """One load process."""

    name: str
    command: Sequence[str]
    parse: Callable[[str], LoadReport]
    """Reads its output; raises BenchError where it is not what was expected."""


Plan = Callable[[Stage, Peer, float], list[LoadCommand]]
"""The load processes that together visit all tenants on a peer for so many seconds."""


def client_environment(stage: Stage) -> dict[str, str]:
    """Lets our own modules be found, and has every OpenSSL client offer TLS 1.3 with AES-128-GCM and X25519 only.

    wrk has no option for it, and a server left to choose would choose differently from its neighbour.
    """
    config = stage.work / "openssl.cnf"
    if not config.exists():
        config.write_text(
            "openssl_conf = all\n[all]\nssl_conf = ssl\n[ssl]\nsystem_default = clients\n[clients]\n"
            "MinProtocol = TLSv1.3\nCiphersuites = TLS_AES_128_GCM_SHA256\nGroups = X25519\n"
        )
    return {"OPENSSL_CONF": str(config), "PYTHONPATH": str(Path(bench.__file__).parents[1])}


def merge(reports: Sequence[LoadReport]) -> LoadReport:
    """All counts added up."""
    failures: dict[str, int] = {}
    for report in reports:
        for kind, count in report.failures.items():
            failures[kind] = failures.get(kind, 0) + count
    return LoadReport(
        succeeded=sum(report.succeeded for report in reports),
        failures=failures,
        bytes_read=sum(report.bytes_read for report in reports),
    )


def write_once(path: Path, text: str) -> Path:
    """Writes a generator's input unless an earlier round has."""
    if not path.exists():
        path.write_text(text)
    return path
