"""What /openapi.json says of texts beyond their length, so that clients can check them before they send, and tools can make
some that fit. Mostly only described here: what checks them (`edgeproxy.model`, `config.webhooks`) tells in sentences what is
wrong.
"""

from __future__ import annotations

import re
from typing import Annotated, Any

from fastapi import Path
from pydantic import Field

from edgeproxy.config.webhooks import ALL, EVENTS, PREFIX

_LABEL = "[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?"

NAME: dict[str, Any] = {"format": "idn-hostname"}
"""A hostname; Unicode is taken too."""

WILDCARD: dict[str, Any] = {"pattern": rf"^\*(\.{_LABEL})+\.[a-z]([a-z0-9-]{{0,61}}[a-z0-9])?$", "maxLength": 255}

HOSTNAME: dict[str, Any] = {"anyOf": [NAME, WILDCARD]}
"""A hostname or a wildcard."""

WORKSPACE: dict[str, Any] = {"pattern": "^[A-Za-z0-9][A-Za-z0-9._-]{0,62}$"}

URL: dict[str, Any] = {"format": "uri"}

MOMENT: dict[str, Any] = {"format": "date-time"}

MAILBOX: dict[str, Any] = {"format": "email"}

SERIAL: dict[str, Any] = {"pattern": "^(0[xX])?[0:]*[1-9a-fA-F](:?[0-9a-fA-F]){0,63}$"}

SECRET: dict[str, Any] = {"pattern": f"^({PREFIX}([A-Za-z0-9+/]{{4}}){{8,20}}([A-Za-z0-9+/]{{3}}=|[A-Za-z0-9+/]{{2}}==)?)?$"}

FILTER: dict[str, Any] = {"enum": [ALL, *sorted({f"{each.partition('.')[0]}.*" for each in EVENTS}), *EVENTS]}

UNPRINTABLE = r"\x00-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069"
"""Control characters, other ends of lines, and what turns the direction of writing: they make a list or a log say something
else than it does. For a class of a regular expression."""

LINE: dict[str, Any] = {"pattern": f"^[^{UNPRINTABLE}]*$"}

_UNPRINTABLE = re.compile(rf"[{UNPRINTABLE}\ud800-\udfff]")

NUMBER_CURSOR: dict[str, Any] = {"pattern": "^(3[0-9]){0,18}$"}

NAME_CURSOR: dict[str, Any] = {"pattern": "^([2-7][0-9a-f])*$"}


def or_empty(form: dict[str, Any]) -> dict[str, Any]:
    """The same for a text that may be empty."""
    return {"anyOf": [{"maxLength": 0}, *form.get("anyOf", [form])]}


def printable(text: str) -> str:
    """A text of one line that is shown as it is. Raises ValueError."""
    if _UNPRINTABLE.search(text):
        raise ValueError("has characters that cannot be printed")
    return text


def whole(value: object) -> object:
    """What an integer of a body is, however its sender writes it: JSON does not tell 3.0 from 3. To come before `strict`."""
    return int(value) if isinstance(value, float) and value.is_integer() else value


DomainPath = Annotated[str, Path(description="A hostname, or a wildcard like *.example.com", json_schema_extra=HOSTNAME)]
WorkspacePath = Annotated[str, Path(description="A workspace id", json_schema_extra=WORKSPACE)]
NumberCursor = Annotated[str, Field(max_length=64, json_schema_extra=NUMBER_CURSOR)]
NameCursor = Annotated[str, Field(max_length=512, json_schema_extra=NAME_CURSOR)]
