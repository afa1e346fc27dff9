"""An import, against a stand-in for the edge."""

import pytest

from edgeproxy.cli.bulk import run
from edgeproxy.cli.bulk.lines import WrongFile
from edgeproxy.cli.bulk.run import Import, duration
from edgeproxy.cli.client import AdminClient, Refused
from edgeproxy.cli.show import Bar
from edgeproxy.errors import AdminUnavailable


@pytest.fixture(autouse=True)
def small(monkeypatch):
    """Batches of ten, of which a window has four; notes after each; no long waits."""
    monkeypatch.setattr(run, "BATCH", 10)
    monkeypatch.setattr(run, "WINDOW", 40)
    monkeypatch.setattr(run, "NOTED_SECONDS", 0.0)
    monkeypatch.setattr(run, "_PAUSES", (0.01,))


@pytest.fixture
def imported(edge):
    """Imports a file; what came of it."""

    def imported(path, *, begun=None, **more):
        with Import(path, AdminClient(edge.path, hint=False), {}, **more) as work:
            if begun is not None:
                begun.append(work)
            with Bar(path.name, path.stat().st_size) as bar:
                work.run(bar)
        return work

    return imported


def beside(path):
    return sorted(each.name for each in path.parent.iterdir() if each.suffix != ".sock")


def test_all_lines_arrive_and_those_refused_are_kept_in_their_order(taking, imported, domains):
    path = domains(350)
    place = imported(path).place
    assert (place.added, place.there, place.refused, place.lines) == (347, 0, 3, 350)
    assert len(taking.has) == 347
    assert taking.has["n00008.example.com"] == "w1"
    assert all(len(batch["domains"]) <= 10 and batch["events"] is False for batch in taking.batches)
    assert beside(path) == ["domains.csv", "domains.refused.csv"]
    assert (path.parent / "domains.refused.csv").read_text().splitlines() == [
        "line,code,detail,hostname,workspace",
        *(f"{n + 2},invalid_name,bad{n:05}.example.com is no name.,bad{n:05}.example.com,w{n % 7}" for n in (99, 199, 299)),
    ]


def test_what_was_imported_is_there_the_second_time(taking, imported, domains):
    path = domains(45)
    imported(path)
    place = imported(path).place
    assert (place.added, place.there, place.refused) == (0, 45, 0)
    assert beside(path) == ["domains.csv"]


def test_neighbours_by_name_go_together_and_what_redirects_after_them(taking, imported, tmp_path):
    path = tmp_path / "domains.csv"
    rows = ["b,w,", "to-c,w,c", "a,w,", "on,w,to-c", "c,w,"]
    path.write_text("hostname,workspace,redirect_to\n" + "\n".join(rows))
    imported(path)
    assert taking.names == ["a", "b", "c", "to-c", "on"]


def test_wrong_lines_are_told_beside_what_the_edge_refuses(taking, imported, tmp_path):
    path = tmp_path / "domains"
    path.write_text(
        '{"hostname": "bad.example.com", "workspace": "w"}\nnonsense\n{"hostname": "a.example.com", "workspace": "w"}\n'
    )
    place = imported(path).place
    assert (place.added, place.refused) == (1, 2)
    written = (tmp_path / "domains.refused.jsonl").read_text().splitlines()
    assert ['"line": 1' in written[0], '"text": "nonsense"' in written[1]] == [True, True]


@pytest.mark.parametrize("answered", range(0, 12, 3))
def test_an_interrupted_import_goes_on_where_it_was(taking, imported, domains, answered):
    path = domains(120)
    begun: list[Import] = []
    whole = taking.answer

    def interrupted(body):
        if len(taking.batches) == answered:
            begun[0]._edge.post = _interrupt  # type: ignore[method-assign]
        return whole(body)

    taking.edge.answers["POST /api/v1/infrastructure/domain-imports"] = interrupted
    with pytest.raises(KeyboardInterrupt):
        imported(path, begun=begun)
    first = len(taking.batches)
    place = imported(path).place
    assert (place.added, place.there, place.refused) == (119, 0, 1)
    assert len(taking.has) == 119
    assert len(taking.batches) - first <= 12 - (answered // 4 * 4)  # no more than the window that was begun comes twice
    assert len((path.parent / "domains.refused.csv").read_text().splitlines()) == 2
    assert beside(path) == ["domains.csv", "domains.refused.csv"]


def _interrupt(*_):
    raise KeyboardInterrupt


def interrupt(taking, imported, path, batches, **more):
    """Has an import end behind so many batches."""
    taking.trouble = []
    answers, left = taking.answer, [batches]

    def until(body):
        left[0] -= 1
        return answers(body) if left[0] >= 0 else (400, {"detail": "No more."})

    taking.edge.answers["POST /api/v1/infrastructure/domain-imports"] = until
    with pytest.raises(Refused, match="No more"):
        imported(path, **more)
    taking.edge.answers["POST /api/v1/infrastructure/domain-imports"] = answers


def test_it_begins_anew_where_the_edge_has_lost_what_was_imported(taking, imported, domains, capsys):
    path = domains(120)
    interrupt(taking, imported, path, 9)
    taking.has.clear()
    taking.edge.answers = {key: value for key, value in taking.edge.answers.items() if key.startswith("POST")}
    assert imported(path).place.added == 119
    assert "does not have n0008" in capsys.readouterr().err


def test_it_begins_anew_with_another_file_another_command_and_without_the_refused_lines(taking, imported, domains, capsys):
    path = domains(240)
    interrupt(taking, imported, path, 13)
    (path.parent / "domains.refused.csv").unlink()
    place = imported(path).place
    assert (place.lines, place.refused) == (240, 2)
    assert "is not what it was" in capsys.readouterr().err
    interrupt(taking, imported, path, 13)
    assert imported(path, events=True).place.lines == 240
    assert taking.batches[-1]["events"] is True
    assert "another one" in capsys.readouterr().err


def test_an_edge_that_has_no_time_or_is_replaced_is_waited_for(taking, imported, domains):
    busy = (503, {"status": 503, "detail": "Busy.", "code": "busy", "retryable": True})
    taking.trouble = [busy, busy]
    trouble, answers = [None, None, busy], taking.answer  # None: the connection is closed without an answer

    def answer(body):
        if len(taking.batches) == 3 and trouble:
            return trouble.pop()
        return answers(body)

    taking.edge.answers["POST /api/v1/infrastructure/domain-imports"] = answer
    assert imported(domains(60)).place.added == 60


def test_an_edge_that_has_never_answered_is_not_waited_for(taking, imported, domains):
    taking.trouble = [None]
    with pytest.raises(AdminUnavailable):
        imported(domains(10))
    assert taking.has == {}


def test_an_edge_that_stays_away_is_told_and_the_rest_comes_another_time(taking, imported, domains, monkeypatch):
    path = domains(60)
    interrupt(taking, imported, path, 2)
    monkeypatch.setattr(run, "PATIENCE", 0.05)
    taking.trouble = [None] * 1000
    with pytest.raises(AdminUnavailable):
        imported(path)
    taking.trouble = []
    assert imported(path).place.added == 60


def test_an_answer_that_was_lost_is_asked_for_again(taking, imported, domains):
    answers = taking.answer

    def answer(body):
        found = answers(body)
        return None if len(taking.batches) == 2 else found

    taking.edge.answers["POST /api/v1/infrastructure/domain-imports"] = answer
    place = imported(domains(30)).place
    assert (place.added, place.there) == (20, 10)


def test_where_no_note_can_be_made_it_goes_on_and_says_so_once(taking, imported, domains, capsys):
    path = domains(60)
    path.with_name("domains.csv.resume").mkdir()
    assert imported(path).place.added == 60
    assert capsys.readouterr().err.count("cannot be written") == 1


def test_a_batch_has_no_more_bytes_than_the_edge_takes(taking, imported, tmp_path, monkeypatch):
    monkeypatch.setattr(run, "BATCH_BYTES", 300)
    path = tmp_path / "domains.csv"
    path.write_text("hostname,workspace,origin\n" + "".join(f"n{n},w,{'x' * 150}\n" for n in range(7)))
    imported(path)
    assert {len(batch["domains"]) for batch in taking.batches} == {1}


def test_what_is_no_file_is_told(imported, tmp_path, taking):
    with pytest.raises(WrongFile, match="is no file"):
        imported(tmp_path)
    with pytest.raises(FileNotFoundError):
        imported(tmp_path / "nowhere.csv")
    path = tmp_path / "domains.csv"
    path.write_text("hostname,workspace\n")
    with pytest.raises(WrongFile, match="its own refused lines"):
        imported(path, refused=path)


def test_times_are_for_people():
    assert [duration(seconds) for seconds in (0.4, 59.4, 252, 7_500)] == ["0 s", "59 s", "4 min 12 s", "2 h 5 min"]
