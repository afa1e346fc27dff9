"""[dns] and [dns.rfc2136]."""

import msgspec
import pytest

from edgeproxy.config.dns import Dns, Rfc2136


def test_the_secret_of_updates_is_not_in_a_repr() -> None:
    shown = repr(Dns(rfc2136=Rfc2136(server="192.0.2.53:53", key_name="known", key_secret="Z2VoZWlt")))
    assert "192.0.2.53:53" in shown
    assert "'known'" in shown
    assert "Z2VoZWlt" not in shown


def test_updates_are_not_signed_with_what_is_broken() -> None:
    assert Rfc2136().algorithm == "hmac-sha256"
    with pytest.raises(msgspec.ValidationError, match="hmac-md5"):
        msgspec.convert({"algorithm": "hmac-md5"}, Rfc2136)
