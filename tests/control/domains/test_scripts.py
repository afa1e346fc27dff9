"""Names that may be taken for others."""

from __future__ import annotations

import pytest

from edgeproxy.control.domains.scripts import warnings
from edgeproxy.model import hostname


@pytest.mark.parametrize("name", ["pаypal.com", "gооgle.client.com", "аpple.de", "scοpe.com", "*.pаypal.com"])
def test_latin_with_look_alikes_is_warned_of(name):
    [warning] = warnings(hostname(name, wildcard=True))
    assert "mixes letters of" in warning
    assert "xn--" in warning


@pytest.mark.parametrize(
    "name",
    [
        "bücher.de",
        "москва.рф",
        "例え.jp",
        "東京タワーtv.jp",
        "한국.kr",
        "ελλάδα.gr",
        "shop-24.example.com",
        "straße1.de",
        "xn--a.com",
    ],
)
def test_what_one_language_writes_is_not(name):
    assert warnings(name if name.startswith("xn--") else hostname(name)) == []
