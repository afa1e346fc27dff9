"""The origin: nginx, which checks what the proxies tell it and counts requests exactly.

A request whose workspace-id is not that of its Host, or that lacks the forwarding fields, is answered 500. So the status
codes that the load generators count prove for every single request that it was routed rightly.
"""

from __future__ import annotations

import re
import socket
import sys
from pathlib import Path

import bench
from bench.children import Child, free_ports
from bench.cpu import read_tree
from bench.errors import BenchError
from bench.load.echo import COUNT_PATH
from bench.peers.base import stay_root
from bench.stage import Stage
from bench.traffic import DOMAIN, SMALL_BODY

SIZES = {"/64k/": 64 * 1024, "/1m/": 1024 * 1024}
"""Roots of paths, and the length of what is answered below them; elsewhere it is SMALL_BODY."""

WORKSPACE_FIELD = "x-bench-workspace"
PATH_FIELD = "x-bench-path"
UPLOAD_ROOT = "/upload/"
WEBSOCKET_ROOT = "/websocket/"

_CONFIG = """
{user}
daemon off;
worker_processes 1;
pid {folder}/nginx.pid;
error_log {folder}/error.log warn;
events {{ worker_connections 8192; }}
http {{
  access_log off;
  sendfile on;
  tcp_nopush on;
  tcp_nodelay on;
  keepalive_timeout 600s;
  keepalive_requests 1000000000;
  open_file_cache max=64 inactive=1h;
  client_body_buffer_size 128k;
  client_max_body_size 16m;
  client_body_temp_path {folder}/client;
  proxy_temp_path {folder}/proxy;
  fastcgi_temp_path {folder}/fastcgi;
  uwsgi_temp_path {folder}/uwsgi;
  scgi_temp_path {folder}/scgi;
  map "$host $http_workspace_id $http_x_forwarded_proto $http_x_forwarded_for" $known {{
    default 0;
    "~^cust(?<n>[0-9]+)\\.{domain} ws_\\k<n> https 127\\.0\\.0\\.1$" 1;
  }}
  server {{
    listen 127.0.0.1:{port} backlog=4096;
    add_header {workspace_field} $http_workspace_id always;
    add_header {path_field} $request_uri always;
    if ($known = 0) {{ return 500 "$host $http_workspace_id $http_x_forwarded_proto $http_x_forwarded_for\\n"; }}
    location / {{ return 200 "$http_workspace_id {padding}"; }}
    location /64k/ {{ rewrite ^ /files/64k break; root {folder}; }}
    location /1m/ {{ rewrite ^ /files/1m break; root {folder}; }}
    # A bare `return` answers before the body has come. The mirror module reads all of it first; the static handler then
    # refuses the POST, and that answer is replaced.
    location {upload_root} {{ mirror /mirrored; rewrite ^ /files/64k break; root {folder}; error_page 405 =200 @taken; }}
    location {websocket_root} {{
      proxy_pass http://unix:{echo}:;
      proxy_http_version 1.1;
      proxy_set_header Upgrade $http_upgrade;
      proxy_set_header Connection upgrade;
    }}
    location @taken {{ return 200 "$http_workspace_id {padding}"; }}
    location = /mirrored {{ internal; return 204; }}
  }}
  server {{
    listen unix:{status};
    location / {{ stub_status; }}
  }}
}}
"""


class Origin:
    """The running origin."""

    def __init__(self, port: int, child: Child, status: Path, echo: Path) -> None:
        self.port = port
        self._child = child
        self._status = status
        self._echo = echo
        self._asked = 0

    def processes(self) -> list[int]:
        """Those that answer."""
        return list(read_tree(self._child.pid))

    def requests(self) -> int:
        """Requests answered or begun since the start, those of this method not counted."""
        self._child.check_alive()
        answer = _ask(self._status, "/")
        self._asked += 1
        return parse_stub_status(answer) - self._asked

    def messages(self) -> int:
        """Messages of WebSockets that were said back since the start."""
        return int(_ask(self._echo, COUNT_PATH).rpartition("\r\n\r\n")[2])


def _ask(path: Path, target: str) -> str:
    """One request to a Unix socket: the whole answer."""
    with socket.socket(socket.AF_UNIX) as connection:
        connection.settimeout(10)
        connection.connect(str(path))
        connection.sendall(f"GET {target} HTTP/1.0\r\n\r\n".encode())
        answer = b""
        while piece := connection.recv(4096):
            answer += piece
    return answer.decode()


def parse_stub_status(text: str) -> int:
    """The number of requests in what nginx's stub_status prints; raises BenchError where there is none."""
    match = re.search(r"server accepts handled requests\s+\d+ \d+ (\d+)", text)
    if match is None:
        raise BenchError(f"The origin's status is not understood: {text[:200]!r}")
    return int(match[1])


async def start_origin(stage: Stage) -> Origin:
    """Starts nginx as the origin, on the load generators' core."""
    folder = stage.folder("origin")
    (folder / "files").mkdir(exist_ok=True)
    for root, size in SIZES.items():
        (folder / "files" / root.strip("/")).write_bytes((b"0123456789abcdef" * (size // 16))[:size])
    status, echo = stage.socket_path("status.sock"), stage.socket_path("echo.sock")
    port = free_ports(1)[0]
    config = folder / "nginx.conf"
    config.write_text(
        _CONFIG.format(
            user=stay_root(),
            folder=folder,
            port=port,
            status=status,
            domain=DOMAIN.replace(".", "\\."),
            padding="." * (SMALL_BODY - len("ws_00 ")),
            workspace_field=WORKSPACE_FIELD,
            path_field=PATH_FIELD,
            upload_root=UPLOAD_ROOT,
            websocket_root=WEBSOCKET_ROOT,
            echo=echo,
        )
    )
    environment = {"PYTHONPATH": str(Path(bench.__file__).parents[1])}
    await stage.start_other("echo", [sys.executable, "-m", "bench.load.echo", "--socket", str(echo)], environment)
    child = await stage.start_other("origin", ["nginx", "-p", str(folder), "-e", str(folder / "error.log"), "-c", str(config)])
    await child.wait_listening(port)
    return Origin(port, child, status, echo)
