"""Redirects from port 80: host and path kept, to nowhere else."""

from urllib.parse import urlsplit

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgeproxy.edge.redirect import redirect


@pytest.mark.parametrize(
    ("target", "port", "location"),
    [
        (b"/", 443, b"https://shop.example.com/"),
        (b"/a/b?c=d&e=%2f%0d%0a", 443, b"https://shop.example.com/a/b?c=d&e=%2f%0d%0a"),
        (b"/a/../b/./c//d", 443, b"https://shop.example.com/a/../b/./c//d"),
        (b"/x", 8443, b"https://shop.example.com:8443/x"),
        (b"//evil.example/x", 443, b"https://shop.example.com//evil.example/x"),
        (b"/\\evil.example", 443, b"https://shop.example.com/\\evil.example"),
        (b"/@evil.example", 443, b"https://shop.example.com/@evil.example"),
        (b"/?https://evil.example/", 443, b"https://shop.example.com/?https://evil.example/"),
    ],
)
def test_host_and_target_are_kept_as_they_are(target: bytes, port: int, location: bytes) -> None:
    assert redirect("shop.example.com", target, known=True, https_port=port) == location


def test_an_unknown_host_is_not_redirected() -> None:
    assert redirect("stranger.example.com", b"/", known=False, https_port=443) is None


@pytest.mark.parametrize(
    "host",
    [
        "",
        ".",
        "127.0.0.1",
        "[::1]",
        "intranet",
        "evil.example/x",
        "a@evil.example",
        "a.example:80",
        "a.example\r\nx: y",
        "A.example",
        "a.example.",
        "a b.example",
        "evil.example#.shop.example.com",
        "evil.example?.shop.example.com",
        "evil.example\\.shop.example.com",
    ],
)
def test_a_weird_host_is_refused_even_where_it_is_said_to_be_known(host: str) -> None:
    assert redirect(host, b"/", known=True, https_port=443) is None


@pytest.mark.parametrize(
    "target",
    [b"", b"*", b"evil.example", b"@evil.example/", b".evil.example/", b":1@evil.example/", b"http://evil.example/", b"/a b"],
)
def test_a_target_that_is_no_path_is_refused(target: bytes) -> None:
    assert redirect("shop.example.com", target, known=True, https_port=443) is None


@given(st.binary(max_size=40), st.text(max_size=20))
def test_no_redirect_ever_leads_to_another_host_or_breaks_the_header(target: bytes, host: str) -> None:
    for name in ("shop.example.com", host, f"{host}.example.com"):
        location = redirect(name, target, known=True, https_port=443)
        if location is not None:
            assert urlsplit(location.decode("latin-1")).hostname == name
            assert location.startswith(b"https://" + name.encode() + b"/")
            assert location.endswith(target)
            assert not any(byte <= 0x20 or byte == 0x7F for byte in location)
