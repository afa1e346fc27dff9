"""Which addresses are everybody's."""

import ipaddress

import pytest

from edgeproxy.addresses import is_public


@pytest.mark.parametrize("address", ["93.184.216.34", "2606:2800:220:1::1", "64:ff9b::5db8:d822"])
def test_public_ones(address):
    assert is_public(ipaddress.ip_address(address))


@pytest.mark.parametrize(
    "address",
    [
        *("127.0.0.1", "10.1.2.3", "169.254.169.254", "100.64.0.1", "224.0.0.1", "0.0.0.0"),
        *("::1", "::", "fe80::1", "fc00::1", "fec0::1", "ff02::1"),
        *("::127.0.0.1", "::ffff:10.1.2.3", "64:ff9b::10.1.2.3", "2002:0a01:0203::1"),
    ],
)
def test_others_in_whatever_clothes(address):
    assert not is_public(ipaddress.ip_address(address))
