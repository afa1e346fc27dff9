"""Rows of what is told to whom."""

from typing import Any

import pytest

from edgeproxy.control.store.rows.telling import ANSWERED_GONE, Endpoint


def endpoint(**values: Any) -> Endpoint:
    url = "https://a.example/hook"
    return Endpoint(id="e", source="api", url=url, created_at=1.0, created_by="uid:0", updated_at=1.0, **values)


def test_people_see_an_endpoints_label_or_its_url() -> None:
    assert endpoint(label="billing").name == "billing"
    assert endpoint().name == "https://a.example/hook"


@pytest.mark.parametrize(
    ("at", "why", "receiver"), [(None, "", False), (2.0, "uid:0 disabled it", False), (2.0, ANSWERED_GONE, True)]
)
def test_who_disabled_an_endpoint_is_known(at: float | None, why: str, receiver: bool) -> None:
    assert endpoint(disabled_at=at, disabled_why=why).disabled_by_receiver is receiver
