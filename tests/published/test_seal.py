"""What is sealed opens under its key and context, and under nothing else."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgeproxy.errors import MapError
from edgeproxy.published.seal import OVERHEAD, Sealer

ONE, OTHER = Sealer(b"1" * 32), Sealer(b"2" * 32)


@given(st.binary(max_size=5000), st.binary(max_size=300))
def test_a_secret_opens_under_its_own_key_and_context(secret: bytes, context: bytes) -> None:
    sealed = ONE.seal(secret, context)
    assert len(sealed) == len(secret) + OVERHEAD
    assert ONE.open(sealed, context) == secret


@given(st.binary(max_size=200), st.binary(max_size=50), st.binary(max_size=50))
def test_another_context_or_key_opens_nothing(secret: bytes, context: bytes, other: bytes) -> None:
    sealed = ONE.seal(secret, context)
    if other != context:
        with pytest.raises(MapError):
            ONE.open(sealed, other)
    with pytest.raises(MapError):
        OTHER.open(sealed, context)


@given(st.binary(max_size=64), st.data())
def test_a_changed_bit_is_noticed(secret: bytes, data: st.DataObject) -> None:
    sealed = bytearray(ONE.seal(secret, b"key:1"))
    sealed[data.draw(st.integers(0, len(sealed) - 1))] ^= 1 << data.draw(st.integers(0, 7))
    with pytest.raises(MapError):
        ONE.open(bytes(sealed), b"key:1")


@given(st.binary(max_size=100))
def test_anything_else_is_refused_without_another_error(garbage: bytes) -> None:
    with pytest.raises(MapError):
        ONE.open(garbage, b"key:1")


def test_sealing_twice_gives_two_texts() -> None:
    assert ONE.seal(b"secret", b"c") != ONE.seal(b"secret", b"c")


def test_a_key_of_another_length_is_refused() -> None:
    with pytest.raises(ValueError, match="32 bytes"):
        Sealer(b"short")


def test_neither_key_nor_secret_is_in_its_repr() -> None:
    assert "1" * 8 not in repr(ONE)
