"""Real servers as origins that say what they understood: each hands on what it takes to one recorder behind it."""

from __future__ import annotations

import contextlib
import os
import shutil
import socket
import socketserver
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple, Self

import h11

from edgeproxy.edge.headers import likeness
from tests.integration.running import PATIENCE, wait_for
from tests.ports import free_port


class Understood(NamedTuple):
    """One request as it came to the recorder."""

    method: bytes
    target: bytes
    hosts: tuple[bytes, ...]
    workspaces: tuple[bytes, ...]
    """Of every field that some origin might take for the workspace's."""
    body: bytes


class Recorder:
    """A server that writes down what it is asked, and says so in its answers; a context manager."""

    def __init__(self) -> None:
        self.requests: list[Understood] = []
        self.faults: list[str] = []
        """What it was sent that is no request."""
        recorder = self

        class Handler(socketserver.BaseRequestHandler):
            def handle(self) -> None:
                with contextlib.suppress(ConnectionError):
                    recorder._serve(self.request)

        class Server(socketserver.ThreadingTCPServer):
            daemon_threads = True
            allow_reuse_address = True

        self._server = Server(("127.0.0.1", 0), Handler)
        self.port: int = self._server.server_address[1]
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,))

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_error: object) -> None:
        self._server.shutdown()
        self._thread.join(PATIENCE)
        self._server.server_close()

    def _serve(self, sock: socket.socket) -> None:
        connection = h11.Connection(h11.SERVER, max_incomplete_event_size=1 << 20)
        asked: h11.Request | None = None
        body = b""
        while True:
            try:
                event = connection.next_event()
            except h11.RemoteProtocolError as error:
                self.faults.append(str(error))
                return
            if event is h11.NEED_DATA:
                if connection.they_are_waiting_for_100_continue:
                    sock.sendall(connection.send(h11.InformationalResponse(status_code=100, headers=[])) or b"")
                data = sock.recv(65536)
                if not data:
                    return  # whatever it had begun: nobody has understood it as a request
                connection.receive_data(data)
            elif isinstance(event, h11.Request):
                asked, body = event, b""
            elif isinstance(event, h11.Data):
                body += bytes(event.data)
            elif isinstance(event, h11.EndOfMessage) and asked is not None:
                self._answer(sock, connection, asked, body)
                if connection.our_state is h11.MUST_CLOSE:
                    return
                connection.start_next_cycle()
            else:
                return

    def _answer(self, sock: socket.socket, connection: h11.Connection, asked: h11.Request, body: bytes) -> None:
        hosts = tuple(value for name, value in asked.headers if name == b"host")
        workspaces = tuple(value for name, value in asked.headers if likeness(name) == b"workspace-id")
        self.requests.append(Understood(asked.method, asked.target, hosts, workspaces, body))
        headers = [(b"content-length", b"0"), (b"x-understood", b"%d" % len(self.requests))]
        answer = connection.send(h11.Response(status_code=200, headers=headers)) or b""
        sock.sendall(answer + (connection.send(h11.EndOfMessage()) or b""))


_NGINX = """
daemon off;
master_process off;
pid {folder}/nginx.pid;
error_log {folder}/error.log warn;
events {{ worker_connections 512; }}
http {{
  access_log off;
  client_body_temp_path {folder}/body; proxy_temp_path {folder}/proxy; fastcgi_temp_path {folder}/fastcgi;
  uwsgi_temp_path {folder}/uwsgi; scgi_temp_path {folder}/scgi;
  underscores_in_headers on; ignore_invalid_headers off; merge_slashes off;
  server {{
    listen 127.0.0.1:{port};
    location / {{
      proxy_pass http://127.0.0.1:{behind};
      proxy_http_version 1.1;
      proxy_set_header Host $http_host;
      proxy_set_header Connection "";
    }}
  }}
}}
"""
_HAPROXY = """
defaults
  mode http
  timeout client 60s
  timeout server 60s
  timeout connect 60s
frontend origin
  bind 127.0.0.1:{port}
  default_backend behind
backend behind
  server recorder 127.0.0.1:{behind}
"""
_CADDY = """
{{
  admin off
  auto_https off
}}
http://:{port} {{
  bind 127.0.0.1
  reverse_proxy 127.0.0.1:{behind}
}}
"""
_COMMANDS = {
    "nginx": (_NGINX, ["nginx", "-e", "{folder}/start.log", "-p", "{folder}", "-c", "{file}"]),
    "haproxy": (_HAPROXY, ["haproxy", "-db", "-f", "{file}"]),
    "caddy": (_CADDY, ["caddy", "run", "--adapter", "caddyfile", "--config", "{file}"]),
}
KINDS = tuple(_COMMANDS)


def program(kind: str) -> str | None:
    """Where it is; Debian has servers where a user's PATH does not look."""
    return shutil.which(kind) or shutil.which(kind, path="/usr/sbin:/usr/local/sbin")


@contextlib.contextmanager
def origin(kind: str, folder: Path, recorder: Recorder) -> Iterator[int]:
    """Runs one of KINDS before the recorder; its port."""
    text, command = _COMMANDS[kind]
    folder.mkdir()
    port = free_port()
    file = folder / "configuration"
    file.write_text(text.format(folder=folder, port=port, behind=recorder.port))
    words = [word.format(folder=folder, file=file) for word in command]
    words[0] = program(kind) or kind
    environ = {**os.environ, "HOME": str(folder), "XDG_DATA_HOME": str(folder), "XDG_CONFIG_HOME": str(folder)}
    with (folder / "output").open("wb") as output:
        process = subprocess.Popen(words, stdin=subprocess.DEVNULL, stdout=output, stderr=output, env=environ, cwd=folder)

    def there() -> bool:
        if process.poll() is not None:
            raise AssertionError(f"{kind} ended:\n{(folder / 'output').read_text()}")
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
            return True
        return False

    try:
        wait_for(there, f"{kind} listens")
        yield port
    finally:
        process.terminate()
        process.wait(PATIENCE)
