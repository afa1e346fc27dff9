"""HTTP to a running edge, over its admin socket."""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import re
import select
import socket
import tomllib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from edgeproxy.config.load import DEFAULT_PATH
from edgeproxy.config.machine import Admin
from edgeproxy.errors import AdminUnavailable, EdgeError, Fault

ANSWER_BYTES = 16 * 1024 * 1024
"""Bytes of one answer. A page of a thousand domains has about 1 MiB."""

SECONDS = 30.0
"""How long the edge may be silent. A controller that hangs is replaced within this time, and its successor answers."""

PATIENCE = 2.0
"""After so many seconds without an answer whoever waits is told for what."""


SILENT = "admin_silent"
"""The code of AdminUnavailable where somebody listens and does not answer in time."""


_IN_REQUEST = re.compile(r"(?<!\S)(?:body|query)\.(?=[\w.]+: )")
"""Where in a request a field is at fault; whoever typed a command has written none."""


class Refused(EdgeError):
    """The edge answered no; `status` is HTTP's, the rest is from its problem document. `cause` is the code of the error
    behind it, "" where `code` says all."""

    def __init__(self, status: int, detail: str, *, code: str, cause: str, fault: Fault, retryable: bool) -> None:
        super().__init__(detail, code=code, fault=fault, retryable=retryable)
        self.status = status
        self.cause = cause


def default_socket(environ: Mapping[str, str], config: Path = DEFAULT_PATH) -> Path:
    """Where the edge of this machine listens: by the environment, by its configuration if we may read that, or as built in."""
    for variable in ("EDGEPROXY_SOCKET", "EDGEPROXY_ADMIN__SOCKET"):
        if environ.get(variable):
            return Path(environ[variable].strip('"'))
    with contextlib.suppress(OSError, ValueError):  # a fault of that file is `check`'s to tell
        configured = tomllib.loads(config.read_text(encoding="utf-8")).get("admin", {}).get("socket")
        if isinstance(configured, str) and configured.startswith("/"):
            return Path(configured)
    return Path(Admin().socket)


class _Connection(http.client.HTTPConnection):
    """HTTP/1.1 over a Unix socket."""

    def __init__(self, path: Path, timeout: float) -> None:
        super().__init__("edgeproxy", timeout=timeout)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(self.timeout)
        self.sock.connect(os.fspath(self._path))


class AdminClient:
    """A running edge. Its methods raise Refused when it says no and AdminUnavailable when it does not answer."""

    def __init__(self, path: Path, timeout: float = SECONDS, *, hint: bool = True) -> None:
        """`hint`: whether to say on stderr what is being waited for; not where that is shown already, or is no surprise."""
        self.path = path
        self._timeout = timeout
        self._hint = hint

    def get(self, path: str, **query: str | int | None) -> dict[str, Any]:
        """GET; parameters that are None are left out."""
        return self._whole("GET", _with_query(path, query))

    def post(self, path: str, body: Mapping[str, Any] | None = None) -> dict[str, Any]:
        """POST with a JSON body."""
        return self._whole("POST", path, body)

    def patch(self, path: str, body: Mapping[str, Any]) -> dict[str, Any]:
        """PATCH with a JSON body."""
        return self._whole("PATCH", path, body)

    def put(self, path: str, body: Mapping[str, Any]) -> dict[str, Any]:
        """PUT with a JSON body."""
        return self._whole("PUT", path, body)

    def delete(self, path: str) -> dict[str, Any]:
        """DELETE."""
        return self._whole("DELETE", path)

    def pages(self, path: str, key: str, limit: int | None, **query: str | None) -> Iterator[dict[str, Any]]:
        """The members of a paged listing, page by page, `limit` at most (None: all)."""
        cursor: str | None = None
        left = limit
        while left is None or left > 0:
            size = 1000 if left is None else min(left, 1000)
            page = self.get(path, **query, limit=size, cursor=cursor)
            members = page.get(key, [])
            yield from members
            cursor = page.get("next_cursor")
            if not cursor or not members:
                return
            left = None if left is None else left - len(members)

    def steps(self, path: str, body: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
        """POST, answered by a line of JSON for each step (application/x-ndjson)."""
        with self._translated(), contextlib.closing(_Connection(self.path, self._timeout)) as connection:
            answer = self._send(connection, "POST", path, body, "application/x-ndjson, application/json")
            read = 0
            while line := answer.readline(1024 * 1024):
                read += len(line)
                if read > ANSWER_BYTES:
                    raise AdminUnavailable(f"What answers at {self.path} says more than an edge would.")
                if line.strip():
                    yield _object(line, self.path)

    def _whole(self, method: str, path: str, body: Mapping[str, Any] | None = None) -> dict[str, Any]:
        with self._translated(), contextlib.closing(_Connection(self.path, self._timeout)) as connection:
            answer = self._send(connection, method, path, body, "application/json", hint=self._hint)
            data = _bounded(answer, self.path)
            return _object(data, self.path) if data.strip() else {}

    def _send(
        self,
        connection: _Connection,
        method: str,
        path: str,
        body: Mapping[str, Any] | None,
        accept: str,
        *,
        hint: bool = False,
    ) -> http.client.HTTPResponse:
        headers = {"accept": accept}
        data = None
        if body is not None:
            data = json.dumps(body).encode()
            headers["content-type"] = "application/json"
        connection.request(method, path, data, headers)
        if hint and self._timeout > PATIENCE and not select.select([connection.sock], [], [], PATIENCE)[0]:
            from edgeproxy.cli.show import say

            say(f"Waiting for the edge at {self.path} to answer …")
        answer = connection.getresponse()
        if answer.status >= 400:
            raise _refusal(answer.status, _bounded(answer, self.path))
        return answer

    @contextlib.contextmanager
    def _translated(self) -> Iterator[None]:
        """Turns what can happen on the socket into one sentence each."""
        try:
            yield
        except FileNotFoundError:
            raise AdminUnavailable(
                f"No edge answers at {self.path}: there is no such socket. Start one with `edgeproxy serve`, or name another "
                "socket with --socket."
            ) from None
        except ConnectionRefusedError:
            if not self.path.is_socket():
                raise AdminUnavailable(f"{self.path} is no socket. Name that of the edge with --socket.") from None
            raise AdminUnavailable(
                f"No edge answers at {self.path}: nobody listens there any more. Start one with `edgeproxy serve`."
            ) from None
        except PermissionError:
            raise AdminUnavailable(
                f"You may not talk to the edge at {self.path}. Become root, the service's user, or a member of the socket's "
                "group."
            ) from None
        except TimeoutError:
            raise AdminUnavailable(
                f"The edge at {self.path} did not answer within {self._timeout:.0f} s: it has much to do, or its controller "
                "hangs and is about to be replaced; visitors are served meanwhile. Its log says more. Try again in a minute.",
                code=SILENT,
            ) from None
        except ConnectionError:  # http.client's RemoteDisconnected too
            raise AdminUnavailable(
                f"The edge at {self.path} is ending, or its start was just refused: it closed the connection without an "
                "answer. Try again in a second; if nothing answers then, its log says why it ended."
            ) from None
        except (http.client.HTTPException, OSError) as error:
            reason = getattr(error, "strerror", None) or str(error) or type(error).__name__
            raise AdminUnavailable(f"The edge at {self.path} broke off its answer ({reason}). Try again.") from None


def _with_query(path: str, query: Mapping[str, str | int | None]) -> str:
    from urllib.parse import urlencode

    given = {name: value for name, value in query.items() if value is not None}
    return f"{path}?{urlencode(given)}" if given else path


def _bounded(answer: http.client.HTTPResponse, path: Path) -> bytes:
    data = answer.read(ANSWER_BYTES + 1)
    if len(data) > ANSWER_BYTES:
        raise AdminUnavailable(f"What answers at {path} says more than an edge would.")
    if answer.length:  # of the promised bytes, so many did not come: read() with a bound does not tell
        raise http.client.IncompleteRead(data, answer.length)
    return data


def _object(data: bytes, path: Path) -> dict[str, Any]:
    try:
        value = json.loads(data)
    except ValueError:
        value = None
    if not isinstance(value, dict):
        raise AdminUnavailable(f"What answers at {path} does not speak as an edge does. Is the socket another program's?")
    return value


def _refusal(status: int, data: bytes) -> Refused:
    try:
        problem = json.loads(data)
    except ValueError:
        problem = None
    return refusal_of(problem if isinstance(problem, dict) else {}, status)


def refusal_of(problem: Mapping[str, Any], status: int = 0) -> Refused:
    """A problem document (RFC 9457) as an error."""
    fault = str(problem.get("fault"))
    told = problem.get("status")
    return Refused(
        told if isinstance(told, int) else status,
        _IN_REQUEST.sub("", str(problem.get("detail") or f"The edge answered {status} without saying why.")),
        code=str(problem.get("code", "refused")),
        cause=str(problem.get("cause") or ""),
        fault=Fault(fault) if fault in set(Fault) else Fault.EDGE,
        retryable=problem.get("retryable") is True,
    )
