"""[listen], [http], [tls] and [timeouts]."""

import msgspec
import pytest

from edgeproxy.config.visitors import Listen, Timeouts, Tls
from edgeproxy.units import Duration, decode_hook


def test_the_edge_listens_on_every_address_of_both_families_unless_told_otherwise() -> None:
    assert (Listen().https, Listen().http) == (("0.0.0.0:443", "[::]:443"), ("0.0.0.0:80", "[::]:80"))
    assert not Listen().trusted_proxies, "nobody's headers are believed unasked"


def test_a_timeout_is_read_with_its_unit() -> None:
    read = msgspec.convert({"idle": "2m", "write": "250ms"}, Timeouts, dec_hook=decode_hook)
    assert (read.idle, read.write, read.handshake) == (Duration(120), Duration(0.25), Timeouts().handshake)


@pytest.mark.parametrize("values", [{"minimum": "1.1"}, {"key_type": "p521"}, {"second_key_type": "p256"}])
def test_what_is_not_secure_or_not_there_cannot_be_chosen_for_tls(values: dict[str, str]) -> None:
    with pytest.raises(msgspec.ValidationError, match="Invalid enum value"):
        msgspec.convert(values, Tls)
