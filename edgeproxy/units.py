"""Values that are written with a unit: durations ("30s", "5m") and sizes ("64KiB")."""

from __future__ import annotations

import re
from typing import Any

# Fifteen digits: more make a float infinite, which no arithmetic expects, or are more than int() reads.
_DURATION = re.compile(r"(\d{1,15}(?:\.\d{1,15})?)\s*(ms|s|m|h|d)\Z", re.ASCII)
_SECONDS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}
_SIZE = re.compile(r"(\d{1,15})(?:\s*(B|KiB|MiB|GiB|kB|MB|GB))?\Z", re.ASCII)
_BYTES = {None: 1, "B": 1, "KiB": 1024, "MiB": 1024**2, "GiB": 1024**3, "kB": 1000, "MB": 1000**2, "GB": 1000**3}


class Duration(float):
    """Seconds."""

    @classmethod
    def parse(cls, text: object) -> Duration:
        """Reads "250ms", "30s", "5m", "12h" or "7d"; raises ValueError with what would be right."""
        match = _DURATION.match(text) if isinstance(text, str) else None
        if match is None:
            raise ValueError('a duration is a string with a unit, like "250ms", "30s", "5m", "12h" or "7d"')
        return cls(float(match[1]) * _SECONDS[match[2]])

    def __str__(self) -> str:
        for unit in ("d", "h", "m", "s"):
            count = float(self) / _SECONDS[unit]
            if count >= 1 and count == int(count):
                return f"{int(count)}{unit}"
        return f"{round(float(self) * 1000)}ms"


class Size(int):
    """Bytes."""

    @classmethod
    def parse(cls, text: object) -> Size:
        """Reads "512", "64KiB", "1MiB" or "10MB"; raises ValueError with what would be right."""
        if isinstance(text, int) and not isinstance(text, bool) and text >= 0:
            return cls(text)
        match = _SIZE.match(text) if isinstance(text, str) else None
        if match is None:
            raise ValueError('a size is a number of bytes or a string with a unit, like "64KiB" or "1MiB"')
        return cls(int(match[1]) * _BYTES[match[2]])

    def __str__(self) -> str:
        for unit in ("GiB", "MiB", "KiB"):
            if self and self % _BYTES[unit] == 0:
                return f"{self // _BYTES[unit]}{unit}"
        return f"{int(self)}B"


def decode_hook(kind: type, value: Any) -> Any:
    """msgspec's hook for the two types above, and for texts of a type of their own."""
    if kind is Duration or kind is Size:
        return kind.parse(value)
    if issubclass(kind, str) and isinstance(value, str):
        return kind(value)
    raise NotImplementedError(f"no such configuration type: {kind!r}")


def encode_hook(value: Any) -> Any:
    """The reverse, for printing the effective configuration."""
    if isinstance(value, Duration | Size | str):
        return str(value)
    raise NotImplementedError(f"no such configuration type: {type(value)!r}")
