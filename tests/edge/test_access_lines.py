"""Lines of the access log: complete, one line each, and harmless whatever strangers put into them."""

import json
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgeproxy.edge import access_lines
from edgeproxy.edge.access_lines import LINE_MAX, Format, as_json, combined, formatter, human

NOW = 1_800_000_000.125


def line(
    style: Format,
    *,
    method: bytes = b"GET",
    target: bytes = b"/a?b=c",
    host: str = "gallery.example.com",
    error: str = "",
    protocol: str = "h2",
    request_id: bytes = b"0f3c-1a",
    status: int = 200,
    origin_seconds: float = 0.0123,
) -> bytes:
    return style(
        NOW, host, "acme-store", method, target, status, 5, 1536, 0.0157, origin_seconds, request_id, "TLSv1.3", protocol,
        "203.0.113.17", error,
    )  # fmt: skip


def test_a_json_line_has_all_that_is_known() -> None:
    assert json.loads(line(as_json)) == {
        "time": "2027-01-15T08:00:00.125Z",
        "host": "gallery.example.com",
        "workspace": "acme-store",
        "method": "GET",
        "path": "/a?b=c",
        "status": 200,
        "bytes_in": 5,
        "bytes_out": 1536,
        "duration_ms": 15.7,
        "request_id": "0f3c-1a",
        "tls": "TLSv1.3",
        "protocol": "h2",
        "client": "203.0.113.17",
        "origin_ms": 12.3,
    }


def test_a_json_line_says_what_went_wrong_and_leaves_out_an_origin_that_did_not_answer() -> None:
    found = json.loads(line(as_json, status=502, error="connection refused", origin_seconds=0.0))
    assert found["error"] == "connection refused"
    assert "origin_ms" not in found


def test_a_combined_line_is_what_log_tools_read() -> None:
    pattern = rb'203\.0\.113\.17 - - \[\d\d/\w{3}/2027:\d\d:\d\d:\d\d [+-]\d{4}\] "GET /a\?b=c HTTP/2\.0" 200 1536 "-" "-"\n'
    assert re.fullmatch(pattern, line(combined))
    assert b"HTTP/1.1" in line(combined, protocol="h1")


def test_a_line_for_people_is_short_and_says_how_long_it_took() -> None:
    shown = re.sub(rb"\x1b\[\d+m", b"", line(human)).decode()
    clock, rest = shown.split(" ", 1)
    assert re.fullmatch(r"\d\d:\d\d:\d\d", clock)
    details = "15.7 ms · origin 12.3 ms · acme-store · 1.5 KiB · h2 · 203.0.113.17"
    assert rest == f"200 GET gallery.example.com/a?b=c  {details}\n"
    failed = line(human, status=504, error="the origin did not answer").decode()
    assert "the origin did not answer" in failed
    assert "0f3c-1a" in failed


def test_the_form_is_chosen_by_configuration_and_by_who_reads() -> None:
    assert formatter("auto", terminal=True) is human
    assert formatter("auto", terminal=False) is as_json
    assert formatter("json", terminal=True) is as_json
    assert formatter("combined", terminal=True) is combined


ANY_BYTES = st.binary(max_size=80)


@pytest.mark.parametrize("style", [as_json, combined, human])
@given(method=ANY_BYTES, target=ANY_BYTES, error=st.text(max_size=80), request_id=ANY_BYTES)
def test_whatever_strangers_send_a_line_stays_one_printable_line(
    style: Format, method: bytes, target: bytes, error: str, request_id: bytes
) -> None:
    error = error.encode("utf-8", "replace").decode()
    made = line(style, method=method, target=target, error=error, request_id=request_id if style is as_json else b"1")
    assert made.endswith(b"\n")
    text = made[:-1].decode()
    assert "\n" not in text
    assert "\r" not in text
    if style is as_json:
        found = json.loads(text)
        assert found["path"] == target.decode("latin-1")
        assert found.get("error", "") == error
    else:
        assert all(char.isprintable() for char in re.sub(r"\x1b\[\d+m", "", text))
    if style is combined:
        assert text.count('"') == 6


@pytest.mark.parametrize("style", [as_json, combined, human])
@pytest.mark.parametrize("target", [b"/" + b"a" * 16_000, b'/"\\' * 8_000, b"/\xff" * 8_000])
def test_a_line_is_never_longer_than_a_pipe_takes_whole(style: Format, target: bytes) -> None:
    made = line(style, target=target, error="é\0" * 3_000, method=b"M" * 5_000, request_id=b"i" * 128)
    assert len(made) <= LINE_MAX
    assert made.endswith(b"\n")
    if style is as_json:
        assert json.loads(made)["path"].startswith("/")


@pytest.mark.parametrize("now", [0.0, 1_799_999_999.9999, 1_800_000_000.0, 1_800_000_000.9999])
def test_the_time_of_a_line_is_right_to_the_millisecond(now: float) -> None:
    made = access_lines.as_json(now, "", "", b"", b"", 200, 0, 0, 0.0, 0.0, b"", "", "", "", "")
    found = json.loads(made)["time"]
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", found)
    assert found.endswith(f"{int(now * 1000) % 1000:03}Z")


@pytest.mark.parametrize(
    ("seconds", "count", "shown"), [(0.9, 10, "900.0 ms"), (61.25, 10, "61.2 s"), (0.0, 3_145_728, "3.0 MiB")]
)
def test_durations_and_sizes_are_shown_in_fitting_units(seconds: float, count: int, shown: str) -> None:
    made = human(NOW, "", "", b"", b"", 200, 0, count, seconds, 0.0, b"", "", "", "", "")
    assert shown in made.decode()
