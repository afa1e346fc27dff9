"""What the configuration says of compression."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgeproxy.config import compression
from edgeproxy.config.load import load
from edgeproxy.edge.encoding import hidden
from edgeproxy.errors import ConfigError

GOOD = "[issuance]\nagree_terms = true\n[compression]\n"


def test_it_is_off_as_it_comes_and_what_is_configured_counts(tmp_path: Path) -> None:
    path = tmp_path / "edge.toml"
    path.write_text(GOOD)
    assert not load(path, {}).compression.enabled
    path.write_text(GOOD + 'enabled = true\ncodings = ["gzip"]\ntypes = ["Text/*"]\nminimum = "4KiB"\nnever = ["/account"]\n')
    found = load(path, {}).compression
    assert (found.enabled, found.codings, found.types) == (True, ("gzip",), ("text/*",))
    assert (found.minimum, found.never) == (4096, ("/account",))


def test_the_types_it_comes_with_are_types(tmp_path: Path) -> None:
    assert [compression.media_type(each) for each in compression.TYPES] == list(compression.TYPES)
    assert "text/event-stream" not in compression.TYPES


@given(st.text(max_size=12) | st.from_regex(compression.PATH))
def test_what_fits_the_description_is_a_path_in_its_plainest_form(text: str) -> None:
    text = text.removesuffix("\n")
    try:
        path = compression.path(text)
    except ValueError:
        assert re.search(compression.PATH, text) is None or len(text) > 256
    else:
        assert path == text
        assert hidden(path.encode(), (path.encode().lower(),))
        assert not {"..", "."} & set(path.split("/"))
        assert "//" not in path


@pytest.mark.parametrize(
    ("key", "said"),
    [
        ('codings = ["deflate"]', '\'deflate\' is no coding of the edge\'s; write some of "zstd", "br", "gzip"'),
        ('types = ["*/*"]', "'*/*' is not a media type; write one like \"text/html\""),
        ('types = ["text"]', "is not a media type"),
        ('types = ["text/html; charset=utf-8"]', "is not a media type"),
        ('never = ["account"]', "'account' is not the beginning of a path; write one like \"/account\""),
        ('never = ["/account/*"]', "everything that begins so is meant"),
        ('never = ["/a//b"]', "is not the beginning of a path"),
        ('never = ["/a/../b"]', "is not the beginning of a path"),
        ('never = ["/%61ccount"]', "is not the beginning of a path"),
        ('minimum = "2GiB"', "is outside what is possible"),
    ],
)
def test_what_means_nothing_is_refused_with_what_would(tmp_path: Path, key: str, said: str) -> None:
    path = tmp_path / "edge.toml"
    path.write_text(GOOD + key + "\n")
    with pytest.raises(ConfigError) as caught:
        load(path, {})
    assert said in str(caught.value)
