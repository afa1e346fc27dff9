"""The workers' side of the map."""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from edgeproxy.errors import MapError
from edgeproxy.published import layout
from edgeproxy.published.reader import MapReader
from edgeproxy.published.records import CHANGES_RING, Certificate, Challenge, Site, Tickets
from edgeproxy.published.writer import MapWriter, _open
from tests.published.peer import peer

A, B = Site(workspace="a"), Site(workspace="b")


@pytest.fixture
def writer(tmp_path: Path) -> Iterator[MapWriter]:
    writer = MapWriter(tmp_path)
    writer.rebuild([("sites", "a.example.com", A)], 1)
    yield writer
    writer.close()


def test_there_is_no_map_before_the_publisher_made_one(tmp_path: Path) -> None:
    with pytest.raises(MapError, match="cannot be opened"):
        MapReader(tmp_path)
    MapWriter(tmp_path).close()
    with pytest.raises(MapError, match="cannot be opened"):
        MapReader(tmp_path)


def test_every_kind_of_record_is_found_under_its_key(writer: MapWriter, tmp_path: Path) -> None:
    certificate = Certificate(names=("a.example.com",), chain=b"pem", sealed_key=b"\1", not_before=1.0, not_after=2.0)
    writer.apply(
        [
            ("sites", "*.example.com", B),
            ("certificates", "c1", certificate),
            ("challenges", "http:a.example.com/t", Challenge(hostname="a.example.com", token="t")),
            ("tickets", "current", Tickets(secrets=(b"s",), starts=(3600,))),
        ],
        [],
        2,
    )
    with peer(tmp_path) as reader:
        assert reader.ask("reader.site('a.example.com').workspace") == "'a'"
        assert reader.ask("reader.site('*.example.com').workspace") == "'b'"
        assert reader.ask("reader.certificate('c1')") == repr(certificate)
        assert reader.ask("reader.challenge('http:a.example.com/t').token") == "'t'"
        assert reader.ask("reader.tickets().starts") == "(3600,)"


def test_a_wildcard_is_a_key_like_others_and_covers_nothing_by_itself(writer: MapWriter, tmp_path: Path) -> None:
    writer.apply([("sites", "*.example.com", B)], [], 2)
    with peer(tmp_path) as reader:
        assert reader.ask("reader.site('b.example.com')") == "None"
        assert reader.ask("reader.changes() or [c.key for c in reader.changes()]") == "[]"


@pytest.mark.parametrize("key", ["", "x" * 600, "\ud800", "b.example.com", "A.EXAMPLE.COM", "a.example.com\0", "ä" * 300])
def test_what_is_not_a_key_is_not_there_rather_than_an_error(writer: MapWriter, tmp_path: Path, key: str) -> None:
    with peer(tmp_path) as reader:
        assert reader.ask(f"(reader.site({key!r}), reader.certificate({key!r}), reader.challenge({key!r}))") == str((None,) * 3)


def test_nothing_changes_for_a_reader_until_something_is_published(writer: MapWriter, tmp_path: Path) -> None:
    with peer(tmp_path) as reader:
        stamp = reader.ask("reader.stamp()")
        assert reader.ask("reader.changes()") == "[]"
        writer.apply([("sites", "a.example.com", A)], [("sites", "none.example.com")], 2)
        assert reader.ask("reader.stamp()") == stamp
        assert reader.ask("reader.changes()") == "[]"


def test_changes_are_told_once_and_in_order(writer: MapWriter, tmp_path: Path) -> None:
    with peer(tmp_path) as reader:
        stamps = {reader.ask("reader.stamp()")}
        for number in range(3):
            writer.apply([("sites", f"n{number}.example.com", A)], [], 2 + number)
            stamps.add(reader.ask("reader.stamp()"))
        writer.apply([], [("sites", "n0.example.com")], 5)
        assert len(stamps) == 4
        assert reader.ask("[c.key.split('.')[0] for c in reader.changes()]") == "['n0', 'n1', 'n2', 'n0']"
        assert reader.ask("reader.changes()") == "[]"


def test_a_reader_that_fell_behind_the_ring_drops_everything_and_then_follows_again(writer: MapWriter, tmp_path: Path) -> None:
    with peer(tmp_path) as reader:
        writer.apply([("sites", f"n{number}.example.com", A) for number in range(CHANGES_RING)], [], 2)
        assert reader.ask("len(reader.changes())") == str(CHANGES_RING)
        writer.apply([("sites", f"m{number}.example.com", A) for number in range(CHANGES_RING + 1)], [], 3)
        assert reader.ask("reader.changes()") == "None"
        assert reader.ask("reader.changes()") == "[]"
        writer.apply([("sites", "last.example.com", A)], [], 4)
        assert reader.ask("[c.key for c in reader.changes()]") == "['last.example.com']"


def test_a_rebuilt_map_is_entered_when_changes_are_asked_for(writer: MapWriter, tmp_path: Path) -> None:
    with peer(tmp_path) as reader:
        stamp = reader.ask("reader.stamp()")
        writer.rebuild([("sites", "b.example.com", B)], 2)
        assert reader.ask("reader.stamp()") != stamp
        assert reader.ask("reader.site('a.example.com').workspace") == "'a'"
        assert reader.ask("reader.changes()") == "None"
        assert reader.ask("reader.site('a.example.com')") == "None"
        assert reader.ask("reader.site('b.example.com').workspace") == "'b'"
        assert reader.ask("(reader.check_current(), reader.changes())") == "(False, [])"


def test_a_rebuilt_map_is_found_by_the_look_each_second_too(writer: MapWriter, tmp_path: Path) -> None:
    with peer(tmp_path) as reader:
        assert reader.ask("reader.check_current()") == "False"
        writer.rebuild([("sites", "b.example.com", B)], 2)
        assert reader.ask("reader.check_current()") == "True"
        assert reader.ask("(reader.site('b.example.com').workspace, reader.changes())") == "('b', None)"


def test_a_deleted_map_goes_on_answering_until_the_new_one_is_there(writer: MapWriter, tmp_path: Path) -> None:
    with peer(tmp_path) as reader:
        shutil.rmtree(tmp_path / "published")
        assert reader.ask("reader.check_current()").startswith("MapError: The published map is gone")
        assert reader.ask("reader.site('a.example.com').workspace") == "'a'"
        writer.rebuild([("sites", "b.example.com", B)], 2)
        assert reader.ask("reader.check_current()") == "True"
        assert reader.ask("reader.changes()") == "None"
        assert reader.ask("reader.site('b.example.com').workspace") == "'b'"
        writer.apply([("sites", "c.example.com", A)], [], 3)
        assert reader.ask("[c.key for c in reader.changes()]") == "['c.example.com']"


def test_a_deleted_current_alone_is_noticed(writer: MapWriter, tmp_path: Path) -> None:
    with peer(tmp_path) as reader:
        (tmp_path / "published" / "current").unlink()
        assert reader.ask("reader.check_current()").startswith("MapError")
        layout.create_current(tmp_path / "published" / "current", layout.word_of(1, 1), None)
        assert reader.ask("reader.check_current()") == "True"
        assert reader.ask("reader.site('a.example.com').workspace") == "'a'"


def test_a_new_map_that_cannot_be_opened_leaves_the_old_one_open(writer: MapWriter, tmp_path: Path) -> None:
    with peer(tmp_path) as reader:
        current = layout.Current(tmp_path / "published" / "current", writable=True)
        before = current.word()
        current.move(layout.word_of(77, 1))
        assert reader.ask("reader.changes()").startswith("MapError: The published map cannot be opened")
        assert reader.ask("reader.check_current()").startswith("MapError")
        assert reader.ask("reader.site('a.example.com').workspace") == "'a'"
        current.move(before)
        assert reader.ask("reader.changes()") == "[]"
        current.close()


def test_damage_is_a_map_error_and_the_reader_lives(writer: MapWriter, tmp_path: Path) -> None:
    writer.apply([("sites", f"n{number}.example.com", A) for number in range(2000)], [], 2)
    writer.close()
    data = layout.map_folder(tmp_path, 1) / "data.mdb"
    content = data.read_bytes()
    # All pages but the two with the roots: the map opens, lookups meet damage.
    data.write_bytes(content[:8192] + bytes(len(content) - 8192))
    with peer(tmp_path, opened=False) as reader:
        assert reader.ask("opened() or reader.site('n7.example.com')").startswith("MapError")
        assert reader.ask("1 + 1") == "2"


@pytest.mark.parametrize("value", [b"", b"\x91\xa1\xff", b"\x93\1\2\3", b"garbage"])
def test_a_record_that_does_not_decode_is_a_map_error(writer: MapWriter, tmp_path: Path, value: bytes) -> None:
    writer.close()
    env, kinds = _open(layout.map_folder(tmp_path, 1), create=False)
    with env.begin(write=True) as transaction:
        transaction.put(b"bad.example.com", value, db=kinds["sites"])
    env.close()
    with peer(tmp_path) as reader:
        assert reader.ask("reader.site('bad.example.com')").startswith("MapError: The published map cannot be read")
        assert reader.ask("reader.site('a.example.com').workspace") == "'a'"


def test_a_map_of_another_schema_is_refused(tmp_path: Path) -> None:
    (tmp_path / "published" / "999-1").mkdir(parents=True)
    layout.create_current(tmp_path / "published" / "current", layout.word_of(1, 1), None)
    with pytest.raises(MapError, match="schema 1"):
        MapReader(tmp_path)


def test_no_lookup_holds_the_map_back(writer: MapWriter, tmp_path: Path) -> None:
    """A reader that stayed in a transaction would keep every replaced page: the file would grow without end."""
    data = layout.map_folder(tmp_path, 1) / "data.mdb"
    with peer(tmp_path) as reader:
        for round_ in range(200):
            writer.apply([("sites", "a.example.com", Site(workspace=f"w{round_}"))], [], 2 + round_)
            reader.ask("reader.changes() and reader.site('a.example.com')")
    # A dozen pages a commit would be 2 MB; what remains is the ring.
    assert data.stat().st_size < 256 * 1024


def test_the_places_of_killed_readers_are_freed(writer: MapWriter, tmp_path: Path) -> None:
    for _ in range(3):
        with peer(tmp_path) as reader:
            reader.ask("reader.site('a.example.com')")
    assert writer.reader_check() >= 3
    assert writer.reader_check() == 0


def test_a_change_is_seen_by_another_process_within_a_tenth_of_a_second(writer: MapWriter, tmp_path: Path) -> None:
    seconds = []
    with peer(tmp_path) as reader:
        for number in range(20):
            reader.send(f"seen('n{number}.example.com', True, 30)")
            began = time.time()
            writer.apply([("sites", f"n{number}.example.com", A)], [], 2 + number)
            seconds.append(float(reader.receive()) - began)
    assert min(seconds) < 0.1, seconds


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become another user")
def test_a_reader_of_another_user_in_the_maps_group_reads_and_cannot_write(tmp_path: Path) -> None:
    group = 54321
    for folder in (tmp_path, *tmp_path.parents):
        if folder.stat().st_uid == 0 and "pytest" in str(folder):
            folder.chmod(0o755)
    old = os.umask(0o077)
    try:
        writer = MapWriter(tmp_path, group=group)
        writer.rebuild([("sites", "a.example.com", A)], 1)
    finally:
        os.umask(old)
    with peer(tmp_path, opened=False) as reader:
        become = f"(__import__('os').setgroups([]), __import__('os').setgid({group}), __import__('os').setuid({group}))"
        assert reader.ask(become) == str((None,) * 3)
        assert reader.ask("opened() or reader.site('a.example.com').workspace") == "'a'"
        writer.apply([("sites", "b.example.com", A)], [], 2)
        assert reader.ask("[c.key for c in reader.changes()]") == "['b.example.com']"
        folder = layout.map_folder(tmp_path, 1)
        for path, mode in ((folder / "data.mdb", 2), (folder, 2), (tmp_path / "published" / "current", 2)):
            assert reader.ask(f"__import__('os').access({str(path)!r}, {mode})") == "False"
    with peer(tmp_path, opened=False) as stranger:
        become = become.replace(f"setgid({group})", "setgid(54322)")
        assert stranger.ask(become) == str((None,) * 3)
        assert stranger.ask("opened()").startswith("MapError")
    writer.close()
