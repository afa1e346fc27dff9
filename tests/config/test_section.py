"""Tables of the configuration."""

import msgspec
import pytest

from edgeproxy.config.section import Section


class Table(Section, frozen=True):
    key: str = "value"


def test_a_table_takes_its_keys_and_no_others_and_stays_as_it_is() -> None:
    assert msgspec.convert({"key": "other"}, Table) == Table(key="other")
    with pytest.raises(msgspec.ValidationError, match="unknown field"):
        msgspec.convert({"kee": "other"}, Table)
    with pytest.raises(AttributeError):
        Table().key = "other"  # type: ignore[misc]
