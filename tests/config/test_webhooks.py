"""What endpoints of webhooks may say in the configuration."""

from __future__ import annotations

import base64
import re
from pathlib import Path

import pytest

from edgeproxy.config import webhooks
from edgeproxy.config.webhooks import CERTIFICATE_EVENTS, EVENTS, chosen, event_filter, secret_bytes

PACKAGE = Path(__file__).parents[2] / "edgeproxy"


def test_every_event_of_certificates_that_is_told_can_be_chosen() -> None:
    told = {
        name
        for path in (PACKAGE / "control").rglob("*.py")
        for call in re.findall(r"events\.publish\(([^*]*)", path.read_text())
        for name in re.findall(r'"(certificate\.[a-z_]+)"', call)
    }
    assert len(told) >= 8
    assert told <= set(CERTIFICATE_EVENTS)


@pytest.mark.parametrize("text", ["*", "domain.*", "certificate.*", *EVENTS])
def test_types_and_families_can_be_chosen(text: str) -> None:
    assert event_filter(text) == text


@pytest.mark.parametrize("text", ["domain", "domain.gone", "*.active", "domain.**", "certificates.*", "", "domain.active "])
def test_what_is_no_event_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="is no event; write"):
        event_filter(text)


def test_a_filter_chooses_types_and_families_and_none_chooses_all() -> None:
    assert chosen((), "domain.active")
    assert chosen(("*",), "domain.active")
    assert chosen(("domain.*",), "domain.active")
    assert chosen(("certificate.*", "domain.active"), "domain.active")
    assert not chosen(("certificate.*", "domain.active"), "domain.removed")


@pytest.mark.parametrize("size", [24, 32, 64])
def test_a_secret_is_the_base64_of_enough_bytes(size: int) -> None:
    assert secret_bytes("whsec_" + base64.b64encode(b"x" * size).decode()) == b"x" * size


@pytest.mark.parametrize(
    "text",
    [
        base64.b64encode(b"k" * 24).decode(),
        "whsec_",
        "whsec_" + base64.b64encode(b"k" * 23).decode(),
        "whsec_" + base64.b64encode(b"k" * 65).decode(),
        "whsec_!" + base64.b64encode(b"k" * 24).decode(),
        "whsec_" + "é" * 40,
    ],
)
def test_what_is_no_secret_is_refused_and_not_quoted(text: str) -> None:
    with pytest.raises(ValueError, match="not a secret of Standard Webhooks") as error:
        webhooks.secret(text)
    assert not text or text not in str(error.value) or text == "whsec_"
