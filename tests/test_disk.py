"""A disk without room."""

import errno
import os
from types import SimpleNamespace

from edgeproxy import disk
from edgeproxy.errors import Fault, MapError, StateError


def test_what_is_said_names_what_could_not_be_written_and_the_cure(tmp_path):
    error = disk.full(StateError, tmp_path / "state.key")
    assert isinstance(error, StateError)
    assert error.detail == f"The disk is full: {tmp_path}/state.key cannot be written. Make room there, and try again."
    assert (error.code, error.fault, error.retryable) == (disk.FULL, Fault.OPERATOR, True)
    assert isinstance(disk.full(MapError, tmp_path), MapError)


def test_a_full_disk_and_a_used_up_quota_are_told_from_other_errors():
    assert disk.is_full(OSError(errno.ENOSPC, "x"))
    assert disk.is_full(OSError(errno.EDQUOT, "x"))
    assert not disk.is_full(OSError(errno.EACCES, "x"))


def test_whether_there_is_room_is_asked_of_the_disk_that_a_path_is_or_would_be_on(tmp_path, monkeypatch):
    assert not disk.has_no_room(tmp_path)
    assert not disk.has_no_room(tmp_path / "new")
    assert not disk.has_no_room(tmp_path / "no" / "such" / "folder")
    asked = []

    def statvfs(path):
        asked.append(path)
        return SimpleNamespace(f_bavail=free, f_frsize=4096, f_files=100, f_favail=nodes)

    monkeypatch.setattr(os, "statvfs", statvfs)
    for free, nodes, expected in ((15, 50, True), (16, 50, False), (1000, 0, True)):  # noqa: B007 - read by statvfs
        assert disk.has_no_room(tmp_path / "new") is expected
    assert asked == [tmp_path] * 3
