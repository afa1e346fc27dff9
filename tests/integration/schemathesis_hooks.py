"""What schemathesis does not do by itself (`hooks` in schemathesis.toml): each request has an Idempotency-Key of its own, or it
would be refused as another one under the same key."""

from __future__ import annotations

import re
import secrets
from typing import Any

import schemathesis

FIELD = "Idempotency-Key"


@schemathesis.hook
def before_call(context: schemathesis.HookContext, case: schemathesis.Case[Any], kwargs: dict[str, Any]) -> None:
    """Its: changes a case before it is sent. Keys that are none stay as they are."""
    headers = case.headers
    if headers and re.fullmatch("[!-~]{1,255}", str(headers.get(FIELD, ""))):
        headers[FIELD] = secrets.token_hex(16)
