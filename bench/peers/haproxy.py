"""HAProxy."""

from __future__ import annotations

from bench.children import free_ports
from bench.peers.base import Peer, version_text
from bench.stage import Stage

# Without prefer-client-ciphers it picks AES-256. http-reuse always: a client's first request goes over a pooled
# connection too, as it does in the others.
_CONFIG = """
global
  nbthread 1
  maxconn 8192
  tune.pool-high-fd-ratio 90
  ssl-default-bind-ciphersuites TLS_AES_128_GCM_SHA256:TLS_AES_256_GCM_SHA384
  ssl-default-bind-curves X25519:P-256
  ssl-default-bind-options ssl-min-ver TLSv1.2 prefer-client-ciphers

defaults
  mode http
  timeout connect 5s
  timeout client 75s
  timeout server 60s
  timeout http-keep-alive 75s
  http-reuse always

frontend edge
  bind 127.0.0.1:{port} backlog 4096 ssl strict-sni crt {folder}/certificates alpn h2,http/1.1
  http-request set-header workspace-id %[req.hdr(host),lower,map({folder}/workspaces.map)]
  http-request set-header x-forwarded-for %[src]
  http-request set-header x-forwarded-proto https
  default_backend origin

backend origin
  server origin 127.0.0.1:{origin} pool-max-conn 512 pool-purge-delay 60s
"""


async def start(stage: Stage, origin_port: int) -> Peer:
    """Starts HAProxy with a certificate per tenant and a map file."""
    folder = stage.folder("haproxy")
    bundles = stage.folder("haproxy/certificates")
    port = free_ports(1)[0]
    for tenant in stage.tenants:
        certificate, key = stage.authority.leaf(tenant.hostname)
        bundle = bundles / f"{tenant.hostname}.pem"
        bundle.touch(mode=0o600)
        bundle.write_bytes(certificate.read_bytes() + key.read_bytes())
    (folder / "workspaces.map").write_text("".join(f"{tenant.hostname} {tenant.workspace}\n" for tenant in stage.tenants))
    config = folder / "haproxy.cfg"
    config.write_text(_CONFIG.format(folder=folder, port=port, origin=origin_port))
    child = await stage.start_proxy("haproxy", ["haproxy", "-db", "-f", str(config)])
    await child.wait_listening(port)
    words = (await version_text("haproxy", "-v")).split()
    version = words[2] if len(words) > 2 else "unknown"
    return Peer(name="HAProxy", version=version, port=port, root_file=stage.authority.root_file, child=child)
