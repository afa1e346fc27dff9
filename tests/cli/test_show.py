"""What commands print."""

import io
import json

import pytest

from edgeproxy.cli import show


def test_a_table_is_aligned_and_says_when_it_is_empty(capsys):
    show.table(("domain", "n"), [("a.example", 1), ("b", None)], empty="Nothing.")
    assert capsys.readouterr().out == "DOMAIN     N\na.example  1\nb          -\n"
    show.table(("domain",), [], empty="Nothing.")
    assert capsys.readouterr() == ("", "Nothing.\n")


@pytest.mark.parametrize(
    ("value", "text"),
    [(None, "-"), ("", "-"), (True, "yes"), (0, "0"), (["a", "b"], "a, b"),
     ({"active": 2}, "active 2"), ("a\x1b[2Jb\n", "a·[2Jb·")],
)  # fmt: skip
def test_values_are_shown_for_people_and_cannot_steer_the_terminal(value, text):
    assert show.text_of(value) == text


def test_fields_that_say_nothing_are_left_out(capsys):
    show.fields({"a_b": 1, "c": "", "d": None, "e": 0, "f": False})
    assert capsys.readouterr().out == "a b  1\ne    0\nf    no\n"


def test_dns_records_are_lines_of_a_zone_file_the_required_ones_first(capsys):
    records = [
        {"required": False, "reason": "If you like.", "zone_line": "b. IN TXT x"},
        {"required": True, "reason": "Set once.", "zone_line": "a. IN CNAME b.\x1b[2J"},
    ]
    show.zone_lines({"dns_records": records})
    assert capsys.readouterr().out == (
        "\nrequired DNS record: Set once.\n  a. IN CNAME b.·[2J\n\noptional DNS record: If you like.\n  b. IN TXT x\n"
    )
    show.zone_lines({"dns_records": [{"required": True, "reason": "", "zone_line": "a. IN CNAME b."}]})
    assert capsys.readouterr().out == "\nrequired DNS record:\n  a. IN CNAME b.\n"
    show.zone_lines({})
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize(
    ("seen", "ok", "now"),
    [
        ([], None, ""),
        ([], False, "  Now: nothing\n"),
        (["CNAME old.example", "A 192.0.2.9\x1b[2J"], False, "  Now: CNAME old.example, A 192.0.2.9·[2J\n"),
        (["a.example"], True, "  Now: a.example, as it must be\n"),
        (["CNAME old.example"], None, "  Now: CNAME old.example\n"),
    ],
)
def test_dns_records_have_what_is_there_now_if_somebody_has_looked(capsys, seen, ok, now):
    show.zone_lines(
        {"dns_records": [{"required": True, "reason": "Why.", "zone_line": "a. IN CNAME b.", "seen": seen, "ok": ok}]}
    )
    assert capsys.readouterr().out == f"\nrequired DNS record: Why.\n  a. IN CNAME b.\n{now}"


@pytest.mark.parametrize("members", [[], [{"a": 1}], [{"a": 1}, {"b": "ü"}]])
def test_a_listing_is_json_however_long(capsys, members):
    show.listing_as_json("things", iter(members))
    assert json.loads(capsys.readouterr().out) == {"things": members}


def test_progress_is_a_line_per_step_where_nobody_watches(capsys):
    with show.Progress("A thing") as progress:
        progress.step("first")
        progress.step("first")
        progress.step("second")
    assert capsys.readouterr() == ("", "A thing …\nA thing: first …\nA thing: second …\n")


class Terminal(io.StringIO):
    def isatty(self):
        return True


def test_a_bar_is_one_line_on_a_terminal_that_fits_it(monkeypatch):
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", "60")
    monkeypatch.setattr(show.Bar, "DRAWN_SECONDS", 0.0)
    monkeypatch.setattr("sys.stderr", terminal := Terminal())
    with show.Bar("domains.csv", 200) as bar:
        bar.show(50, "1,000 lines\n")
        bar.show(300, "x" * 100)
    first, second, third = terminal.getvalue().split("\r\x1b[K")[1:]
    assert first == f"domains.csv [{'#' * 6}{'.' * 18}] 25% 1,000 lines·"
    assert second.startswith(f"domains.csv [{'#' * 24}] 100% xxx")
    assert (len(second), third) == (59, "")


def test_a_bar_is_a_line_now_and_then_elsewhere(capsys, monkeypatch):
    with show.Bar("domains.csv", 0) as bar:
        bar.show(0, "too early")
        monkeypatch.setattr(show.Bar, "SECONDS", 0.0)
        bar.show(1, "1 line")
    assert capsys.readouterr().err == "domains.csv: 100%, 1 line\n"
