"""What CAs count certificates by."""

import pytest

from edgeproxy.control.issuance.registered import is_public_suffix, load, registered_domain


@pytest.mark.parametrize(
    ("name", "registered"),
    [
        ("example.com", "example.com"),
        ("a.b.example.com", "example.com"),
        ("*.shop.example.co.uk", "example.co.uk"),
        ("a.customer.github.io", "customer.github.io"),
        ("co.uk", "co.uk"),
        ("a.intranet", "a.intranet"),
        ("localhost", "localhost"),
        ("www.xn--bcher-kva.example", "xn--bcher-kva.example"),
    ],
)
def test_the_registered_domain_is_one_label_below_the_public_suffix(name, registered):
    load()
    assert registered_domain(name) == registered


def test_public_suffixes_are_those_of_registries_and_of_companies():
    assert all(is_public_suffix(name) for name in ("com", "co.uk", "github.io", "uk"))
    assert not any(is_public_suffix(name) for name in ("example.com", "customer.github.io", "a.b.example.co.uk"))
