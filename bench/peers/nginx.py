"""nginx."""

from __future__ import annotations

from bench.children import free_ports
from bench.peers.base import Peer, stay_root, version_text
from bench.stage import Stage
from bench.traffic import Tenant

# Buffers: the default ones of 4 KB cost it 12 % at 64 KB and more, so it gets larger ones.
_CONFIG = """
{user}
daemon off;
worker_processes 1;
pid {folder}/nginx.pid;
error_log {folder}/error.log warn;
events {{ worker_connections 8192; }}
http {{
  access_log off;
  tcp_nodelay on;
  server_names_hash_bucket_size 128;
  map_hash_bucket_size 128;
  keepalive_timeout 75s;
  keepalive_requests 1000000000;
  client_body_buffer_size 128k;
  client_max_body_size 16m;
  client_body_temp_path {folder}/client;
  proxy_temp_path {folder}/proxy;
  fastcgi_temp_path {folder}/fastcgi;
  uwsgi_temp_path {folder}/uwsgi;
  scgi_temp_path {folder}/scgi;
  ssl_protocols TLSv1.2 TLSv1.3;
  ssl_ecdh_curve X25519:prime256v1;
  ssl_conf_command Ciphersuites TLS_AES_128_GCM_SHA256:TLS_AES_256_GCM_SHA384;
  ssl_session_cache shared:sessions:10m;
  ssl_session_tickets on;
  map $host $workspace {{
{workspaces}
  }}
  upstream origin {{
    server 127.0.0.1:{origin};
    keepalive 512;
    keepalive_requests 1000000000;
    keepalive_timeout 600s;
  }}
  proxy_http_version 1.1;
  proxy_set_header Host $host;
  proxy_set_header Connection "";
  proxy_set_header workspace-id $workspace;
  proxy_set_header x-forwarded-for $remote_addr;
  proxy_set_header x-forwarded-proto $scheme;
  proxy_buffer_size 16k;
  proxy_buffers 16 64k;
  proxy_busy_buffers_size 256k;
  proxy_max_temp_file_size 0;
{servers}
}}
"""

_SERVER = """
  server {{
    listen 127.0.0.1:{port} ssl http2 backlog=4096;
    server_name {hostname};
    ssl_certificate {certificate};
    ssl_certificate_key {key};
    location / {{ proxy_pass http://origin; }}
    location /websocket/ {{
      proxy_pass http://origin;
      proxy_set_header Host $host;
      proxy_set_header Upgrade $http_upgrade;
      proxy_set_header Connection upgrade;
      proxy_set_header workspace-id $workspace;
      proxy_set_header x-forwarded-for $remote_addr;
      proxy_set_header x-forwarded-proto $scheme;
    }}
  }}"""


def _server(stage: Stage, tenant: Tenant, port: int, first: bool) -> str:
    certificate, key = stage.authority.leaf(tenant.hostname)
    text = _SERVER.format(port=port, hostname=tenant.hostname, certificate=certificate, key=key)
    return text if first else text.replace(" backlog=4096", "")  # nginx takes options of one address only once


async def start(stage: Stage, origin_port: int) -> Peer:
    """Starts nginx with a server block and a certificate per tenant."""
    folder = stage.folder("nginx")
    port = free_ports(1)[0]
    config = folder / "nginx.conf"
    config.write_text(
        _CONFIG.format(
            user=stay_root(),
            folder=folder,
            origin=origin_port,
            workspaces="\n".join(f"    {tenant.hostname} {tenant.workspace};" for tenant in stage.tenants),
            servers="".join(_server(stage, tenant, port, n == 0) for n, tenant in enumerate(stage.tenants)),
        )
    )
    child = await stage.start_proxy("nginx", ["nginx", "-p", str(folder), "-e", str(folder / "error.log"), "-c", str(config)])
    await child.wait_listening(port)
    version = (await version_text("nginx", "-v")).rpartition("/")[2]
    return Peer(name="nginx", version=version, port=port, root_file=stage.authority.root_file, child=child)
