"""Which records the zone has, and what it says to which question."""

from edgeproxy.control.dns.zone import zone_label


def test_a_hostname_and_its_wildcard_have_one_label_that_never_changes():
    assert zone_label("gallery.example.com") == "ex7nf45s7zx7nph5oozplciqjt"
    assert zone_label("*.gallery.example.com") == zone_label("gallery.example.com")
    assert zone_label("shop.example.com") != zone_label("gallery.example.com")
