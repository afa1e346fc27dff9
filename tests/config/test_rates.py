"""The section of rate limits: empty by default, and its tokens seen by nobody."""

from __future__ import annotations

from pathlib import Path

import pytest

from edgeproxy.config import document
from edgeproxy.config.load import load
from edgeproxy.config.rates import Rates
from edgeproxy.errors import ConfigError

HEAD = '[issuance]\ndirectory = "internal"\n[rates]\n'
SECRET = "0123456789abcdef-secret"


def test_nothing_is_limited_unless_somebody_says_so() -> None:
    assert Rates() == Rates(per_network="", per_hostname="", per_workspace="", exempt=(), exempt_tokens=())


def test_what_is_written_is_read(tmp_path: Path) -> None:
    token = tmp_path / "token"
    token.write_text(SECRET + "\n")
    token.chmod(0o600)
    path = tmp_path / "edgeproxy.toml"
    path.write_text(f'{HEAD}per_network = "100 / s"\nexempt = ["10.0.0.0/8"]\nexempt_tokens = ["file:{token}"]\n')
    config = load(path, {"EDGEPROXY_RATES__PER_HOSTNAME": "20/m burst 5"})
    assert config.rates == Rates(
        per_network="100/s", per_hostname="20/m burst 5", exempt=("10.0.0.0/8",), exempt_tokens=(SECRET,)
    )
    assert SECRET not in repr(config) + document.effective(config)


@pytest.mark.parametrize(
    ("line", "told"),
    [
        ('per_network = "100"', "rates.per_network: '100' is not a rate; write one like \"100/s\""),
        ("per_network = 100", "rates.per_network: this is a number"),
        ('exempt = ["10.0.0.1/8"]', "rates.exempt: '10.0.0.1/8' has bits set after its prefix; write \"10.0.0.0/8\""),
        ('exempt_tokens = ["short-secret"]', "rates.exempt_tokens: the token is not 16 to 256 letters"),
        ('exempt_header = ""', "rates.exempt_header: the text is empty"),
    ],
)
def test_what_is_wrong_is_told_with_its_line(tmp_path: Path, line: str, told: str) -> None:
    path = tmp_path / "edgeproxy.toml"
    path.write_text(f"{HEAD}{line}\n")
    with pytest.raises(ConfigError) as caught:
        load(path, {})
    assert f"{path}:4: {told}" in caught.value.detail
    assert "secret" not in caught.value.detail
