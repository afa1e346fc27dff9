"""The origin's counter."""

import pytest

from bench.errors import BenchError
from bench.origin import parse_stub_status


def test_the_third_number_counts_requests():
    text = "Active connections: 1 \nserver accepts handled requests\n 16 16 4711 \nReading: 0 Writing: 1 Waiting: 0 \n"
    assert parse_stub_status(text) == 4711


def test_an_unknown_answer_is_an_error():
    with pytest.raises(BenchError, match="502"):
        parse_stub_status("<h1>502 Bad Gateway</h1>")
