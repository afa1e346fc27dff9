"""Rules of files, sockets and the store."""

import pytest

from edgeproxy.config.values import RULES


@pytest.mark.parametrize(
    ("key", "value", "normalised"),
    [
        ("store.url", "sqlite:////srv/edge.db", "sqlite:////srv/edge.db"),
        ("log.access", "/var/log/access.log", "/var/log/access.log"),
    ],
)
def test_good_values_come_back_normalised(key: str, value: str, normalised: str) -> None:
    assert RULES[key](value) == normalised


@pytest.mark.parametrize(
    ("key", "value", "told"),
    [
        ("state.directory", "var/lib", "is not an absolute path"),
        ("store.url", "mysql://x", "a store is a SQLite file"),
        ("store.url", "sqlite:///:memory:", "a store is a SQLite file"),
        ("admin.socket", "/" + "x" * 120, "may have 107 bytes, this has 121"),
        ("log.access", "access.log", "is no place for a log"),
    ],
)
def test_bad_values_say_what_would_be_right(key: str, value: str, told: str) -> None:
    with pytest.raises(ValueError) as caught:  # noqa: PT011 - the text is looked at
        RULES[key](value)
    assert told in str(caught.value)
    assert "\n" not in str(caught.value)
