"""Rules of what answers to visitors have."""

from __future__ import annotations

import pytest

from edgeproxy.config.rules.answers import header_line, hsts, removable


def test_a_field_is_written_in_one_way() -> None:
    assert header_line("X-Frame-Options:DENY") == "x-frame-options: DENY"
    assert header_line("csp-like :  a: b ") == "csp-like: a: b"


@pytest.mark.parametrize("text", ["x-a", "x-a:", ": b", "a b: c", "content-length: 1", "set-cookie: a=b", "via: 1.1 x"])
def test_what_is_no_field_or_not_to_be_set_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="; "):
        header_line(text)


def test_names_are_taken_in_lower_case() -> None:
    assert removable("X-Powered-By") == "x-powered-by"


@pytest.mark.parametrize("text", ["Content-Encoding", "content-range"])
def test_what_says_how_an_answer_is_read_is_not_taken_out(text: str) -> None:
    with pytest.raises(ValueError, match="how an answer's content is to be read"):
        removable(text)


@pytest.mark.parametrize("text", ["server: x", "a b", "Content-Length", "connection", "Sec-WebSocket-Accept", "upgrade"])
def test_what_frames_an_answer_is_not_taken_out(text: str) -> None:
    with pytest.raises(ValueError, match="; "):
        removable(text)


def test_hsts_is_a_time() -> None:
    assert hsts("365d") == "365d"


@pytest.mark.parametrize("text", ["365", "off", "1d; includeSubDomains", "365d; includeSubDomains; preload"])
def test_hsts_of_all_names_says_nothing_of_their_subdomains(text: str) -> None:
    with pytest.raises(ValueError, match=r"; write"):
        hsts(text)
