"""A domain's own settings as they are typed."""

from __future__ import annotations

import msgspec
import pytest

from edgeproxy.cli import main
from edgeproxy.cli.policies import change_of
from edgeproxy.policies import Policies
from tests.cli.test_domains import BASE, DOMAIN

HOST = "gallery.example.com"


def test_what_is_typed_is_what_is_sent() -> None:
    typed = ["hsts=365d; includeSubDomains", "deny=192.0.2.0/24, 2001:db8::/32", "headers.x-a=a=b", "allow="]
    change = change_of(typed, {"headers": {"x-b": "2", "x-a": "1"}})
    assert change == {
        "hsts": "365d; includeSubDomains",
        "deny": ["192.0.2.0/24", "2001:db8::/32"],
        "headers": {"x-b": "2", "x-a": "a=b"},
        "allow": None,
    }
    assert change_of(["headers.x-b=", "headers.x-c=3"], {"headers": {"x-b": "2"}}) == {"headers": {"x-c": "3"}}
    assert change_of(["headers="], {"headers": {"x-b": "2"}}) == {"headers": None}


def test_names_of_header_fields_and_sizes_are_typed_as_people_know_them() -> None:
    assert change_of(["headers.X-Frame-Options=DENY"], {"headers": {"x-frame-options": "SAMEORIGIN"}}) == {
        "headers": {"x-frame-options": "DENY"}
    }
    assert change_of(["request_body=50MB"], {}) == {"request_body": 50_000_000}


def test_help_names_every_setting(cli) -> None:
    said = " ".join(cli("domains", "set", "--help")[1].split())
    assert [name for name in Policies.__struct_fields__ if name not in said] == []


def test_every_field_can_be_typed() -> None:
    for name in Policies.__struct_fields__:
        assert change_of([f"{name}="], {}) == {name: None}


def test_add_and_set_send_them(cli, edge):
    edge.answers[f"POST {BASE}"] = (201, {"domain_config": DOMAIN, "published": True})
    assert cli("domains", "add", HOST, "-w", "w", "--policy", "hsts=1d")[0] == main.DONE
    assert edge.asked[-1][2]["policies"] == {"hsts": "1d"}
    edge.answers[f"PATCH {BASE}/{HOST}"] = (200, {"domain_config": DOMAIN, "published": True})
    assert cli("domains", "set", HOST, "--policy", "hsts=", "--policy", "deny=192.0.2.1")[0] == main.DONE
    assert edge.asked[-1][2] == {"policies": {"hsts": None, "deny": ["192.0.2.1"]}}
    changed = {**DOMAIN, "policies": {"hsts": "off", "allow": ["10.0.0.0/8"]}}
    for domain, said in (
        (changed, "Its own settings: hsts off, allow 10.0.0.0/8."),
        (DOMAIN, "It has no settings of its own now."),
    ):
        edge.answers[f"PATCH {BASE}/{HOST}"] = (200, {"domain_config": domain, "published": True})
        assert said in cli("domains", "set", HOST, "--policy", "hsts=off")[2]
    edge.answers[f"GET {BASE}/{HOST}"] = (200, {**DOMAIN, "policies": {"headers": {"x-a": "1"}}})
    assert cli("domains", "set", HOST, "--policy", "headers.x-b=2")[0] == main.DONE
    assert edge.asked[-1][2] == {"policies": {"headers": {"x-a": "1", "x-b": "2"}}}


@pytest.mark.parametrize(
    ("typed", "said"),
    [
        ("hsts", "is not NAME=VALUE"),
        ("colour=red", "deny, headers, hsts"),
        ("headers=x", "headers.NAME=VALUE"),
        ("headers.=x", "headers.NAME=VALUE"),
        ("hsts.a=1", "hsts=VALUE"),
        ("request_body=off", "write request_body=10MB, or a number"),
    ],
)
def test_what_is_not_understood_is_told(cli, edge, typed, said):
    status, out, err = cli("domains", "set", HOST, "--policy", typed)
    assert (status, out, [asked for asked in edge.asked if asked[0] == "PATCH"]) == (main.USAGE, "", [])
    assert said in " ".join(err.split())


def test_numbers_and_switches_are_sent_as_such(monkeypatch):
    later = msgspec.defstruct("Later", [("size", int | None, None), ("on", bool | None, None)])
    monkeypatch.setattr("edgeproxy.cli.policies.Policies", later)
    assert change_of(["size=10", "on=false"], {}) == {"size": 10, "on": False}
    for wrong in ("size=ten", "on=yes"):
        with pytest.raises(Exception, match=r"write size=10MB|write on=true or false"):
            change_of([wrong], {})
