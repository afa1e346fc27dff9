"""What the sample origin shows of a request."""

import json
from html.parser import HTMLParser

import pytest

from edgeproxy.demo import page
from edgeproxy.demo.message import parse_head

LINES = (
    "GET /a?b=c HTTP/1.1",
    "Host: gallery.localhost:8443",
    "workspace-id: spandantest",
    "x-forwarded-proto: https",
    "x-forwarded-for: 127.0.0.1",
    "via: 2.0 edgeproxy",
    "x-request-id: 4f",
)


def request(*more):
    return parse_head("\r\n".join((*LINES, *more)).encode())


def test_the_facts_of_a_request_are_told():
    told = json.loads(page.as_json(request(), b"hello"))
    assert told["workspace"] == "spandantest"
    assert (told["method"], told["scheme"], told["host"], told["path"]) == ("GET", "https", "gallery.localhost:8443", "/a?b=c")
    assert (told["client_protocol"], told["origin_protocol"]) == ("HTTP/2", "HTTP/1.1")
    assert told["body"] == {"bytes": 5, "text": "hello"}
    assert ["via", "2.0 edgeproxy"] in told["headers"]


def test_the_page_is_well_formed_and_says_the_same():
    class Reader(HTMLParser):
        text = ""

        def handle_data(self, data):
            self.text += data

    reader = Reader()
    reader.feed(page.as_html(request(), b"").decode())
    for part in ("This is spandantest", "gallery.localhost:8443", "/a?b=c", "HTTP/2 over https", "x-request-id"):
        assert part in reader.text
    assert "{{" not in reader.text


def test_what_the_edge_added_is_marked():
    shown = page.as_html(request("accept: */*"), b"").decode()
    assert "<tr class=edge><th>workspace-id<td>spandantest" in shown
    assert "<tr><th>accept<td>" in shown


def test_what_came_with_a_request_is_escaped():
    shown = page.as_html(request("x-evil: <script>alert(1)</script>{{body}}"), b"<img src=x>").decode()
    assert "<script>alert" not in shown
    assert "<img" not in shown
    assert "&lt;img src=x&gt;" in shown


def test_a_request_without_a_workspace_is_shown_as_such():
    shown = page.as_html(parse_head(b"GET / HTTP/1.1\r\nHost: a.localhost"), b"").decode()
    assert "no workspace" in shown


@pytest.mark.parametrize(
    ("accept", "wanted"),
    [
        ("text/html,application/xhtml+xml,*/*;q=0.8", True),
        ("application/json", False),
        ("application/json, text/html", False),
        ("*/*", False),
        ("", False),
    ],
)
def test_browsers_get_the_page_and_programs_get_json(accept, wanted):
    assert page.wants_html(request(f"accept: {accept}")) is wanted
