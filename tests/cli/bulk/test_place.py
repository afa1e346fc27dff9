"""The note how far an import has come."""

import pytest

from edgeproxy.cli.bulk.place import Place, PlaceFile

PLACE = Place(line=7, offset=70, added=3, there=2, refused=1, ahead=4, refused_bytes=55, last="a.example.com")


@pytest.fixture
def imported(tmp_path):
    path = tmp_path / "domains.csv"
    path.write_text("hostname,workspace\n")
    return path


def noted(path, **options):
    with path.open("rb") as file:
        return PlaceFile(path, file, options)


def test_it_comes_back_to_the_same_command_with_the_same_file(imported):
    assert noted(imported).read() == (Place(), False)
    noted(imported, workspace="w").write(PLACE)
    assert noted(imported, workspace="w").read() == (PLACE, False)
    assert noted(imported, workspace="v").read() == (Place(), True)
    assert PLACE.lines == 6
    noted(imported).remove()
    assert [path.name for path in imported.parent.iterdir()] == ["domains.csv"]
    noted(imported).remove()


def test_another_file_of_the_same_name_begins_at_its_beginning(imported):
    noted(imported).write(PLACE)
    imported.write_text("hostname,workspace\na.example.com,w\n")
    assert noted(imported).read() == (Place(), True)


@pytest.mark.parametrize("text", ["", "{", "[]", "7", '{"of": 1}', '{"line": 7}'])
def test_a_note_that_cannot_be_read_counts_as_none(imported, text):
    file = noted(imported)
    file.path.write_text(text)
    assert file.read() == (Place(), True)


def test_a_note_of_another_version_counts_as_none(imported):
    file = noted(imported)
    file.write(PLACE)
    file.path.write_text(file.path.read_text().replace('"ahead"', '"beyond"'))
    assert file.read() == (Place(), True)


def test_where_it_cannot_be_written_that_is_known(imported):
    file = noted(imported)
    file.path = imported / "nowhere.resume"
    file.write(PLACE)
    assert not file.works
