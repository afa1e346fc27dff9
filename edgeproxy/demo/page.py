"""What the sample origin shows of a request: a page for people, JSON for programs. Pure."""

from __future__ import annotations

import functools
import html
import json
import re
from pathlib import Path
from typing import Any

from edgeproxy.demo.message import Request

SHOWN_BYTES = 4096
"""Bytes of a body that are shown."""

WORKSPACE_HEADER = "workspace-id"

_OF_THE_EDGE = frozenset(
    (WORKSPACE_HEADER, "x-forwarded-for", "x-forwarded-proto", "x-forwarded-host", "forwarded", "via", "x-request-id")
)
"""What the edge adds; a client's own of these names never arrive."""


def facts(request: Request, body: bytes) -> dict[str, Any]:
    """What is to be told of a request."""
    via = request.get("via").split(",")[0].strip()
    return {
        "workspace": request.get(WORKSPACE_HEADER) or None,
        "method": request.method,
        "scheme": request.get("x-forwarded-proto") or "http",
        "host": request.get("host"),
        "path": request.target,
        "client": request.get("x-forwarded-for") or None,
        "client_protocol": f"HTTP/{via.split(' ')[0].removesuffix('.0')}" if via else None,
        "origin_protocol": f"HTTP/1.{request.minor}",
        "request_id": request.get("x-request-id") or None,
        "headers": [[name, value] for name, value in request.fields],
        "body": {"bytes": len(body), "text": body[:SHOWN_BYTES].decode("utf-8", "replace")} if body else None,
    }


def as_json(request: Request, body: bytes) -> bytes:
    """The facts for programs."""
    return json.dumps(facts(request, body), indent=2, ensure_ascii=False).encode() + b"\n"


def wants_html(request: Request) -> bool:
    """Whether the client is a browser: it names text/html, or a pattern of it, before JSON."""
    accept = request.get("accept", "*/*").lower()
    positions = [accept.find(kind) for kind in ("text/html", "application/json")]
    return positions[0] >= 0 and (positions[1] < 0 or positions[0] < positions[1])


def as_html(request: Request, body: bytes) -> bytes:
    """The facts as a page. Everything that came with the request is escaped."""
    told = facts(request, body)
    workspace = told["workspace"]
    rows = (
        ("Host", told["host"]),
        ("Path", told["path"]),
        ("Method", told["method"]),
        ("You to the edge", " over ".join(filter(None, (told["client_protocol"], told["scheme"])))),
        ("The edge to me", told["origin_protocol"]),
        ("Your address", told["client"]),
        ("Request id", told["request_id"]),
    )
    sent = ""
    if told["body"]:
        sent = f"<h2>Body <small>{told['body']['bytes']} bytes</small></h2><pre>{_e(told['body']['text'])}</pre>"
    parts = {
        "title": _e(workspace or "no workspace"),
        "workspace": f"<b>{_e(workspace)}</b>" if workspace else "<b class=none>no workspace</b>",
        "facts": "".join(f"<dt>{name}<dd>{_e(value)}" for name, value in rows if value),
        "headers": "".join(
            f"<tr{' class=edge' if name.lower() in _OF_THE_EDGE else ''}><th>{_e(name)}<td>{_e(value)}"
            for name, value in request.fields
        ),
        "body": sent,
    }
    return re.sub(r"{{(\w+)}}", lambda found: parts[found[1]], _template()).encode()


@functools.cache
def _template() -> str:
    return Path(__file__).with_name("page.html").read_text(encoding="utf-8")


def _e(text: object) -> str:
    return html.escape(str(text))
