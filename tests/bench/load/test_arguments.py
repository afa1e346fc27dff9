"""Orders to our own load processes, and their reports."""

from pathlib import Path

import pytest

from bench.errors import BenchError, WrongAnswer
from bench.load.arguments import Orders, parse, read_orders, run_and_report
from bench.traffic import tenants

ORDERS = Orders(
    port=8443, root_file=Path("/tmp/root.pem"), tenants=tenants()[2:5], seconds=1.5, mode="full", path_root="/64k/", rate=20.0
)


def test_orders_survive_the_command_line():
    assert read_orders(ORDERS.command("some.module")[3:]) == ORDERS


def test_a_wrong_answer_ends_up_in_the_report(monkeypatch, capsys):
    def fail(orders):
        raise WrongAnswer("it was somebody else's")

    monkeypatch.setattr("sys.argv", ORDERS.command("some.module")[2:])
    run_and_report(fail)
    report = parse(capsys.readouterr().out)
    assert (report.succeeded, report.failures) == (0, {"it was somebody else's": 1})


def test_a_process_that_says_nothing_is_an_error():
    with pytest.raises(BenchError, match="Traceback"):
        parse("Traceback (most recent call last):\n")
