"""A domain's own settings as they are typed: `--policy NAME=VALUE`."""

from __future__ import annotations

import types
import typing
from collections.abc import Mapping, Sequence
from typing import Annotated, Any

import typer

from edgeproxy.policies import Policies
from edgeproxy.units import Size

Typed = Annotated[
    list[str] | None,
    typer.Option(
        "--policy",
        metavar="NAME=VALUE",
        help=f"A setting of the domain's own, with a NAME of {', '.join(sorted(Policies.__struct_fields__))}: hsts=365d, "
        "deny=192.0.2.0/24,2001:db8::/32, headers.x-frame-options=DENY, request_body=50MB; nothing behind the = for what the "
        "configuration says. As often as needed.",
        show_default=False,
    ),
]


def change_of(texts: Sequence[str], before: Mapping[str, Any]) -> dict[str, Any]:
    """The members of `policies` that are to be sent. `before`: what the domain has, beside which one entry is put."""
    hints = typing.get_type_hints(Policies)
    change: dict[str, Any] = {}
    for text in texts:
        name, equals, value = text.partition("=")
        member, dot, entry = name.partition(".")
        if not equals or member not in hints:
            raise typer.BadParameter(f"{text!r} is not NAME=VALUE with a NAME of {', '.join(sorted(hints))}, like hsts=365d.")
        kind = _kind(hints[member])
        if dot and kind is dict and entry:
            entry = entry.lower()
            table = change[member] if isinstance(change.get(member), dict) else dict(before.get(member) or {})
            change[member] = {key: old for key, old in table.items() if key != entry} | ({entry: value} if value else {})
        elif dot or (kind is dict and value):
            raise typer.BadParameter(f"{text!r} is not how {member} is written; write {_example(member, kind)}.")
        else:
            change[member] = _value(kind, member, value) if value else None
    return change


def _kind(hint: Any) -> Any:
    """dict, tuple, or the type of a single value."""
    kinds = [each for each in typing.get_args(hint) if each is not type(None)] if isinstance(hint, types.UnionType) else [hint]
    return typing.get_origin(kinds[0]) or kinds[0]


def _value(kind: Any, member: str, text: str) -> Any:
    if kind is tuple:
        return [each.strip() for each in text.split(",") if each.strip()]
    try:
        if kind is bool:
            return {"true": True, "false": False}[text]
        if kind is int:
            return int(Size.parse(text))
        return float(text) if kind is float else text
    except (KeyError, ValueError):
        raise typer.BadParameter(f"{text!r} is not what {member} may be; write {_example(member, kind)}.") from None


def _example(member: str, kind: Any) -> str:
    if kind is dict:
        return f"{member}.NAME=VALUE"
    return f"{member}={ {bool: 'true or false', int: '10MB, or a number', float: '0.5'}.get(kind, 'VALUE') }"
