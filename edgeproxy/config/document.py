"""The configuration as TOML text: the documented sample, from the structs' docstrings, and the effective values.

`python -m edgeproxy.config.document` prints what `config/edgeproxy.toml` must hold.
"""

from __future__ import annotations

import ast
import inspect
import sys
import textwrap
import typing
from pathlib import Path
from typing import Any

import msgspec

from edgeproxy.config import values
from edgeproxy.config.structs import Config

_WIDTH = 118

_HEAD = """\
# Edgeproxy's configuration, every key with its default.
#
# Take out the "#" before a key to change it. Unknown keys are errors; `edgeproxy check` tells every fault with its line.
#
# A duration is a text with a unit ("250ms", "30s", "5m", "12h", "7d"), a size too ("64KiB", "1MiB").
# Each key can be set by an environment variable as well, which then wins: EDGEPROXY_ORIGIN__URL for origin.url,
# EDGEPROXY_ISSUANCE__ALLOW__GATE for issuance.allow.gate. A text may be "file:/PATH": the value then stands in that file.
#
# This file is generated from edgeproxy/config/structs.py by `make config/edgeproxy.toml`.
"""


def sample() -> str:
    """The documented sample: every table, every key as a comment with its default."""
    parts = [_HEAD]
    _tables(Config(), (), _documented, parts)
    return "\n".join(parts)


def effective(config: Config) -> str:
    """A configuration as TOML, each key with the value that counts. Secrets are not shown."""
    parts: list[str] = []
    _tables(config, (), _plain, parts)
    return "\n".join(parts)


def _tables(
    section: msgspec.Struct,
    path: tuple[str, ...],
    write: typing.Callable[[msgspec.Struct, tuple[str, ...]], str],
    parts: list[str],
) -> None:
    """Writes a table's own keys, then the tables below it, as TOML wants it."""
    if path:
        parts.append(write(section, path))
    for field in msgspec.structs.fields(section):
        value = getattr(section, field.name)
        if isinstance(value, msgspec.Struct):
            _tables(value, (*path, field.name), write, parts)
        elif kind := _repeated(field.type):
            here = (*path, field.name)
            parts.extend([_example(kind, here)] if write is _documented else [_plain(each, here, "[[{}]]") for each in value])


def _keys(section: msgspec.Struct) -> typing.Iterator[tuple[str, Any]]:
    for field in msgspec.structs.fields(section):
        value = getattr(section, field.name)
        if not isinstance(value, msgspec.Struct) and not _repeated(field.type):
            yield field.name, value


def _repeated(hint: Any) -> type[msgspec.Struct] | None:
    """The kind of the tables in an array of them; None for a key of another kind."""
    kind = next(iter(typing.get_args(hint)), None) if typing.get_origin(hint) is tuple else None
    return kind if isinstance(kind, type) and issubclass(kind, msgspec.Struct) else None


def _example(kind: type[msgspec.Struct], path: tuple[str, ...]) -> str:
    """One table of an array of them, all of it in comments: there is none by default."""
    manual = docstrings(kind)
    lines = ["", *_comment((kind.__doc__ or "").partition("\n\n")[0]), f"#[[{'.'.join(path)}]]"]
    for name, value in _keys(kind()):
        lines += ["#", *_comment(manual[name]), f"#  {name} = {literal(value)}"]
    return "\n".join(lines) + "\n"


def _plain(section: msgspec.Struct, path: tuple[str, ...], head: str = "[{}]") -> str:
    lines = [head.format(".".join(path))]
    for name, value in _keys(section):
        shown = "(not shown)" if value and _is_secret(".".join((*path, name)), value) else value
        lines.append(f"{name} = {literal(shown)}")
    return "\n".join(lines) + "\n"


def _is_secret(key: str, value: object) -> bool:
    return key in values.SECRET and not str(value).startswith("file:")


def _documented(section: msgspec.Struct, path: tuple[str, ...]) -> str:
    kind = type(section)
    manual, hints = docstrings(kind), typing.get_type_hints(kind)
    lines = ["", *_comment((kind.__doc__ or "").partition("\n\n")[0]), f"[{'.'.join(path)}]"]
    for name, value in _keys(section):
        lines += ["", *_comment(manual[name] + _choices(manual[name], hints[name])), f"#{name} = {literal(value)}"]
    return "\n".join(lines) + "\n"


def _choices(manual: str, hint: Any) -> str:
    """A sentence with what may be chosen, where the manual does not have all of it."""
    choices = [literal(choice) for choice in typing.get_args(hint)] if typing.get_origin(hint) is typing.Literal else []
    return "" if all(choice in manual for choice in choices) else f" One of {', '.join(choices)}."


def _comment(text: str) -> list[str]:
    return textwrap.wrap(" ".join(text.split()), _WIDTH, initial_indent="# ", subsequent_indent="# ", break_on_hyphens=False)


def docstrings(kind: type[msgspec.Struct]) -> dict[str, str]:
    """A struct's fields with the text that stands below each in the source."""
    tree = ast.parse(textwrap.dedent(inspect.getsource(kind)))
    body = typing.cast("ast.ClassDef", tree.body[0]).body
    found = {}
    for field, after in zip(body, [*body[1:], None], strict=True):
        if isinstance(field, ast.AnnAssign) and isinstance(field.target, ast.Name):
            text = after.value.value if isinstance(after, ast.Expr) and isinstance(after.value, ast.Constant) else ""
            found[field.target.id] = str(text)
    return found


def literal(value: object) -> str:
    """A value as TOML writes it: texts, numbers, switches, lists, durations and sizes with their unit."""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, tuple | list):
        return "[" + ", ".join(literal(element) for element in value) + "]"
    if type(value) is int:
        return str(value)
    escaped = str(value).replace("\\", "\\\\").replace('"', '\\"')
    return '"' + "".join(c if c >= " " and c != "\x7f" else f"\\u{ord(c):04x}" for c in escaped) + '"'


if __name__ == "__main__":
    if len(sys.argv) > 1:
        Path(sys.argv[1]).write_text(sample(), encoding="utf-8")
    else:
        sys.stdout.write(sample())
