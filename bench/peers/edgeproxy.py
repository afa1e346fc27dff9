"""This program."""

from __future__ import annotations

import asyncio
import contextlib
import http.client
import json
import socket
import sys
from collections.abc import Sequence
from pathlib import Path

import bench
import edgeproxy
from bench.children import Child, free_ports
from bench.errors import BenchError
from bench.load.process import first_visits
from bench.peers.base import Peer
from bench.stage import Stage
from bench.traffic import Tenant

NAME = "Edgeproxy"
_PATIENCE = 30.0

_CONFIG = """\
[listen]
https = ["127.0.0.1:{https}"]
http = ["127.0.0.1:{http}"]

[state]
directory = "{folder}/state"

[workers]
count = {workers}

[admin]
socket = "{socket}"

[origin]
url = "http://127.0.0.1:{origin}"

[issuance]
{issuance}

[log]
access = "off"
"""

INTERNAL = 'directory = "internal"'


async def start(stage: Stage, origin_port: int, *, name: str = "edgeproxy", workers: int = 1) -> Peer:
    """Starts it with its own CA, and gets every tenant its certificate by a first visit."""
    https, http = free_ports(2)
    child = await serve(stage, name, (https, http, origin_port), INTERNAL, stage.tenants, workers=workers)
    root_file = stage.folder(name) / "state" / "internal-ca.pem"
    await _appears(root_file, child)
    await first_visits(stage, name, https, root_file, stage.tenants)
    return Peer(name=NAME, version=edgeproxy.__version__, port=https, root_file=root_file, child=child)


async def serve(
    stage: Stage,
    name: str,
    ports: tuple[int, int, int],
    issuance: str,
    tenants: tuple[Tenant, ...],
    *,
    workers: int = 1,
    program: Sequence[str] = ("edgeproxy",),
) -> Child:
    """Starts `edgeproxy serve` on the https and http port given, for an origin on the third, and registers the tenants.

    `issuance` is the body of that section of the configuration; `program` the module that is run, with what it takes before
    the command.
    """
    https = ports[0]
    folder = stage.folder(name)
    admin = stage.socket_path("admin.sock")
    config = write_config(folder, admin, ports, issuance, workers=workers)
    (folder / "state").mkdir(mode=0o700, exist_ok=True)
    child = await stage.start_proxy(
        name,
        [sys.executable, "-m", *program, "serve", "--config", str(config)],
        {"PYTHONPATH": str(Path(bench.__file__).parents[1])},
    )
    await child.wait_listening(https)
    await _appears(admin, child)
    for tenant in tenants:
        await _register(admin, tenant, child)
    return child


def write_config(folder: Path, admin: Path, ports: tuple[int, int, int], issuance: str, *, workers: int = 1) -> Path:
    """Writes the configuration for a program with its state in `folder`; see `serve`."""
    https, http, origin = ports
    config = folder / "edgeproxy.toml"
    config.write_text(
        _CONFIG.format(https=https, http=http, folder=folder, socket=admin, origin=origin, issuance=issuance, workers=workers)
    )
    return config


async def _appears(path: Path, child: Child) -> None:
    """Waits for a file that the child makes."""
    for _ in range(int(_PATIENCE / 0.02)):
        child.check_alive()
        if path.exists():
            return
        await asyncio.sleep(0.02)
    raise BenchError(f"{child.name} made no {path.name} within {_PATIENCE:.0f} s. Its log ends:\n{child.log_end()}")


async def _register(admin: Path, tenant: Tenant, child: Child) -> None:
    """Adds a domain over the admin socket, which takes connections before the controller is there to answer."""
    body = json.dumps({"domain": tenant.hostname, "workspace_id": tenant.workspace})
    status, answer = await asyncio.to_thread(_post, admin, "/api/v1/infrastructure/domains", body)
    if status != 201:
        raise BenchError(f"{tenant.hostname} was not registered: {status} {answer}\n{child.log_end()}")


def _post(admin: Path, path: str, body: str) -> tuple[int, str]:
    """One request to a Unix socket: status and body."""
    with contextlib.closing(http.client.HTTPConnection("localhost", timeout=_PATIENCE)) as connection:
        connection.sock = socket.socket(socket.AF_UNIX)
        connection.sock.settimeout(_PATIENCE)
        connection.sock.connect(str(admin))
        connection.request("POST", path, body, {"content-type": "application/json"})
        response = connection.getresponse()
        return response.status, response.read().decode(errors="replace")
