"""A real nginx as the origin behind the edge, with a configuration of its own on a free loopback port."""

from __future__ import annotations

import random
import socket
import subprocess
import sys
from functools import cache
from pathlib import Path
from typing import Self

from tests.certificates import self_signed
from tests.integration.running import ROOT, wait_for
from tests.ports import free_port

NAME, WORKSPACE = "gallery.test", "spandantest"
"""The customer's hostname, and the workspace, that the tests with nginx as origin use."""

SIZES = (1, 1_000, 16_384, 16_385, 65_537, 1_000_000, 10_000_000)
"""Bytes of the bodies that are sent both ways: around a TLS record, around a read, and so much that nothing holds it whole."""

_SEEN = {
    "method": "$request_method",
    "target": "$request_uri",
    "protocol": "$server_protocol",
    "connection": "$connection",
    "workspace-id": "$http_workspace_id",
    "host": "$http_host",
    "x-forwarded-for": "$http_x_forwarded_for",
    "x-forwarded-proto": "$http_x_forwarded_proto",
    "x-forwarded-host": "$http_x_forwarded_host",
    "forwarded": "$http_forwarded",
    "via": "$http_via",
    "x-request-id": "$http_x_request_id",
    "user-agent": "$http_user_agent",
    "cookie": "$http_cookie",
    "authorization": "$http_authorization",
    "x-custom": "$http_x_custom",
}

_CONFIGURATION = """
daemon off;
master_process off;
pid {folder}/nginx.pid;
error_log {folder}/nginx-error.log warn;
events {{ worker_connections 2048; }}
http {{
  access_log off;
  absolute_redirect off;
  client_body_temp_path {folder}/body; proxy_temp_path {folder}/proxy; fastcgi_temp_path {folder}/fastcgi;
  uwsgi_temp_path {folder}/uwsgi; scgi_temp_path {folder}/scgi;
  client_max_body_size 0;
  keepalive_requests 1000000;
  underscores_in_headers on;
  types {{ text/plain txt; text/html html; }}
  default_type application/octet-stream;
  gzip on; gzip_proxied any; gzip_min_length 1; gzip_types text/plain; gzip_http_version 1.0; gzip_vary on;
  server {{
    listen 127.0.0.1:{port} backlog=2048;
    listen unix:{folder}/nginx.sock;
    listen 127.0.0.1:{tls_port} ssl;
    ssl_certificate {folder}/certificate.pem; ssl_certificate_key {folder}/key.pem;
    root {folder}/www;
    location = /seen {{ default_type text/plain; gzip off; return 200 '{seen}'; }}
    location /put/ {{ dav_methods PUT DELETE; create_full_put_path on; }}
    location /chunked/ {{ alias {folder}/www/; ssi on; ssi_types *; }}
    location /trailers/ {{ alias {folder}/www/; add_trailer x-checksum "the checksum" always; }}
    location /small/ {{ dav_methods PUT; client_max_body_size 1k; }}
    location = /interim {{ return 204; }}
    location = /moved {{ return 302 /seen; }}
    location = /cookies {{ add_header set-cookie "a=1"; add_header set-cookie "b=2"; return 200 ok; }}
    location = /broken {{ return 444; }}
    location = /ws {{
      proxy_pass http://127.0.0.1:{websocket};
      proxy_http_version 1.1;
      proxy_set_header connection upgrade;
      proxy_set_header upgrade $http_upgrade;
    }}
  }}
}}
"""


@cache
def content(size: int) -> bytes:
    """The body of so many bytes, always the same; nothing in it repeats."""
    return random.Random(size).randbytes(size)


class Nginx:
    """A running nginx; a context manager.

    It has a file `/SIZE.bin` of each of SIZES and `/page.txt`, the same beneath `/chunked/` and `/trailers/`; takes uploads
    beneath `/put/`; says at `/seen` what it was asked, a line "name: value" for each; hands `/ws` on to the
    demo's sample origin, which echoes what WebSockets bring.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.port = free_port()
        self.tls_port = free_port()
        self.root = folder / "certificate.pem"
        """What its certificate, for localhost, is verified against."""
        self.socket = folder / "nginx.sock"
        self.files = folder / "www"
        self.text = "".join(f"Line {number} of a page that is worth compressing.\n" for number in range(500)).encode()
        self._process: subprocess.Popen[bytes] | None = None
        self._sample: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        """For `origin.url`."""
        return f"http://127.0.0.1:{self.port}"

    def uploaded(self, name: str) -> bytes:
        """What was put to `/put/NAME`."""
        return (self.files / "put" / name).read_bytes()

    def __enter__(self) -> Self:
        (self.files / "put").mkdir(parents=True)
        for size in SIZES:
            (self.files / f"{size}.bin").write_bytes(content(size))
        (self.files / "page.txt").write_bytes(self.text)
        seen = "".join(f"{name}: {variable}\n" for name, variable in _SEEN.items())
        chain, key = self_signed("localhost")
        self.root.write_bytes(chain)
        (self.folder / "key.pem").write_bytes(key)
        ports = {"port": self.port, "tls_port": self.tls_port, "websocket": self._start_sample()}
        (self.folder / "nginx.conf").write_text(_CONFIGURATION.format(folder=self.folder, seen=seen, **ports))
        self.start()
        return self

    def start(self) -> None:
        """Starts nginx itself, again after `stop`."""
        file = self.folder / "nginx.conf"
        self.socket.unlink(missing_ok=True)
        self._process = process = subprocess.Popen(
            ["nginx", "-e", str(self.folder / "nginx-start.log"), "-c", str(file), "-p", str(self.folder)],
            stdin=subprocess.DEVNULL,
        )

        def there() -> bool:
            if process.poll() is not None:
                raise AssertionError(f"nginx ended:\n{(self.folder / 'nginx-start.log').read_text()}")
            return (self.folder / "nginx.pid").exists()

        wait_for(there, "nginx")

    def stop(self) -> None:
        """Ends it, connections and all."""
        if self._process is not None:
            self._process.terminate()
            self._process.wait(30)
            self._process = None

    def _start_sample(self) -> int:
        """Starts the demo's origin; its port."""
        with socket.socket() as listener:
            listener.bind(("127.0.0.1", 0))
            listener.listen(64)
            self._sample = subprocess.Popen(
                [sys.executable, "-m", "edgeproxy.demo.origin", str(listener.fileno())],
                stdin=subprocess.PIPE,
                pass_fds=[listener.fileno()],
                cwd=ROOT,
            )
            port: int = listener.getsockname()[1]
            return port

    def __exit__(self, *_error: object) -> None:
        self.stop()
        if self._sample is not None and self._sample.stdin is not None:
            self._sample.stdin.close()
            self._sample.wait(30)
