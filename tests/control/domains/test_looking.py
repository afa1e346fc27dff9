"""What a verdict comes to."""

from __future__ import annotations

import pytest

from edgeproxy.control.domains.looking import Silence, suffices
from tests.control.domains.living import HERE, NOTHING, OWN, SILENT, TEXT, TEXT_HERE
from tests.control.store.test_domain_life import made


@pytest.mark.parametrize("verdict", [HERE, OWN, TEXT, TEXT_HERE, NOTHING, SILENT])
def test_where_nothing_more_is_needed_the_verdict_counts(verdict):
    for method in ("cname", "dns", "file"):
        assert suffices(made(method=method), verdict) == verdict.state


@pytest.mark.parametrize(
    ("method", "verdict", "said"),
    [
        ("dns", HERE, "pending"),
        ("dns", OWN, "pending"),
        ("dns", TEXT, "verified"),
        ("dns", TEXT_HERE, "verified"),
        ("cname", HERE, "pending"),
        ("cname", OWN, "verified"),
        ("cname", TEXT, "verified"),
        ("dns", NOTHING, "pending"),
        ("dns", SILENT, "unsure"),
    ],
)
def test_where_others_may_have_set_a_cname_it_proves_nothing(method, verdict, said):
    assert suffices(made(method=method, must_prove=True), verdict) == said


def test_silence_proves_nothing():
    assert suffices(made(), Silence("Nobody answered.")) == "unsure"
