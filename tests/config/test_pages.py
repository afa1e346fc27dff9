"""The operator's pages, read with the configuration."""

import re

import pytest

from edgeproxy.config.load import load
from edgeproxy.config.pages import PAGE_BYTES, Page, page
from edgeproxy.errors import ConfigError

GOOD = "[issuance]\nagree_terms = true\n[pages]\n"


def test_a_page_is_its_path_and_what_stood_there() -> None:
    made = page("/p.html", "\ufeff<p>Grüße, {{host}} {{ request_id }}".encode())
    assert (made, made.html) == ("/p.html", "<p>Grüße, {{host}} {{ request_id }}")
    assert Page("").html == ""


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (b"<p>\n\xff", "/p: line 2 is not UTF-8; save the file as UTF-8 text"),
        (b"hello", "/p: there is no HTML in it; visitors are to see a page"),
        (b"", "/p: there is no HTML in it; visitors are to see a page"),
        (
            b"<p>\n{{hots}}",
            "/p: line 2 has '{{hots}}', which is nothing here; write {{host}}, {{request_id}}, {{status}}, {{title}} or",
        ),
        (b"<p>{{\nhost\n}}", "/p: line 1 has '{{\\nhost\\n}}', which is nothing here"),
        (b"<p>{{ request-id }}", "which is nothing here"),
        (b"<p>{{}}", "which is nothing here"),
    ],
)
def test_what_is_no_page_is_told_with_its_line(data: bytes, said: str) -> None:
    with pytest.raises(ValueError, match=re.escape(said)):
        page("/p", data)


def test_the_configuration_reads_it_by_path_with_or_without_file(tmp_path) -> None:
    file = tmp_path / "soon.html"
    file.write_text("<h1>Soon</h1>")
    config = tmp_path / "edgeproxy.toml"
    config.write_text(GOOD + f'maintenance = "{file}"\nsetup = "file:{file}"\nsuspended = ""\n')
    pages = load(config, {"EDGEPROXY_PAGES__SUSPENDED": str(file)}).pages
    assert [pages.maintenance, pages.setup, pages.suspended] == [str(file)] * 3
    assert {pages.maintenance.html, pages.setup.html, pages.suspended.html} == {"<h1>Soon</h1>"}


@pytest.mark.parametrize(
    ("value", "said"),
    [
        ('"{}/none.html"', "there is no such file"),
        ('"{}/big.html"', "it has more than 256KiB"),
        ('"{}"', "this is a folder"),
        ('"soon.html"', "is not an absolute path"),
        ("7", "a text belongs here"),
        ('["{}/none.html"]', "a text belongs here"),
    ],
)
def test_a_file_that_is_none_is_told_with_its_key(tmp_path, value: str, said: str) -> None:
    (tmp_path / "big.html").write_bytes(b"<" * (PAGE_BYTES + 1))
    config = tmp_path / "edgeproxy.toml"
    config.write_text(GOOD + f"setup = {value.format(tmp_path)}\n")
    with pytest.raises(ConfigError) as raised:
        load(config, {})
    assert f"{config}:4: pages.setup: " in raised.value.detail
    assert said in raised.value.detail
