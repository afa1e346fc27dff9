"""That each parser under `make fuzz-coverage` is the program's, takes the kept corpus, and is not deaf to a fault."""

import importlib.util

import pytest

from edgeproxy.edge import http1
from tests.fuzz import corpus, coverage
from tests.fuzz.parsers import PARSERS


@pytest.mark.parametrize("name", PARSERS)
def test_what_is_kept_and_what_is_cut_off_of_it_is_taken(name: str) -> None:
    parser, kind = PARSERS[name]
    inputs = list(corpus.files(kind).values()) if kind else [b"PROXY TCP4 192.0.2.1 192.0.2.2 1 443\r\n"]
    assert inputs
    for data in inputs:
        for end in {0, 1, len(data) // 2, len(data)}:
            parser(data[:end])


def test_a_fault_of_a_parser_is_no_refusal(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: object) -> None:
        raise IndexError

    monkeypatch.setattr(http1, "parse_request", broken)
    with pytest.raises(IndexError):
        PARSERS["request"][0](b"GET / HTTP/1.1\r\n\r\n")


def test_without_atheris_it_says_what_to_do(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda _: None)
    assert coverage.main(1) == 2
    assert "make fuzz-coverage" in capsys.readouterr().err
