"""Where maps lie, and the file that says which one counts."""

from __future__ import annotations

import stat
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgeproxy.errors import MapError
from edgeproxy.published import layout
from edgeproxy.published.records import CHANGES_RING, SCHEMA


@given(st.integers(0, layout.MAX_EPOCH), st.integers(0, (1 << 40) - 1))
def test_epoch_and_generation_come_out_of_the_word_as_they_went_in(epoch: int, generation: int) -> None:
    word = layout.word_of(epoch, generation)
    assert (layout.epoch_of(word), layout.generation_of(word)) == (epoch, generation)
    assert 0 <= word < 1 << 64


@given(st.integers(0, layout.MAX_EPOCH))
def test_a_maps_folder_is_found_by_its_name(epoch: int) -> None:
    assert layout.parse_folder(layout.map_folder(Path("/state"), epoch).name) == (SCHEMA, epoch)


@pytest.mark.parametrize("name", ["current", "1", "1-", "-1", "1-2-3", "1-x", "1-99999999", "١-٢", "1-2\n", ".current.12"])
def test_other_names_are_no_maps(name: str) -> None:
    assert layout.parse_folder(name) is None


@given(st.integers(0, 1 << 40))
def test_a_place_in_the_ring_is_used_again_only_after_a_whole_round(sequence: int) -> None:
    key = layout.ring_key(sequence)
    assert len(key) == 8
    assert layout.ring_key(sequence + CHANGES_RING) == key
    assert layout.ring_key(sequence + 1) != key


def test_a_damaged_counter_is_a_map_error() -> None:
    assert layout.number(None) == 0
    assert layout.number((77).to_bytes(8, "big")) == 77
    with pytest.raises(MapError, match="damaged"):
        layout.number(b"abc")


def test_what_the_publisher_writes_into_current_readers_see_at_once(tmp_path: Path) -> None:
    path = tmp_path / "current"
    layout.create_current(path, layout.word_of(1, 5), None)
    reader, writer = layout.Current(path), layout.Current(path, writable=True)
    assert reader.word() == layout.word_of(1, 5)
    writer.move(layout.word_of(2, 0))
    assert reader.word() == layout.word_of(2, 0)
    with pytest.raises(TypeError):
        reader.move(0)
    reader.close()
    writer.close()


def test_current_is_readable_by_the_group_and_nobody_else(tmp_path: Path) -> None:
    path = tmp_path / "current"
    layout.create_current(path, 1, tmp_path.stat().st_gid)
    assert stat.S_IMODE(path.stat().st_mode) == 0o640
    assert path.stat().st_size == layout.CURRENT_SIZE
    assert [entry.name for entry in tmp_path.iterdir()] == ["current"]


@pytest.mark.parametrize("content", [b"", b"edgemap1", b"x" * 64, b"edgemap1" + bytes(57)])
def test_a_file_of_another_form_is_never_mapped(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "current"
    path.write_bytes(content)
    with pytest.raises(MapError):
        layout.Current(path)


def test_a_missing_file_or_a_folder_in_its_place_is_a_map_error(tmp_path: Path) -> None:
    with pytest.raises(MapError, match="No such file"):
        layout.Current(tmp_path / "current")
    with pytest.raises(MapError):
        layout.Current(tmp_path)


def test_a_file_made_anew_has_another_identity(tmp_path: Path) -> None:
    path = tmp_path / "current"
    layout.create_current(path, 1, None)
    first = layout.Current(path)
    assert layout.identity(path) == first.identity
    path.unlink()
    assert layout.identity(path) is None
    layout.create_current(path, 1, None)
    assert layout.identity(path) != first.identity
    first.close()


def test_a_folder_that_cannot_be_written_is_a_map_error(tmp_path: Path) -> None:
    with pytest.raises(MapError, match="cannot be made"):
        layout.create_current(tmp_path / "none" / "current", 1, None)
