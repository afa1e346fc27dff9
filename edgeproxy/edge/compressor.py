"""The compressors: one for each answer, fed with what comes and giving what can be sent at once. Pure.

Settings are those at which a core takes 60 to 150 MB of text a second and a compressor needs less than 1 MB, whatever is fed to
it: better ones gain 5 % and cost twice as much. Windows are far below the 8 MB that RFC 9659 allows zstd.
"""

from __future__ import annotations

import sys
import zlib
from collections.abc import Callable
from typing import Final, Protocol

import brotli

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

_GZIP: Final = 4
_GZIP_WINDOW: Final = 16 + 15  # with gzip's header and checksum
_BROTLI: Final = {"quality": 4, "lgwin": 16}
_ZSTD: Final = {
    int(zstd.CompressionParameter.compression_level): 3,
    int(zstd.CompressionParameter.window_log): 17,
    int(zstd.CompressionParameter.hash_log): 15,
    int(zstd.CompressionParameter.chain_log): 15,
}


class Compressor(Protocol):
    """One answer's."""

    def feed(self, data: bytes | memoryview) -> bytes:
        """More content, of which nothing is held back: what was given so far can be read to its end. `data` is not kept."""

    def finish(self, data: bytes | memoryview) -> bytes:
        """The last content, and the end."""


class Gzip:
    """RFC 1952. About 240 KB."""

    __slots__ = ("_engine",)

    def __init__(self) -> None:
        self._engine = zlib.compressobj(_GZIP, wbits=_GZIP_WINDOW)

    def feed(self, data: bytes | memoryview) -> bytes:
        return self._engine.compress(data) + self._engine.flush(zlib.Z_SYNC_FLUSH)

    def finish(self, data: bytes | memoryview) -> bytes:
        return self._engine.compress(data) + self._engine.flush()


class Brotli:
    """RFC 7932. About 850 KB."""

    __slots__ = ("_engine",)

    def __init__(self) -> None:
        self._engine = brotli.Compressor(**_BROTLI)

    def feed(self, data: bytes | memoryview) -> bytes:
        return bytes(self._engine.process(data)) + bytes(self._engine.flush())

    def finish(self, data: bytes | memoryview) -> bytes:
        return bytes(self._engine.process(data)) + bytes(self._engine.finish())


class Zstandard:
    """RFC 8878. About 700 KB."""

    __slots__ = ("_engine",)

    def __init__(self) -> None:
        self._engine = zstd.ZstdCompressor(options=_ZSTD)

    def feed(self, data: bytes | memoryview) -> bytes:
        return self._engine.compress(data, self._engine.FLUSH_BLOCK)

    def finish(self, data: bytes | memoryview) -> bytes:
        return self._engine.compress(data, self._engine.FLUSH_FRAME)


COMPRESSORS: Final[dict[str, Callable[[], Compressor]]] = {"gzip": Gzip, "br": Brotli, "zstd": Zstandard}
"""By the names that Content-Encoding has for them."""
