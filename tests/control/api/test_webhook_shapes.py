"""What requests about webhooks may hold."""

from __future__ import annotations

import pytest
from pydantic import ValidationError

from edgeproxy.control.api.webhook_shapes import ReplayIn, WebhookIn
from tests.control.webhooks.receiver import SECRET


def test_a_secret_is_not_in_a_repr():
    assert SECRET not in repr(WebhookIn(url="https://a.example/", secret=SECRET))


def test_a_time_is_read_with_its_offset():
    for text in ("2026-01-01T01:00:00+01:00", "2026-01-01T00:00:00Z"):
        assert float(ReplayIn(since=text).since) == 1767225600.0


@pytest.mark.parametrize("text", ["", "2026", "2026-01-01T00:00:00", "x" * 41])
def test_what_is_no_time_is_refused(text):
    with pytest.raises(ValidationError):
        ReplayIn(since=text)


@pytest.mark.parametrize("more", [{"events": ["nothing.*"]}, {"label": "\x07"}, {"secret": "x"}, {"more": 1}])
def test_what_is_not_in_the_description_is_refused(more):
    with pytest.raises(ValidationError):
        WebhookIn(**({"url": "https://a.example/"} | more))
