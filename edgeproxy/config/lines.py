"""Where each key of a TOML text stands. Pure.

`tomllib` says what a text means but not where; this scanner says where and nothing else. It is given only texts that
tomllib has accepted, so it need not judge, merely keep its place.
"""

from __future__ import annotations

Path = tuple[str, ...]

_BARE = frozenset("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_-")
_ESCAPES = {"b": "\b", "t": "\t", "n": "\n", "f": "\f", "r": "\r", '"': '"', "\\": "\\"}


def lines_of(text: str) -> dict[Path, int]:
    """Line numbers, from 1, by key path. Of a repeated array of tables the last place counts; each of them is there besides
    under its number, from "0": ("webhooks", "endpoints", "0", "url")."""
    return _Scanner(text).scan()


class _Scanner:
    """One pass over the text; `_at` is the next character."""

    def __init__(self, text: str) -> None:
        self._text = text.replace("\r\n", "\n") + "\n"
        self._at = 0
        self._lines: dict[Path, int] = {}
        self._repeated: dict[Path, int] = {}

    def scan(self) -> dict[Path, int]:
        table: Path = ()
        while True:
            self._skip(" \t\n")
            if self._at >= len(self._text):
                return self._lines
            if self._peek() == "#":
                self._to_line_end()
            elif self._peek() == "[":
                start = self._at
                self._skip("[")
                repeats = self._at - start > 1
                table = self._key(())
                if repeats:
                    table = self._numbered(table)
                self._to_line_end()
            else:
                self._key_and_value(table)
                self._to_line_end()

    def _numbered(self, table: Path) -> Path:
        """The path of one more table of an array."""
        number = self._repeated.get(table, -1) + 1
        self._repeated[table] = number
        path = (*table, str(number))
        self._lines[path] = self._lines[table]
        return path

    def _peek(self) -> str:
        return self._text[self._at : self._at + 1]

    def _skip(self, characters: str) -> None:
        while self._at < len(self._text) and self._text[self._at] in characters:
            self._at += 1

    def _to_line_end(self) -> None:
        self._at = self._text.index("\n", self._at)

    def _key_and_value(self, table: Path) -> None:
        path = self._key(table)
        self._skip(" \t=")
        self._value(path)

    def _key(self, table: Path) -> Path:
        """A possibly dotted key; remembers the line for it and for every table that it opens on the way."""
        line = self._text.count("\n", 0, self._at) + 1
        path = table
        while True:
            self._skip(" \t")
            path = (*path, self._key_part())
            self._lines.setdefault(path, line)
            self._skip(" \t")
            if self._peek() != ".":
                self._lines[path] = line
                return path
            self._at += 1

    def _key_part(self) -> str:
        if self._peek() in ("'", '"'):
            return self._string()
        start = self._at
        while self._peek() in _BARE and self._at < len(self._text):
            self._at += 1
        if self._at == start:  # not TOML after all: never stand still
            self._at += 1
        return self._text[start : self._at]

    def _value(self, path: Path) -> None:
        first = self._peek()
        if first in ("'", '"'):
            self._string()
        elif first == "[":
            self._at += 1
            self._members(path, "]")
        elif first == "{":
            self._at += 1
            self._members(path, "}")
        else:
            while self._peek() not in (",", "]", "}", "#", "\n", ""):
                self._at += 1

    def _members(self, path: Path, closing: str) -> None:
        """Elements of an array or pairs of an inline table, up to and with the closing bracket."""
        while self._at < len(self._text):
            self._skip(" \t\n,")
            if self._peek() == "#":
                self._to_line_end()
            elif self._peek() == closing:
                self._at += 1
                return
            elif closing == "}":
                self._key_and_value(path)
            else:
                before = self._at
                self._value(path)
                self._at = max(self._at, before + 1)

    def _string(self) -> str:
        quote = self._peek()
        if self._text.startswith(quote * 3, self._at):
            return self._long_string(quote)
        self._at += 1
        parts = []
        while self._peek() not in (quote, "\n"):
            character = self._peek()
            self._at += 1
            if character == "\\" and quote == '"':
                character = _ESCAPES.get(self._peek(), "\\" + self._peek())
                self._at += 1
            parts.append(character)
        self._at += 1
        return "".join(parts)

    def _long_string(self, quote: str) -> str:
        self._at += 3
        while not self._text.startswith(quote * 3, self._at) and self._at < len(self._text):
            self._at += 2 if quote == '"' and self._peek() == "\\" else 1
        self._skip(quote)  # up to two quotes may end the text itself
        return ""
