"""Certificates outlive the domains that they were obtained for: what is admitted on other grounds later is served as ever."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest

from tests.integration.running import Running
from tests.ports import free_port


@pytest.fixture
def edge(tmp_path: Path) -> Iterator[Running]:
    tables: dict[str, dict[str, Any]] = {
        "issuance": {"directory": "internal", "allow": {"patterns": ["a.left.test", "*.all.test"]}},
        "tls": {"default_hostname": "default.left.test"},
        "origin": {"url": f"http://127.0.0.1:{free_port()}"},
    }
    with Running(tmp_path, tables) as edge:
        yield edge


def had(edge: Running, domain: str, visited: str) -> str:
    """A domain that was visited once, under the certificate that is given back, and then removed."""
    edge.add_domain(domain)
    serial, _ = presented(edge, visited)
    assert edge.api("DELETE", f"/api/v1/infrastructure/domains/{quote(domain)}")[0] == 200
    return serial


def presented(edge: Running, host: str) -> tuple[str, list[str]]:
    """The certificate that a visitor is shown: its serial number and names."""
    with contextlib.closing(edge.visitor(host)) as visitor:
        certificate = visitor.sock.getpeercert()
        assert certificate is not None
        return visitor.serial, [str(entry[1]) for entry in certificate["subjectAltName"]]


@pytest.mark.parametrize("name", ["a.left.test", "default.left.test"])
def test_beneath_a_wildcard_that_was_removed_a_name_that_is_admitted_has_a_certificate_of_its_own(
    edge: Running, name: str
) -> None:
    old = had(edge, "*.left.test", "b.left.test")
    serial, names = presented(edge, name)
    assert (serial != old, names) == (True, [name])


def test_a_pattern_that_admits_the_wildcard_too_goes_on_with_its_certificate(edge: Running) -> None:
    old = had(edge, "*.all.test", "b.all.test")
    assert presented(edge, "a.all.test") == (old, ["*.all.test"])


def test_beneath_a_new_wildcard_a_name_is_served_whose_own_certificate_is_left_over(edge: Running) -> None:
    old = had(edge, "a.shop.test", "a.shop.test")
    edge.add_domain("*.shop.test")
    serial, names = presented(edge, "a.shop.test")
    assert (serial != old, names) == (True, ["*.shop.test"])
