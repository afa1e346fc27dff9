"""Caddy."""

from __future__ import annotations

from bench.children import free_ports
from bench.peers.base import Peer, version_text
from bench.stage import Stage

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
    child = await stage.start_proxy(
        "caddy",
        ["caddy", "run", "--adapter", "caddyfile", "--config", str(config)],
        {"GOMAXPROCS": "1", "XDG_DATA_HOME": str(folder), "XDG_CONFIG_HOME": str(folder)},
    )
    await child.wait_listening(port)
    version = (await version_text("caddy", "version")).split()[0]
    return Peer(name="Caddy", version=version, port=port, root_file=stage.authority.root_file, child=child)
