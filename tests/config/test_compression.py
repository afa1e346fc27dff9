"""What the configuration says of compression."""

from __future__ import annotations

from pathlib import Path

import pytest

from edgeproxy.config import compression
from edgeproxy.config.load import load
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
