"""The compressors, read by the decoders of others."""

from __future__ import annotations

import sys
import zlib

import brotli
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgeproxy.edge.compressor import COMPRESSORS

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

CODINGS = sorted(COMPRESSORS)
TEXT = b"".join(b"<li>item %d of a list</li>\n" % number for number in range(20_000))


class Decoder:
    """Reads what has come so far, by the reference library of each coding."""

    def __init__(self, coding: str) -> None:
        self.coding = coding
        self._engine = {"gzip": lambda: zlib.decompressobj(31), "br": brotli.Decompressor, "zstd": zstd.ZstdDecompressor}[
            coding
        ]()

    def read(self, data: bytes) -> bytes:
        if self.coding != "br":
            return bytes(self._engine.decompress(data))
        read = piece = self._engine.process(data)
        while piece and not self.ended:  # brotli's binding may stop with a window of output left
            piece = self._engine.process(b"")
            read += piece
        return bytes(read)

    @property
    def ended(self) -> bool:
        return bool(self._engine.is_finished() if self.coding == "br" else self._engine.eof)


@pytest.mark.parametrize("coding", CODINGS)
@given(st.lists(st.tuples(st.binary(max_size=200), st.sampled_from([1, 160])), max_size=6), st.binary(max_size=100))
@settings(max_examples=40)
def test_what_is_fed_can_be_read_at_once_and_has_an_end(coding: str, pieces: list[tuple[bytes, int]], last: bytes) -> None:
    compressor, decoder = COMPRESSORS[coding](), Decoder(coding)
    for unit, times in pieces:
        piece = unit * times
        assert decoder.read(compressor.feed(memoryview(piece))) == piece
        assert not decoder.ended
    assert decoder.read(compressor.finish(last)) == last
    assert decoder.ended


@pytest.mark.parametrize("coding", CODINGS)
def test_text_becomes_a_fraction_and_the_buffer_may_be_used_again(coding: str) -> None:
    buffer = bytearray(65536)
    compressor, decoder, size, read = COMPRESSORS[coding](), Decoder(coding), 0, b""
    for at in range(0, len(TEXT), len(buffer)):
        piece = TEXT[at : at + len(buffer)]
        buffer[: len(piece)] = piece
        out = compressor.feed(memoryview(buffer)[: len(piece)])
        buffer[:] = bytes(len(buffer))
        size += len(out)
        read += decoder.read(out)
    assert read == TEXT
    assert size < len(TEXT) / 5


@pytest.mark.parametrize("coding", CODINGS)
def test_what_cannot_be_made_smaller_hardly_grows(coding: str) -> None:
    noise = bytes(zlib.crc32(b"%d" % number) & 255 for number in range(30_000))
    assert len(COMPRESSORS[coding]().finish(noise)) < len(noise) + 200


def test_windows_are_those_that_every_client_takes() -> None:
    frame = COMPRESSORS["zstd"]().feed(TEXT)
    assert zstd.get_frame_info(frame).decompressed_size is None
    descriptor = frame[5]  # behind magic number and frame header descriptor (RFC 8878 section 3.1.1.1.2)
    assert 1 << (10 + (descriptor >> 3)) == 128 * 1024
    assert frame[4] >> 5 == 0  # no single segment, whose window would be the content's size
