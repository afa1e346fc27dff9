"""The edge's own pages: what they say, to whom, and that nothing in them can be turned against a visitor."""

import base64
import hashlib
import html
import html.parser
import json
import re
import timeit

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgeproxy.edge import respond
from edgeproxy.edge.respond import (
    API_AWAY,
    TEXTS,
    api_answer,
    http_date,
    moved,
    page,
    plain_http_answer,
    prefers_json,
    text_for,
)
from edgeproxy.errors import Fault

STATUSES = (400, 404, 408, 413, 414, 421, 429, 431, 500, 502, 503, 504)
BROWSER = b"text/html,application/xhtml+xml,application/xml;q=0.9,image/avif,image/webp,*/*;q=0.8"


class Reader(html.parser.HTMLParser):
    """Checks that elements are closed in order, and collects what is said and loaded."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.words: list[str] = []
        self.loaded: list[str] = []
        self.feed(text)
        self.close()
        assert not self.open

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.loaded += [value or "" for name, value in attrs if name in ("src", "href")]
        if tag not in ("meta", "link"):
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self.open and self.open[-1] != "style":
            self.words.append(data)


def test_a_page_for_what_is_intended_does_not_begin_with_a_status() -> None:
    text = respond.Text(503, "c", "Closed", "For a while.", ("Come back.",), Fault.OPERATOR, intended=True, refresh=7)
    fields, body = page(503, BROWSER, "7f3a-1", "gallery.example.com", text)
    said = Reader(body.decode()).words
    assert [word for word in said if word.strip()][:3] == ["Closed", "gallery.example.com", "Closed"]
    assert "503" not in "".join(said)
    assert dict(fields)[b"refresh"] == b"7"
    fields, _ = page(503, b"application/json", "7f3a-1", "gallery.example.com", text)
    assert b"refresh" not in dict(fields)


@given(st.text(max_size=30), st.text(alphabet="{}hostreqi_d <", max_size=40))
def test_what_stands_in_an_operators_page_is_its_own_but_for_the_variables_which_are_escaped(host: str, rest: str) -> None:
    template = respond.Template("<p>{{host}}|{{ request_id }}|" + rest)
    begin = f"<p>{html.escape(host)}|&lt;id&gt;|"
    filled = template.filled(host, "<id>", TEXTS[404]).decode()
    assert filled.startswith(begin)
    if "{{" not in rest:
        assert filled == begin + rest


def test_an_operators_page_may_say_what_the_edges_own_would() -> None:
    text = respond.Text(502, "c", "<Title>", "A & b.", (), Fault.EDGE)
    template = respond.Template("{{status}} {{title}}: {{ detail }}")
    assert template.filled("", "", text) == b"502 &lt;Title&gt;: A &amp; b."


def test_what_could_not_be_read_gets_a_few_lines_of_text() -> None:
    answer = respond.bare_page(431, "7f3a-1")
    assert fields_of(answer)[b"content-type"] == b"text/plain; charset=utf-8"
    assert fields_of(answer)[b"x-request-id"] == b"7f3a-1"
    assert fields_of(answer)[b"content-length"] == b"%d" % len(answer[1])
    assert answer[1].decode().splitlines() == [
        f"431 {TEXTS[431].title}",
        "",
        TEXTS[431].detail,
        *TEXTS[431].advice,
        "",
        "Request ID: 7f3a-1",
    ]


def fields_of(answer: tuple[respond.Fields, bytes]) -> dict[bytes, bytes]:
    fields = dict(answer[0])
    assert len(fields) == len(answer[0])
    return fields


@pytest.mark.parametrize("status", STATUSES)
def test_each_status_has_a_page_with_words_of_its_own(status: int) -> None:
    assert status in TEXTS
    fields, body = page(status, BROWSER, "7f3a-1", "gallery.example.com")
    said = " ".join(Reader(body.decode()).words)
    for part in (
        str(status),
        TEXTS[status].title,
        TEXTS[status].detail,
        "7f3a-1",
        "gallery.example.com",
        *TEXTS[status].advice,
    ):
        assert part in said
    assert dict(fields)[b"content-type"] == b"text/html; charset=utf-8"
    assert len(body) < 3500


@pytest.mark.parametrize("status", STATUSES)
def test_each_status_has_a_problem_document(status: int) -> None:
    fields, body = page(status, b"application/json", "7f3a-1", "gallery.example.com")
    assert dict(fields)[b"content-type"] == b"application/problem+json"
    problem = json.loads(body)
    assert problem["status"] == status
    assert {"type", "title", "detail", "code", "fault", "retryable", "host", "request_id"} <= problem.keys()


@pytest.mark.parametrize("accept", [BROWSER, b"application/json"])
def test_no_page_is_stored_and_each_tells_its_length_and_id(accept: bytes) -> None:
    for status in STATUSES:
        fields, body = page(status, accept, "7f3a-1", "a.example")
        found = fields_of((fields, body))
        assert found[b"cache-control"] == b"no-store"
        assert found[b"content-length"] == b"%d" % len(body)
        assert found[b"x-request-id"] == b"7f3a-1"
        assert all(name == name.lower() for name in found)
    assert fields_of(page(503, accept, "x", ""))[b"retry-after"] == b"10"


def test_a_page_loads_nothing_and_allows_nothing_but_its_own_style() -> None:
    fields, body = page(502, BROWSER, "7f3a-1", "a.example")
    assert Reader(body.decode()).loaded == ["data:,"]
    assert b"<script" not in body
    style = re.search(rb"<style>(.*)</style>", body)
    assert style is not None
    digest = base64.b64encode(hashlib.sha256(style[1]).digest())
    policy = fields_of((fields, body))[b"content-security-policy"]
    assert b"default-src 'none'" in policy
    assert b"'sha256-" + digest + b"'" in policy


def test_no_page_names_the_program() -> None:
    for status in (*STATUSES, 405, 501, 599):
        for accept in (BROWSER, b"application/json"):
            fields, body = page(status, accept, "1", "a.example")
            assert b"edgeproxy" not in body.lower()
            assert b"server" not in dict(fields)


@given(st.text(max_size=60), st.text(max_size=60))
def test_whatever_is_shown_is_escaped(request_id: str, host: str) -> None:
    host = host.encode("utf-8", "replace").decode()
    fields, body = page(404, BROWSER, request_id, host + "<b>&\"'", None)
    Reader(body.decode())
    assert b"<b>" not in body
    for name, value in fields:
        assert not re.search(rb"[\r\n\0]", name + value)
    problem = json.loads(page(404, b"application/json", request_id, host)[1])
    assert problem.get("host", "") == host


@pytest.mark.parametrize("request_id", ["", "a b", "a\r\nx: y", "é", "x" * 129])
def test_a_request_id_that_is_no_plain_word_is_left_out(request_id: str) -> None:
    fields, body = page(500, b"", request_id, "")
    assert b"x-request-id" not in dict(fields)
    assert b"Request ID: <code>" not in body


@pytest.mark.parametrize(
    ("accept", "json_wanted"),
    [
        (b"", False),
        (b"*/*", False),
        (BROWSER, False),
        (b"application/json", True),
        (b"Application/JSON", True),
        (b"application/problem+json", True),
        (b"application/vnd.api+json", True),
        (b"application/json, text/plain, */*", True),
        (b"application/json, */*;q=0.5", True),
        (b"application/json;q=0.5, text/html", False),
        (b"application/json, text/html;q=0.9", True),
        (b"text/html;q=0, application/json;q=0.1", True),
        (b"application/json;q=0", False),
        (b"application/json;q=0, application/problem+json", True),
        (b"text/html, application/json", False),
        (b"text/html;level=1;q=0.3, application/json;q=0.4", True),
        (b"json", False),
        (b"application/json;q=banana", True),
        (b", ,application/json,", True),
        (b"text/*, application/json", True),
        (b"application/*;q=0.2, application/json;q=0.9", True),
        (b'application/json;charset="a,b";q=0', True),
        (b"\xff/\xfe, application/json", True),
    ],
)
def test_json_is_sent_where_it_is_preferred_to_html(accept: bytes, json_wanted: bool) -> None:
    fields, _ = page(404, accept, "1", "")
    assert (dict(fields)[b"content-type"] == b"application/problem+json") == json_wanted


@given(st.binary(max_size=200))
def test_any_accept_field_is_understood_somehow(accept: bytes) -> None:
    assert prefers_json(accept) in (True, False)


def test_a_huge_accept_field_costs_little() -> None:
    accept = b"application/json;q=0.5," * 1400
    assert min(timeit.repeat(lambda: prefers_json(accept), number=10, repeat=5)) / 10 < 0.005


@pytest.mark.parametrize("status", [405, 417, 501, 505, 599])
def test_other_statuses_get_plain_words(status: int) -> None:
    _, body = page(status, b"", "1", "")
    assert str(status) in body.decode()
    assert text_for(status).retryable == (status >= 500)


def test_an_api_that_is_away_says_when_to_come_again() -> None:
    fields, body = api_answer(API_AWAY, b"/api/v1/tokens", "1", "api.example.com")
    assert json.loads(body)["code"] == "api_not_available"
    assert dict(fields)[b"retry-after"] == b"2"
    assert json.loads(body)["retryable"] is True
    fields, body = api_answer(API_AWAY, b"/api/domains/register", "1", "api.example.com")
    assert dict(fields)[b"retry-after"] == b"2"
    assert json.loads(body)["status"] == "error"
    assert json.loads(body)["message"].startswith("The API is not available just now. ")


def test_a_redirect_links_to_where_it_leads_and_is_not_stored() -> None:
    fields, body = moved(b"https://a.example/x?a=1&b='2'\"<>")
    assert fields_of((fields, body))[b"location"] == b"https://a.example/x?a=1&b='2'\"<>"
    assert fields_of((fields, body))[b"cache-control"] == b"no-store"
    assert Reader(body.decode()).loaded == ["https://a.example/x?a=1&b='2'\"<>"]
    assert b"<>" not in body


def test_plain_http_on_the_tls_port_gets_a_whole_answer() -> None:
    answer = plain_http_answer()
    head, _, body = answer.partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 400 Bad Request\r\n")
    assert b"\r\nconnection: close" in head
    assert b"\r\ncontent-length: %d\r\n" % len(body) in head
    assert b"https://" in body


def test_a_date_is_the_fixed_form_of_http():
    assert http_date(784111777) == b"Sun, 06 Nov 1994 08:49:37 GMT"
