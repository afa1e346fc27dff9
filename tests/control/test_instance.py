"""The machine's own id."""

import errno
from pathlib import Path

import pytest

from edgeproxy.control.instance import FILE, machine_id
from edgeproxy.errors import StateError


def test_a_machine_keeps_its_id_and_two_have_two(tmp_path):
    one, other = tmp_path / "one", tmp_path / "other"
    one.mkdir()
    other.mkdir()
    assert machine_id(one) == machine_id(one)
    assert machine_id(one) != machine_id(other)
    assert [path.name for path in one.iterdir()] == [FILE]


def test_an_id_that_is_none_is_made_anew(tmp_path):
    (tmp_path / FILE).write_bytes(b"\xff\0 something else")
    made = machine_id(tmp_path)
    assert len(made) == 16
    assert machine_id(tmp_path) == made


def test_a_place_that_cannot_be_written_is_told(tmp_path):
    with pytest.raises(StateError, match="machine's id cannot be kept"):
        machine_id(tmp_path / "none")


def test_where_the_disk_is_full_nothing_half_done_is_left(tmp_path, monkeypatch):
    def full(path, _target):
        raise OSError(errno.ENOSPC, "No space left on device", str(path))

    monkeypatch.setattr(Path, "replace", full)
    with pytest.raises(StateError, match="disk is full"):
        machine_id(tmp_path)
    assert list(tmp_path.iterdir()) == []
