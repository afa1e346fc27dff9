"""The publisher's side of the map, and what is left of it when it is killed."""

from __future__ import annotations

import errno
import os
import select
import shutil
import signal
import stat
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from edgeproxy import disk
from edgeproxy.errors import MapError
from edgeproxy.published import layout
from edgeproxy.published.records import CHANGES_RING, Change, Site
from edgeproxy.published.writer import DAMAGED, KEEP_OLD_MAPS, MapWriter, Put
from tests.published.peer import peer

A = Site(workspace="a")
SCRIPT = """
import os, sys
from pathlib import Path
from edgeproxy.published import layout, writer as module
from edgeproxy.published.records import Site
from edgeproxy.published.writer import MapWriter
writer = MapWriter(Path(sys.argv[1]))
"""


def child(directory: Path, program: str) -> subprocess.Popen[str]:
    """A writing process that will be killed."""
    return subprocess.Popen([sys.executable, "-c", SCRIPT + program, str(directory)], stdout=subprocess.PIPE, text=True)


def names(directory: Path) -> list[str]:
    return sorted(path.name for path in (directory / "published").iterdir())


def sites(directory: Path, *keys: str) -> str:
    with peer(directory) as reader:
        return reader.ask(f"[site and site.workspace for site in map(reader.site, {list(keys)!r})]")


def test_a_new_state_directory_has_no_map_until_one_is_built(tmp_path: Path) -> None:
    writer = MapWriter(tmp_path)
    assert (writer.change(), writer.store_id(), writer.settings(), writer.intact()) == (None, "", b"", False)
    with pytest.raises(MapError, match="no published map"):
        writer.apply([], [], 1)
    writer.rebuild([("sites", "a.example.com", A)], 7, store_id="one", settings=b"two")
    assert (writer.change(), writer.store_id(), writer.settings(), writer.intact()) == (7, "one", b"two", True)
    assert sites(tmp_path, "a.example.com") == "['a']"
    writer.close()


def test_a_map_is_there_again_after_a_restart(tmp_path: Path) -> None:
    writer = MapWriter(tmp_path)
    writer.rebuild([("sites", "a.example.com", A)], 7, store_id="one")
    writer.apply([("sites", "b.example.com", A)], [], 8, settings=b"new")
    writer.close()
    again = MapWriter(tmp_path)
    assert (again.change(), again.store_id(), again.settings()) == (8, "one", b"new")
    assert sites(tmp_path, "b.example.com") == "['a']"
    again.close()


def test_what_is_already_so_is_not_announced(tmp_path: Path) -> None:
    writer = MapWriter(tmp_path)
    writer.rebuild([("sites", "a.example.com", A)], 0)
    changed = writer.apply([("sites", "a.example.com", A), ("sites", "b.example.com", A)], [("sites", "c.example.com")], 1)
    assert changed == [Change(database="sites", key="b.example.com")]
    assert writer.apply([], [("sites", "b.example.com")], 2) == changed
    assert writer.change() == 2
    writer.close()


def test_an_older_writer_does_not_undo_what_a_newer_one_wrote(tmp_path: Path) -> None:
    writer = MapWriter(tmp_path)
    writer.rebuild([("sites", "a.example.com", A)], 5)
    assert writer.apply([("sites", "a.example.com", Site(workspace="stale"))], [], 4) == []
    assert writer.change() == 5
    assert sites(tmp_path, "a.example.com") == "['a']"
    assert writer.apply([("sites", "a.example.com", Site(workspace="same number"))], [], 5) != []
    writer.close()


def test_more_changes_than_the_ring_holds_at_once_leave_the_newest_in_it(tmp_path: Path) -> None:
    writer = MapWriter(tmp_path)
    writer.rebuild([], 0)
    with peer(tmp_path) as reader:
        writer.apply([("sites", f"n{n}.example.com", A) for n in range(CHANGES_RING + 10)], [], 1)
        assert reader.ask("reader.changes()") == "None"
    writer.close()


@pytest.mark.parametrize("key", ["", "x" * 512])
def test_a_key_that_does_not_fit_fails_the_whole_call(tmp_path: Path, key: str) -> None:
    writer = MapWriter(tmp_path)
    writer.rebuild([], 0)
    with pytest.raises(MapError, match="1 to 511") as caught:
        writer.apply([("sites", "a.example.com", A), ("sites", key, A)], [], 1)
    assert not caught.value.retryable
    assert writer.change() == 0
    assert sites(tmp_path, "a.example.com") == "[None]"
    writer.close()


def test_folders_and_files_have_their_modes_whatever_the_umask(tmp_path: Path) -> None:
    old = os.umask(0o077)
    try:
        writer = MapWriter(tmp_path)
        writer.rebuild([("sites", "a.example.com", A)], 0)
    finally:
        os.umask(old)
    writer.close()
    folder = layout.map_folder(tmp_path, 1)
    modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in (folder.parent, folder, *folder.iterdir())}
    modes["current"] = stat.S_IMODE((folder.parent / "current").stat().st_mode)
    assert modes == {"published": 0o2750, "1-1": 0o2750, "data.mdb": 0o640, "lock.mdb": 0o660, "current": 0o640}


def test_the_map_takes_no_more_room_than_what_is_in_it(tmp_path: Path) -> None:
    writer = MapWriter(tmp_path)
    writer.rebuild([("sites", "a.example.com", A)], 0)
    assert (layout.map_folder(tmp_path, 1) / "data.mdb").stat().st_size < 1024 * 1024
    writer.close()


def test_a_rebuild_moves_to_a_folder_of_its_own_and_current_stays_the_same_file(tmp_path: Path) -> None:
    writer = MapWriter(tmp_path)
    writer.rebuild([("sites", "a.example.com", A)], 1)
    before = layout.identity(tmp_path / "published" / "current")
    writer.rebuild([("sites", "b.example.com", A)], 2)
    assert layout.identity(tmp_path / "published" / "current") == before
    assert names(tmp_path) == ["1-1", "1-2", "current"]
    assert sites(tmp_path, "a.example.com", "b.example.com") == "[None, 'a']"
    writer.close()


def test_while_a_map_is_rebuilt_the_old_one_is_read_and_written(tmp_path: Path) -> None:
    writer = MapWriter(tmp_path)
    writer.rebuild([("sites", "a.example.com", A)], 1)
    with writer.rebuilding() as rebuild:
        rebuild.put([("sites", "b.example.com", A)])
        writer.apply([("sites", "c.example.com", A)], [], 2)
        assert sites(tmp_path, "a.example.com", "b.example.com", "c.example.com") == "['a', None, 'a']"
        rebuild.finish(1, store_id="", settings=b"")
    assert sites(tmp_path, "a.example.com", "b.example.com", "c.example.com") == "[None, 'a', None]"
    assert writer.change() == 1
    writer.close()


def test_a_rebuild_that_fails_leaves_nothing_behind(tmp_path: Path) -> None:
    writer = MapWriter(tmp_path)
    writer.rebuild([("sites", "a.example.com", A)], 1)
    with pytest.raises(MapError, match="1 to 511"):
        writer.rebuild([("sites", "x" * 600, A)], 2)
    assert names(tmp_path) == ["1-1", "current"]
    assert (writer.change(), writer.intact()) == (1, True)
    writer.close()


def test_epochs_are_never_used_twice_while_a_trace_of_them_is_left(tmp_path: Path) -> None:
    writer = MapWriter(tmp_path)
    writer.rebuild([], 1)
    writer.rebuild([], 2)
    shutil.rmtree(tmp_path / "published")
    assert not writer.intact()
    writer.rebuild([], 3)
    assert names(tmp_path) == ["1-3", "current"]
    writer.close()
    (tmp_path / "published" / "2-9").mkdir()
    later = MapWriter(tmp_path)
    later.rebuild([], 4)
    assert "1-10" in names(tmp_path)
    later.close()


@pytest.mark.parametrize(
    "lost", ["published", "published/current", "published/1-1", "published/1-1/data.mdb", "published/1-1/lock.mdb"]
)
def test_files_that_somebody_deleted_are_missed(tmp_path: Path, lost: str) -> None:
    writer = MapWriter(tmp_path)
    writer.rebuild([], 1)
    assert writer.intact()
    path = tmp_path / lost
    shutil.rmtree(path) if path.is_dir() else path.unlink()
    assert not writer.intact()
    writer.rebuild([("sites", "a.example.com", A)], 1)
    assert writer.intact()
    assert sites(tmp_path, "a.example.com") == "['a']"
    writer.close()


@pytest.mark.parametrize("damage", ["empty", "garbage", "cut", "current"])
def test_a_map_damaged_while_nobody_looked_is_not_used(tmp_path: Path, damage: str) -> None:
    writer = MapWriter(tmp_path)
    writer.rebuild([("sites", f"n{n}.example.com", A) for n in range(3000)], 1)
    writer.close()
    data = layout.map_folder(tmp_path, 1) / "data.mdb"
    match damage:
        case "empty":
            data.write_bytes(b"")
        case "garbage":
            data.write_bytes(os.urandom(data.stat().st_size))
        case "cut":
            os.truncate(data, data.stat().st_size // 2)
        case "current":
            (tmp_path / "published" / "current").write_bytes(b"?" * 10)
    again = MapWriter(tmp_path)
    assert again.change() is None
    again.rebuild([("sites", "a.example.com", A)], 1)
    assert sites(tmp_path, "a.example.com") == "['a']"
    again.close()


def test_damage_that_is_met_while_writing_says_that_a_rebuild_is_due(tmp_path: Path) -> None:
    writer = MapWriter(tmp_path)
    writer.rebuild([("sites", f"n{n:05}.example.com", A) for n in range(5000)], 1)
    writer.close()
    data = layout.map_folder(tmp_path, 1) / "data.mdb"
    content = bytearray(data.read_bytes())
    at = content.index(b"n02500.example.com") // 4096 * 4096
    content[at : at + 4096] = bytes(4096)
    data.write_bytes(content)
    again = MapWriter(tmp_path)
    assert again.change() == 1
    with pytest.raises(MapError) as caught:
        again.apply([("sites", "n02500.example.com", A)], [], 2)
    assert caught.value.code == DAMAGED
    again.close()


def test_old_maps_go_when_they_are_old_and_unread(tmp_path: Path) -> None:
    writer = MapWriter(tmp_path)
    writer.rebuild([], 1)
    with peer(tmp_path) as reader:
        reader.ask("reader.site('a.example.com')")
        writer.rebuild([], 2)
        assert writer.remove_old(time.time()) == []
        assert writer.remove_old(time.time() + KEEP_OLD_MAPS + 1) == []
        reader.ask("reader.check_current() and reader.site('a.example.com')")
        assert writer.remove_old(time.time()) == []
        assert writer.remove_old(time.time() + KEEP_OLD_MAPS + 1) == ["1-1"]
        assert reader.ask("reader.site('a.example.com')") == "None"
    assert names(tmp_path) == ["1-2", "current"]
    writer.close()


def test_half_made_maps_of_a_killed_rebuild_go_too_and_other_folders_stay(tmp_path: Path) -> None:
    program = "rebuild = writer.rebuilding(); rebuild.put([('sites', 'a', Site())]); print('ready', flush=True); input()"
    process = child(tmp_path, program)
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    process.kill()
    process.communicate()
    (tmp_path / "published" / "notes").mkdir()
    writer = MapWriter(tmp_path)
    assert writer.change() is None
    writer.rebuild([], 1)
    assert names(tmp_path) == ["1-1", "1-2", "current", "notes"]
    assert writer.remove_old(time.time() + KEEP_OLD_MAPS + 1) == ["1-1"]
    writer.close()


def test_a_writer_killed_between_commit_and_announcement_announces_at_its_next_start(tmp_path: Path) -> None:
    writer = MapWriter(tmp_path)
    writer.rebuild([("sites", "a.example.com", A)], 1)
    writer.close()
    with peer(tmp_path) as reader:
        stamp = reader.ask("reader.stamp()")
        process = child(
            tmp_path,
            "layout.Current.move = lambda self, word: os.kill(os.getpid(), 9)\n"
            "writer.apply([('sites', 'b.example.com', Site(workspace='b'))], [], 2)",
        )
        process.communicate()
        assert process.returncode == -signal.SIGKILL
        assert reader.ask("reader.stamp()") == stamp
        again = MapWriter(tmp_path)
        assert again.change() == 2
        assert reader.ask("reader.stamp()") != stamp
        assert reader.ask("[c.key for c in reader.changes()]") == "['b.example.com']"
        again.close()


@pytest.mark.parametrize("step", ["sync", "_open", "_permissions", "create_current"])
def test_a_writer_killed_within_a_rebuild_leaves_the_map_before_it(tmp_path: Path, step: str) -> None:
    writer = MapWriter(tmp_path)
    writer.rebuild([("sites", "a.example.com", A)], 1)
    writer.close()
    kill = "(lambda *a, **k: os.kill(os.getpid(), 9))"
    where = {
        "sync": f"module.Rebuild.finish = {kill}",
        "_open": f"rebuild.put([]); module._open = {kill}",
        "_permissions": f"MapWriter._permissions = {kill}",
        "create_current": f"MapWriter._install = {kill}",
    }[step]
    program = f"""
with writer.rebuilding() as rebuild:
    rebuild.put([('sites', 'b.example.com', Site(workspace='b'))])
    {where}
    rebuild.finish(2, store_id='', settings=b'')
"""
    process = child(tmp_path, program)
    process.communicate()
    assert process.returncode == -signal.SIGKILL
    again = MapWriter(tmp_path)
    assert again.change() == 1
    assert sites(tmp_path, "a.example.com", "b.example.com") == "['a', None]"
    again.rebuild([("sites", "b.example.com", A)], 2)
    assert sites(tmp_path, "a.example.com", "b.example.com") == "[None, 'a']"
    again.close()


def test_a_writer_killed_at_any_moment_leaves_whole_commits(tmp_path: Path) -> None:
    """Each commit n writes site n and moves "last" to n: after a kill these two and the change number agree."""
    writer = MapWriter(tmp_path)
    writer.rebuild([], 0)
    writer.close()
    program = """
n = writer.change()
print('ready', flush=True)
while True:
    n += 1
    writer.apply([('sites', f'n{n}', Site(workspace='x' * 500)), ('sites', 'last', Site(workspace=str(n)))], [], n)
"""
    reached = 0
    for round_ in range(6):
        process = child(tmp_path, program)
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        select.select([], [], [], 0.01 + 0.013 * round_)
        process.kill()
        process.communicate()
        again = MapWriter(tmp_path)
        change = again.change()
        assert change is not None
        assert change >= reached
        reached = change
        current = layout.Current(tmp_path / "published" / "current")
        again.close()
        if reached:
            assert sites(tmp_path, "last", f"n{reached}", f"n{reached + 1}") == str([str(reached), "x" * 500, None])
            with peer(tmp_path) as reader:
                assert reader.ask("reader.stamp()") == str(current.word())
        current.close()
    assert reached > 0


@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    steps=st.lists(
        st.one_of(
            st.tuples(st.just("put"), st.sampled_from("abcdef"), st.integers(0, 3)),
            st.tuples(st.just("delete"), st.sampled_from("abcdef"), st.just(0)),
            st.tuples(st.just("reopen"), st.just(""), st.just(0)),
            st.tuples(st.just("rebuild"), st.just(""), st.just(0)),
        ),
        max_size=25,
    )
)
def test_whatever_is_done_the_map_holds_what_was_put(
    steps: list[tuple[str, str, int]], tmp_path_factory: pytest.TempPathFactory
) -> None:
    directory = tmp_path_factory.mktemp("map")
    writer = MapWriter(directory)
    writer.rebuild([], 0)
    model: dict[str, Site] = {}
    change = 0
    for action, key, value in steps:
        change += 1
        match action:
            case "put":
                site = Site(workspace=str(value))
                announced = writer.apply([("sites", key, site)], [], change)
                assert bool(announced) == (model.get(key) != site)
                model[key] = site
            case "delete":
                announced = writer.apply([], [("sites", key)], change)
                assert bool(announced) == (model.pop(key, None) is not None)
            case "reopen":
                change -= 1
                assert writer.reopen()
            case "rebuild":
                writer.rebuild([("sites", name, site) for name, site in model.items()], change)
        assert writer.change() == change
    writer.close()
    env, kinds = _opened(directory)
    with env.begin(kinds["sites"]) as transaction:
        assert {key.decode() for key, _ in transaction.cursor()} == set(model)
    env.close()


def _opened(directory: Path):
    from edgeproxy.published.writer import _open

    current = layout.Current(directory / "published" / "current")
    epoch = layout.epoch_of(current.word())
    current.close()
    return _open(layout.map_folder(directory, epoch), create=False)


def test_closing_waits_for_a_call_that_somebody_gave_up(tmp_path: Path) -> None:
    writer = MapWriter(tmp_path)
    writer.rebuild([], change=1)
    begun, go_on = threading.Event(), threading.Event()

    def slowly() -> Iterator[Put]:
        begun.set()
        go_on.wait(30)
        yield "sites", "late.test", Site(workspace="w")

    given_up = threading.Thread(target=writer.apply, args=(slowly(), [], 2))
    given_up.start()
    begun.wait(30)
    closing = threading.Thread(target=writer.close)
    closing.start()
    go_on.set()
    closing.join(30)
    given_up.join(30)
    assert not closing.is_alive()
    again = MapWriter(tmp_path)
    assert again.change() == 2
    again.close()


def test_the_table_of_readers_has_its_blocks_before_anybody_reads(tmp_path: Path) -> None:
    writer = MapWriter(tmp_path)
    writer.rebuild([], change=1)
    (lock,) = (tmp_path / "published").glob("*/lock.mdb")
    status = lock.stat()
    assert status.st_blocks * 512 >= status.st_size
    assert stat.S_IMODE(status.st_mode) == layout.LOCK_MODE
    writer.close()


def test_a_full_disk_is_told_and_nothing_half_made_is_left(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    writer = MapWriter(tmp_path)
    assert writer.fresh
    for function in ("posix_fallocate", "fsync"):  # the table of readers; the word that says which map counts
        with monkeypatch.context() as patch:
            patch.setattr(os, function, full)
            with pytest.raises(MapError, match="The disk is full") as caught:
                writer.rebuild([("sites", "a.example.com", A)], 1)
        assert caught.value.code == disk.FULL
        assert names(tmp_path) == []
    writer.rebuild([("sites", "a.example.com", A)], 1)
    assert names(tmp_path) == ["1-1", "current"]
    writer.close()
    again = MapWriter(tmp_path)
    assert not again.fresh
    again.close()
