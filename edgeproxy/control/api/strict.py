"""What Python's JSON takes and RFC 8259 does not: NaN, UTF-16, and one name twice in an object. Pure.

Whoever looks at a request before us (a gateway, a filter) and we must read the same in it: of two values under one name
parsers take the first or the last, and what is in UTF-16 one of them may not see at all.
"""

from __future__ import annotations

import json
from typing import Any, NoReturn

from edgeproxy.control.api.problems import Refused

NAME_CHARACTERS = 64
"""Of a name that is told back."""


def check_json(body: bytes) -> None:
    """Raises Refused for a body that is not JSON by RFC 8259, or in which an object has a name twice. An empty one passes."""
    if not body:
        return
    try:
        json.loads(body.decode(), object_pairs_hook=_object, parse_constant=_constant)
    except UnicodeDecodeError:
        raise _not_json("it is not in UTF-8") from None
    except json.JSONDecodeError as error:
        raise _not_json(f"{error.msg}, at line {error.lineno}, column {error.colno}") from None
    except RecursionError:
        raise _not_json("it is nested too deeply") from None
    except ValueError:
        raise _not_json("it has a number with thousands of digits") from None


def _object(pairs: list[tuple[str, Any]]) -> None:
    seen = set()
    for name, _ in pairs:
        if name in seen:
            shown = name[:NAME_CHARACTERS].encode("ascii", "backslashreplace").decode()
            detail = f'The request\'s body has the field "{shown}" twice in one object: which of them counts, nobody could say.'
            raise Refused(400, detail, code="invalid_json")
        seen.add(name)


def _constant(name: str) -> NoReturn:
    raise _not_json(f"{name} is no number there")


def _not_json(reason: str) -> Refused:
    return Refused(400, f"The request's body is not JSON: {reason}.", code="invalid_json")
