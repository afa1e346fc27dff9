"""A plain origin for tests: says who asked for which workspace, slowly where that is wanted."""

from __future__ import annotations

import http.server
import json
import threading
import urllib.parse
from types import TracebackType
from typing import Self


class Origin:
    """An HTTP/1.1 origin in threads. /slow answers half of its body at once and the rest when `release()` was called."""

    def __init__(self) -> None:
        self.released = threading.Event()
        origin = self

        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self) -> None:
                path = urllib.parse.urlsplit(self.path).path
                said = {"path": self.path, "host": self.headers["host"], "workspace": self.headers["workspace-id"]}
                body = json.dumps(said).encode()
                self.send_response(200)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                half = len(body) // 2
                self.wfile.write(body[:half])
                if path == "/slow":
                    self.wfile.flush()
                    origin.started.release()
                    origin.released.wait(60)
                self.wfile.write(body[half:])

            def log_message(self, *_: object) -> None:
                """Silence."""

        self.started = threading.Semaphore(0)
        """Counts the /slow requests that are half answered."""
        self._server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,))

    def release(self) -> None:
        """Lets every /slow answer end."""
        self.released.set()

    def wait_started(self) -> None:
        """Waits until one more /slow request is half answered."""
        if not self.started.acquire(timeout=60):
            raise AssertionError("no slow request reached the origin")

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.release()
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()
