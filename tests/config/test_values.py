"""Which values have which rule, and what numbers may be."""

from typing import get_args, get_origin, get_type_hints

import msgspec
import pytest

from edgeproxy.config import values
from edgeproxy.config.structs import Config
from edgeproxy.units import Duration


def texts(section=Config(), path=()):  # noqa: B008  # never changed
    for name, hint in get_type_hints(type(section)).items():
        value = getattr(section, name)
        if isinstance(value, msgspec.Struct):
            yield from texts(value, (*path, name))
        elif get_origin(hint) is tuple and issubclass(get_args(hint)[0], msgspec.Struct):
            yield from texts(get_args(hint)[0](), (*path, name))
        elif hint is str or get_origin(hint) is tuple:
            yield ".".join((*path, name))


def test_every_text_has_a_rule_but_for_what_only_the_ca_can_judge():
    assert set(texts()) - set(values.RULES) == {"issuance.eab.key_id", "issuance.profile", "issuance.preferred_chain"}
    assert set(values.RULES) <= set(texts())
    assert set(values.MUST_NOT_BE_EMPTY) <= set(values.RULES)


def test_numbers_and_durations_have_ranges():
    values.in_range("workers.count", 0)
    values.in_range("timeouts.idle", Duration(1))
    for key, value in (
        ("workers.count", -1),
        ("timeouts.idle", Duration(0)),
        ("timeouts.idle", Duration(4e7)),
        ("limits.contexts", 0),
        ("alerts.latency_window", Duration(59)),
        ("alerts.latency_window", Duration(3601)),
    ):
        with pytest.raises(ValueError, match="outside what is possible"):
            values.in_range(key, value)
