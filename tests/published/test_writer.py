"""The publisher's side of the map."""

from pathlib import Path

from edgeproxy.published.records import Change, Site
from edgeproxy.published.writer import MapWriter
from tests.published.peer import peer

A = Site(workspace="a")


def test_a_new_state_directory_has_no_map_until_one_is_built(tmp_path: Path) -> None:
    writer = MapWriter(tmp_path)
    assert writer.change() is None
    writer.rebuild([("sites", "a.example.com", A)], 7)
    assert writer.change() == 7
    with peer(tmp_path) as reader:
        assert reader.ask("reader.site('a.example.com').workspace") == "'a'"
    writer.close()


def test_what_is_written_is_announced_once(tmp_path: Path) -> None:
    writer = MapWriter(tmp_path)
    writer.rebuild([("sites", "a.example.com", A)], 0)
    with peer(tmp_path) as reader:
        before = reader.ask("reader.stamp()")
        changed = writer.apply([("sites", "a.example.com", A), ("sites", "b.example.com", A)], [("sites", "c.example.com")], 1)
        assert changed == [Change(database="sites", key="b.example.com")]
        assert reader.ask("reader.stamp()") != before
        assert reader.ask("[c.key for c in reader.changes()]") == "['b.example.com']"
        assert reader.ask("reader.changes()") == "[]"
    writer.close()
