"""Caddy."""

from __future__ import annotations

from pathlib import Path

from bench.children import Child, free_ports
from bench.peers.base import Peer, version_text
from bench.stage import Stage

NAME = "Caddy"

_CONFIG = """
{{
  admin off
  auto_https disable_redirects
  storage file_system {folder}/storage
}}
{names} {{
  bind 127.0.0.1
  tls {{
    load {folder}/certificates
    curves x25519 secp256r1
  }}
  map {{host}} {{workspace}} {{
{workspaces}
  }}
  reverse_proxy 127.0.0.1:{origin} {{
    header_up workspace-id {{workspace}}
    transport http {{
      keepalive 600s
      keepalive_idle_conns 1024
      keepalive_idle_conns_per_host 512
      compression off
    }}
  }}
}}
"""

_ON_DEMAND = """
{{
  admin off
  http_port {http}
  https_port {https}
  storage file_system {folder}/storage
}}
https:// {{
  bind 127.0.0.1
  tls {{
    on_demand
    issuer acme {{
      dir {directory}
      trusted_roots {root}
    }}
  }}
  map {{host}} {{workspace}} {{
    ~^cust([0-9]+)\\.bench\\.test$ ws_${{1}}
  }}
  reverse_proxy 127.0.0.1:{origin} {{
    header_up workspace-id {{workspace}}
  }}
}}
"""


async def start(stage: Stage, origin_port: int) -> Peer:
    """Starts Caddy with a loaded certificate per tenant."""
    folder = stage.folder("caddy")
    bundles = stage.folder("caddy/certificates")
    port = free_ports(1)[0]
    for tenant in stage.tenants:
        certificate, key = stage.authority.leaf(tenant.hostname)
        bundle = bundles / f"{tenant.hostname}.pem"
        bundle.touch(mode=0o600)
        bundle.write_bytes(certificate.read_bytes() + key.read_bytes())
    config = folder / "Caddyfile"
    config.write_text(
        _CONFIG.format(
            folder=folder,
            names=", ".join(f"https://{tenant.hostname}:{port}" for tenant in stage.tenants),
            workspaces="\n".join(f"    {tenant.hostname} {tenant.workspace}" for tenant in stage.tenants),
            origin=origin_port,
        )
    )
    child = await _run(stage, "caddy", config)
    await child.wait_listening(port)
    version = (await version_text("caddy", "version")).split()[0]
    return Peer(name=NAME, version=version, port=port, root_file=stage.authority.root_file, child=child)


async def serve_on_demand(stage: Stage, ports: tuple[int, int, int], directory: str, root_file: Path) -> Child:
    """Starts Caddy on the https and http port given, for an origin on the third: certificates from an ACME CA at the first
    handshake, as its `on_demand` has it."""
    https, http, origin = ports
    folder = stage.folder("caddy-acme")
    config = folder / "Caddyfile"
    config.write_text(
        _ON_DEMAND.format(http=http, https=https, folder=folder, directory=directory, root=root_file, origin=origin)
    )
    child = await _run(stage, "caddy-acme", config)
    await child.wait_listening(https)
    return child


async def _run(stage: Stage, name: str, config: Path) -> Child:
    folder = str(config.parent)
    return await stage.start_proxy(
        name,
        ["caddy", "run", "--adapter", "caddyfile", "--config", str(config)],
        {"GOMAXPROCS": "1", "XDG_DATA_HOME": folder, "XDG_CONFIG_HOME": folder},
    )
