"""[verification]."""

import msgspec
import pytest

from edgeproxy.config.verification import Verification
from edgeproxy.units import Duration, decode_hook


def test_how_strict_it_is_is_one_of_two_presets() -> None:
    assert Verification().preset == "accept"
    with pytest.raises(msgspec.ValidationError, match="preset"):
        msgspec.convert({"preset": "trust"}, Verification)


def test_a_domain_is_given_up_before_it_is_forgotten_and_a_removed_one_can_be_brought_back_for_a_day() -> None:
    settings = msgspec.convert({"look_again": "30m"}, Verification, dec_hook=decode_hook)
    assert settings.look_again == Duration(1800)
    assert settings.look_again < settings.undo == Duration(86400) < settings.give_up_after < settings.forget_after
