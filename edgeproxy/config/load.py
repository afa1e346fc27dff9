"""From a TOML file and the environment to a `Config`, or to all the faults at once."""

from __future__ import annotations

import dataclasses
import functools
import grp
import importlib.util
import os
import pwd
import re
import stat
import tomllib
import types
import typing
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgspec

from edgeproxy.config import check, values
from edgeproxy.config import places as missing
from edgeproxy.config.lines import lines_of
from edgeproxy.config.pages import PAGE_BYTES, Page, page
from edgeproxy.config.rules import paths
from edgeproxy.config.structs import Config
from edgeproxy.errors import ConfigError
from edgeproxy.units import Duration, Size

DEFAULT_PATH = Path("/etc/edgeproxy/edgeproxy.toml")

CONFIG_BYTES = 1024 * 1024
"""Bytes of a configuration file. One with every key and its manual has about 20 KiB."""

VALUE_BYTES = 64 * 1024
"""Bytes of a value read from a file."""

CERTIFICATES_BYTES = 4 * 1024 * 1024
"""Bytes of a file of certificates. A system's whole bundle has about 220 KiB."""

_ENVIRONMENT = "EDGEPROXY_"
_AT_LINE = re.compile(r"(?P<what>.*?) ?\(at (?:line (?P<line>\d+), column (?P<column>\d+)|end of document)\)\Z", re.DOTALL)
_BARE_TEXT = re.compile(r"[A-Za-z/:~.]")

Key = tuple[str, ...]
_WRONG = object()
"""Stands for a value that has a fault already."""


def load(path: Path | None, environ: Mapping[str, str], *, places: bool = False) -> Config:
    """Reads the file, if any, then lets the environment override it. With `places` that is a fault too which the edge would
    start with: what the machine has not, or not yet.

    Raises ConfigError with a line per fault, "FILE:LINE: key: what is wrong; what would be right", all of one run.
    """
    reader = _Reader(path)
    tree = reader.file() if path is not None else {}
    reader.environment(tree, environ)
    config: Config = reader.section(Config, tree, ())
    for problem in check.together(config):
        if not reader.faulty & {problem.key, *problem.looks_at}:
            reader.fault(tuple(problem.key.split(".")), problem.text)
    for key, text in missing.faults(config) if places else ():
        if key not in reader.faulty:
            reader.fault(tuple(key.split(".")), text)
    if reader.faults:
        raise ConfigError(
            "\n".join(fault.line() for fault in sorted(reader.faults, key=lambda fault: (fault.number, fault.place)))
        )
    return config


@dataclasses.dataclass(frozen=True, slots=True)
class _Fault:
    place: str
    number: int
    key: str
    text: str

    def line(self) -> str:
        return ": ".join(part for part in (self.place, self.key, self.text) if part)


class _Reader:
    """Collects values, and faults with their places."""

    def __init__(self, path: Path | None) -> None:
        self.faults: list[_Fault] = []
        self.faulty: set[str] = set()
        self._path = path
        self._lines: dict[Key, int] = {}
        self._variables: dict[Key, str] = {}

    def fault(self, key: Key, text: str) -> None:
        """Notes a fault of the key, at the line or variable where it, or its table, is set."""
        self.faulty.add(".".join(key))  # with the number of its table, where the table is one of several
        place, number = str(self._path) if self._path else "configuration", 0
        for length in range(len(key), 0, -1):
            if variable := self._variables.get(key[:length]):
                place, number = f"environment variable {variable}", 10**9
                break
            if line := self._lines.get(key[:length]):
                place, number = f"{self._path}:{line}", line
                break
        self.faults.append(_Fault(place, number, _name(key), text))

    # the file

    def file(self) -> dict[str, Any]:
        """The file as TOML. Raises ConfigError at once when it cannot be read or is not TOML: nothing else would be true."""
        path = self._path or DEFAULT_PATH
        try:
            data = _read(path, CONFIG_BYTES)
        except ValueError as error:
            raise ConfigError(f"{path}: {error}") from None
        try:
            text = data.decode().removeprefix("\ufeff")
        except UnicodeDecodeError as error:
            line = data.count(b"\n", 0, error.start) + 1
            raise ConfigError(f"{path}:{line}: this is not UTF-8; save the file as UTF-8 text") from None
        try:
            tree = tomllib.loads(text)
        except tomllib.TOMLDecodeError as error:
            raise ConfigError(f"{path}{_syntax(str(error), text)}") from None
        self._lines = lines_of(text)
        return tree

    # the environment

    def environment(self, tree: dict[str, Any], environ: Mapping[str, str]) -> None:
        """Puts EDGEPROXY_A__B into the tree as a.b. Only names with "__" are meant for us."""
        for variable in sorted(environ):  # so that a table comes before its keys
            name = variable.removeprefix(_ENVIRONMENT)
            if name == variable:
                continue
            if "__" not in name:  # others may be there: Kubernetes makes EDGEPROXY_PORT of a service's name
                if meant := _by_single_underscores().get(name):
                    text = f"nothing reads it; {'.'.join(meant)} is {_ENVIRONMENT}{'__'.join(meant).upper()}"
                    self.faults.append(_Fault(f"environment variable {variable}", 10**9, "", text))
                continue
            key = tuple(name.lower().split("__"))
            self._variables[key] = variable
            table = tree
            for depth, part in enumerate(key[:-1], 1):
                if part not in table:
                    self._variables.setdefault(key[:depth], variable)
                table = table.setdefault(part, {})
                if not isinstance(table, dict):
                    break
            else:
                table[key[-1]] = self._from_text(key, environ[variable])

    def _from_text(self, key: Key, text: str) -> Any:
        """A variable's value: TOML, or else, and wherever a text is wanted, the bare text."""
        try:
            table = tomllib.loads(f"value = {text}")
        except tomllib.TOMLDecodeError:
            return text
        value = table["value"]
        bare_wanted = not isinstance(value, str) and _wants_text(key)
        return text if bare_wanted or len(table) > 1 else value

    # values

    def section(self, kind: type[msgspec.Struct], tree: dict[str, Any], key: Key) -> Any:
        """A struct from a table. Keys with faults keep their defaults, so that the rest can be looked at too."""
        hints = typing.get_type_hints(kind)
        right = {}
        for name, value in tree.items():
            here = (*key, name)
            if name not in hints:
                self.fault(here, _unknown(here, list(hints)))
            elif (converted := self._value(hints[name], value, here)) is not _WRONG:
                right[name] = converted
        return kind(**right)

    def _value(self, kind: Any, value: Any, key: Key) -> Any:
        if isinstance(kind, type) and issubclass(kind, msgspec.Struct):
            if not isinstance(value, dict):
                self.fault(key, f"{_shown(value)} stands where a table belongs; write [{'.'.join(key)}] and its keys below")
                return _WRONG
            return self.section(kind, value, key)
        if typing.get_origin(kind) is tuple and _is_section(typing.get_args(kind)[0]):
            return self._sections(typing.get_args(kind)[0], value, key)
        before = len(self.faults)
        if typing.get_origin(kind) is tuple:
            if not isinstance(value, list):
                sample = f"[{_shown(value)}]" if isinstance(value, str) else "[]"
                self.fault(key, f"this is {_described(value)}; a list belongs here: {sample}")
                return _WRONG
            converted: Any = tuple(self._scalar(str, element, key, in_list=True) for element in value)
        else:
            converted = self._scalar(kind, value, key)
        return converted if len(self.faults) == before else _WRONG

    def _sections(self, kind: type[msgspec.Struct], value: Any, key: Key) -> Any:
        """An array of tables."""
        if not isinstance(value, list) or not all(isinstance(element, dict) for element in value):
            self.fault(key, f"{_shown(value)} stands where tables belong; write [[{_name(key)}]] and the keys of one below")
            return _WRONG
        return tuple(self.section(kind, element, (*key, str(number))) for number, element in enumerate(value))

    def _scalar(self, kind: Any, value: Any, key: Key, *, in_list: bool = False) -> Any:
        """One text, number, switch, duration or size; notes the fault and gives _WRONG where it is none."""
        name = _name(key)
        read_from = ""
        try:
            if kind is Page:
                return _page(_converted(str, value, name))
            if isinstance(value, str) and value.startswith("file:") and name != "state.key":
                path = value.removeprefix("file:")
                value, read_from = _from_file(path, private=name in values.PRIVATE_FILES), path
            return self._checked(_converted(kind, value, name), name, in_list=in_list)
        except ValueError as error:
            text = str(error)
            if read_from:
                # What a file holds may be a secret: the fault says what would be right and never what was read.
                text = f"what {read_from} holds is not what belongs here; {text.rpartition('; ')[2]}"
            self.fault(key, text)
            return _WRONG

    def _checked(self, value: Any, name: str, *, in_list: bool) -> Any:
        """The value by its rule or range. Raises ValueError."""
        if isinstance(value, int | float) and not isinstance(value, bool):
            values.in_range(name, value)
        if isinstance(value, str):
            if not value:
                return self._empty(name, value, in_list=in_list)
            rule = values.RULES.get(name)
            value = rule(value) if rule else value
            if name in values.CERTIFICATE_FILES:
                _see_certificates(Path(value))
            elif name in values.USERS | values.GROUPS:
                _see_account(value, group=name in values.GROUPS)
            elif name == "alerts.notify":
                _see_apprise()
        return value

    def _empty(self, name: str, value: str, *, in_list: bool) -> Any:
        if in_list:
            raise ValueError('"" is in the list; take it out, or write what was meant')
        if name in values.MUST_NOT_BE_EMPTY:
            raise ValueError("the text is empty; leave the key out for its default")
        return value


def _is_section(kind: Any) -> bool:
    return isinstance(kind, type) and issubclass(kind, msgspec.Struct)


def _name(key: Key) -> str:
    """A key as people write it: of tables in an array without their numbers."""
    return ".".join(part for part in key if not part.isdigit())


def _converted(kind: Any, value: Any, name: str) -> Any:
    """The value as the kind, without its rules. Raises ValueError."""
    if kind is Duration or kind is Size:
        try:
            return kind.parse(value)
        except ValueError as error:
            raise ValueError(f"{_shown(value)} is no {kind.__name__.lower()}; {error}") from None
    if typing.get_origin(kind) is typing.Literal:
        choices = typing.get_args(kind)
        if value not in choices or not isinstance(value, str):
            raise ValueError(f"{_shown(value)} is none of the choices; write {_either(choices)}")
        return value
    if kind is bool:
        if not isinstance(value, bool):
            raise ValueError(f"{_shown(value)} is {_described(value)}; write true or false")
        return value
    if kind is int:
        if isinstance(value, bool) or not isinstance(value, int):
            raise ValueError(f"{_shown(value)} is {_described(value)}; write a whole number, without quotes")
        return value
    if not isinstance(value, str):
        quoted = f': "{_shown(value)}"' if isinstance(value, bool | int | float) else ""
        raise ValueError(f"this is {_described(value)}; a text belongs here, in quotes{quoted}")
    if name not in values.OF_LINES and any(character < " " or character == "\x7f" for character in value):
        raise ValueError("there is a line break or another control character in the text; write it in one line")
    return value


@functools.cache
def _by_single_underscores() -> dict[str, Key]:
    """Each key by the variable that people write who do not know of the two underscores, without EDGEPROXY_."""
    found: dict[str, Key] = {}
    tables: list[tuple[Key, Any]] = [((), Config)]
    for key, kind in tables:
        for name, hint in typing.get_type_hints(kind).items():
            if isinstance(hint, type) and issubclass(hint, msgspec.Struct):
                tables.append(((*key, name), hint))
            else:
                found["_".join((*key, name)).upper()] = (*key, name)
    return found


def _wants_text(key: Key) -> bool:
    """Whether the key is one for a text, a choice or a duration, so that `1.2` and `true` mean the text."""
    kind: Any = Config
    for part in key:
        hints = typing.get_type_hints(kind) if isinstance(kind, type) and issubclass(kind, msgspec.Struct) else {}
        if part not in hints:
            return False
        kind = hints[part]
    return kind is str or kind is Page or kind is Duration or typing.get_origin(kind) is typing.Literal


def _from_file(text: str, *, private: bool = False) -> str:
    """The value that stands in a file. Raises ValueError, never quoting what was read. `private`: a file that everybody on the
    machine may read is refused."""
    path = Path(text)
    if not path.is_absolute():
        raise ValueError(
            f'the path after "file:" is not absolute: {text!r}; write it from the root, like "file:/etc/edgeproxy/secret"'
        )
    try:
        data = _read(path, VALUE_BYTES)
        if private:
            _see_private(path)
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from None
    try:
        value = data.decode()
    except UnicodeDecodeError:
        raise ValueError(f"{path}: this is not UTF-8 text; the file must hold the value and nothing else") from None
    return value.removesuffix("\n").removesuffix("\r")


def _see_private(path: Path) -> None:
    """Raises ValueError where everybody may read a file, or write it. A container's secrets are everybody's by design."""
    mode = path.stat().st_mode
    if mode & stat.S_IWOTH or (mode & stat.S_IROTH and not path.is_relative_to("/run/secrets")):
        doing = "write" if mode & stat.S_IWOTH else "read"
        raise ValueError(
            f"everybody on this machine may {doing} it, and it holds a secret; make it its owner's alone (chmod 600)"
        )


def _page(text: str) -> Page:
    """A page by its path, before which "file:" may stand as everywhere. Raises ValueError."""
    if not text:
        return Page("")
    path = paths.absolute_path(text.removeprefix("file:"))
    try:
        data = _read(Path(path), PAGE_BYTES)
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from None
    return page(path, data)


def _see_certificates(path: Path) -> None:
    """Raises ValueError unless the file can be read and has a certificate in it."""
    try:
        data = _read(path, CERTIFICATES_BYTES)
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from None
    if b"-----BEGIN CERTIFICATE-----" not in data:
        raise ValueError(f"{path}: there is no certificate in it; name a file with certificates in PEM")


def _see_account(name: str, *, group: bool) -> None:
    """Raises ValueError unless the machine has this user or group."""
    kind, command = ("group", "groupadd --system") if group else ("user", "useradd --system --no-create-home")
    try:
        grp.getgrnam(name) if group else pwd.getpwnam(name)
    except KeyError:
        raise ValueError(f"there is no {kind} {name!r} on this machine; make one: {command} {name}") from None


def _see_apprise() -> None:
    """Raises ValueError where the optional part that tells people is not installed."""
    if importlib.util.find_spec("apprise") is None:
        raise ValueError(
            "it needs apprise, which is not installed beside edgeproxy; run pip install apprise, or leave this out"
        )


def _read(path: Path, most: int) -> bytes:
    """A file's bytes, bounded. Raises ValueError with what is wrong and what to do.

    Opened without blocking, so that a pipe which nobody writes to does not stop the program.
    """
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except FileNotFoundError:
        raise ValueError("there is no such file; check the path, or make the file") from None
    except PermissionError:
        raise ValueError(
            f"user id {os.geteuid()} may not read it; give that user the right to, or run as one who has it"
        ) from None
    except (OSError, ValueError) as error:
        raise ValueError(f"it cannot be opened: {getattr(error, 'strerror', None) or error}; name a readable file") from None
    mode = os.fstat(descriptor).st_mode
    if not stat.S_ISREG(mode):
        os.close(descriptor)
        raise ValueError(f"this is {'a folder' if stat.S_ISDIR(mode) else 'no regular file'}; name a file")
    with open(descriptor, "rb", buffering=0) as file:
        parts = b""
        try:
            while len(parts) <= most and (part := file.read(most + 1 - len(parts))):
                parts += part
        except OSError as error:
            raise ValueError(f"it cannot be read: {error.strerror}; look at the disk, or name another file") from None
    if len(parts) > most:
        raise ValueError(f"it has more than {Size(most)}; that cannot be what was meant")
    return parts


def _syntax(message: str, text: str) -> str:
    """tomllib's complaint as ":LINE: …", with the usual cause."""
    found = _AT_LINE.match(message)
    if found is None:
        return f": {message}"
    lines = text.splitlines() or [""]
    number = int(found["line"]) if found["line"] else len(lines)
    line = lines[min(number, len(lines)) - 1]
    what = found["what"][:1].lower() + found["what"][1:]
    column = f" in column {found['column']}" if found["column"] else ""
    hint = ""
    name, equals, rest = line.partition("=")
    if "overwrite" in what or "declare" in what or "twice" in what:
        what, column, hint = "this key or table is there already", "", "; keep one of them"
    elif equals and "value" in what.lower() and _BARE_TEXT.match(rest.strip()[:1] or "\0"):
        hint = f'; a text stands in quotes: {name.strip()} = "{rest.split("#")[0].strip()}"'
    elif not equals and "'='" in what:
        hint = '; a line is "key = value" or "[table]"'
    return f":{number}: this is not TOML: {what}{column}{hint}"


def _unknown(key: Key, known: list[str]) -> str:
    """What to say of a key that is not known: the nearest here, or the table where it belongs."""
    import difflib

    name = key[-1]
    near = difflib.get_close_matches(name.lower().replace("-", "_"), known, n=1, cutoff=0.6)
    if near:
        return f"there is no such key; did you mean {near[0]!r}?"
    elsewhere = [place for place in _places(Config, ()) if place[-1] == name]
    if elsewhere:
        return f"there is no such key here; did you mean {'.'.join(elsewhere[0])!r}?"
    what = f"[{_name(key[:-1])}] has" if len(key) > 1 else "the tables are"
    return f"there is no such key; {what} {', '.join(known)}"


def _places(kind: Any, key: Key) -> typing.Iterator[Key]:
    for name, hint in typing.get_type_hints(kind).items():
        yield (*key, name)
        if isinstance(hint, type) and issubclass(hint, msgspec.Struct):
            yield from _places(hint, (*key, name))


def _described(value: Any) -> str:
    kinds: list[tuple[type | types.UnionType, str]] = [
        (bool, "true or false"),
        (int, "a number"),
        (float, "a number with a fraction"),
        (str, "a text"),
        (list, "a list"),
        (dict, "a table"),
    ]
    return next((text for kind, text in kinds if isinstance(value, kind)), "a date or time")


def _shown(value: Any) -> str:
    """A value as TOML would write it, shortened."""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, str):
        return f'"{value if len(value) <= 80 else value[:77] + "…"}"'
    return str(value) if isinstance(value, int | float) else f"this, {_described(value)},"


def _either(choices: tuple[Any, ...]) -> str:
    quoted = [f'"{choice}"' for choice in choices]
    return " or ".join(filter(None, (", ".join(quoted[:-1]), quoted[-1])))
