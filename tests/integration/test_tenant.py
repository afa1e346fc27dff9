"""The tenant API in the whole program: each answer that customers' dashboards know, word by word."""

from __future__ import annotations

import json
import socket
from concurrent.futures import ThreadPoolExecutor

import pytest

from tests.integration.running import wait_for
from tests.integration.servers import require
from tests.integration.test_domain_life import TARGET, Platform
from tests.integration.test_issuance import Origin, serving

REGISTER = "/api/domains/register"
PLEASE = "Please set the DNS record to complete domain validation"


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    require("pebble", "pebble-challtestsrv")
    with serving(Origin) as port, Platform(tmp_path_factory.mktemp("tenant"), port) as world:
        yield world


def register(world, subdomain, domain="client-domain.com", workspace="spandantest", **more):
    return world.edge.api("POST", REGISTER, {"subdomain": subdomain, "domain": domain, "workspaceId": workspace, **more})


def verify(world, name):
    return world.edge.api("GET", f"/api/domains/verify/{name}")


def error(message):
    return {"status": "error", "message": message}


def test_a_domain_is_registered_verified_and_live(world):
    status, answer = register(world, "gallery")
    records = answer.pop("dns_records")
    assert (status, answer) == (200, {"status": "pending_validation", "message": PLEASE})
    [required] = [record for record in records if record["required"]]
    assert (required["type"], required["name"], required["value"]) == ("CNAME", "gallery.client-domain.com", TARGET)
    assert required["host_field"] == "gallery"
    world.point_here("gallery.client-domain.com")
    wait_for(lambda: verify(world, "gallery.client-domain.com")[1]["status"] == "verified", "the domain verified")
    status, answer = verify(world, "gallery.client-domain.com")
    records = answer.pop("dns_records")
    assert (status, answer) == (
        200, {"status": "verified", "message": "Domain verified and mapped successfully", "state": "active"},
    )  # fmt: skip
    assert [record["ok"] for record in records if record["required"]] == [True]
    assert world.visit("gallery.client-domain.com")[0]["workspace"] == "spandantest"


def test_what_is_wrong_is_told(world):
    world.dns("set-cname", host="wrong.client-domain.com.", target="elsewhere.example.net.")
    world.dns("set-servfail", host="broken.client-domain.com.")
    register(world, "wrong")
    register(world, "broken")
    status, answer = verify(world, "wrong.client-domain.com")
    assert (status, answer["status"]) == (200, "invalid_cname")
    assert answer["message"] == f"Please ensure CNAME points to {TARGET}"
    assert "elsewhere.example.net" in str([record["seen"] for record in answer["dns_records"]])
    status, answer = verify(world, "broken.client-domain.com")
    assert (status, answer["status"]) == (200, "error")
    assert answer["message"] == "Could not verify domain. Check DNS configuration."
    assert verify(world, "nobody.client-domain.com") == (404, error("Domain not registered"))


def test_a_registered_domain_is_told_with_its_records_to_its_owner_alone(world):
    assert register(world, "taken")[0] == 200
    status, mine = register(world, "taken")
    assert (status, mine.pop("dns_records")[0]["type"]) == (409, "CNAME")
    assert mine == error("Domain already registered")
    status, others = register(world, "taken", workspace="another")
    [way_out] = others.pop("dns_records")
    assert (status, others) == (409, error("Domain already registered"))
    assert (way_out["type"], way_out["required"]) == ("TXT", True)
    assert way_out["reason"].startswith("Another workspace registered")


def claim(world, subdomain, workspace):
    """The TXT record by which a workspace would have a name that another one never proved."""
    status, answer = register(world, subdomain, workspace=workspace)
    assert (status, answer["message"]) == (409, "Domain already registered")
    [record] = answer["dns_records"]
    return record["name"], record["value"]


def show(world, name):
    return world.edge.api("GET", f"/api/v1/infrastructure/domains/{name}.client-domain.com")[1]


def test_who_shows_the_record_has_what_another_never_proved_at_once(world):
    assert register(world, "claimed", workspace="squatter")[0] == 200
    name, value = claim(world, "claimed", "owner")
    assert name == "_edgeproxy-verify.claimed.client-domain.com"
    world.dns("set-txt", host=f"{name}.", value=value)
    _, others = claim(world, "claimed", "thief")
    assert others != value
    status, answer = register(world, "claimed", workspace="owner")
    assert (status, answer["status"]) == (200, "pending_validation")
    assert show(world, "claimed")["workspace_id"] == "owner"
    assert show(world, "claimed")["verified_at"] is not None
    world.dns("set-txt", host=f"{name}.", value=others)
    for workspace in ("squatter", "thief"):
        assert register(world, "claimed", workspace=workspace) == (409, error("Domain already registered"))
    told = world.edge.api("GET", "/api/v1/infrastructure/events?limit=1000")[1]["events"]
    mine = [event for event in told if event["data"].get("domain") == "claimed.client-domain.com"]
    [removed] = [event for event in mine if event["type"] == "domain.removed"]
    assert (removed["data"]["workspace_id"], removed["data"]["error"]["code"]) == ("squatter", "claimed")


def test_of_two_claimants_with_their_records_one_has_the_name(world):
    assert register(world, "both", workspace="squatter")[0] == 200
    claimants = [f"c{number}" for number in range(4)]
    for workspace in claimants:
        name, value = claim(world, "both", workspace)
        world.dns("set-txt", host=f"{name}.", value=value)
    with ThreadPoolExecutor(4) as threads:
        answers = list(threads.map(lambda workspace: register(world, "both", workspace=workspace), claimants))
    assert sorted(status for status, _ in answers) == [200, 409, 409, 409]
    assert all(answer == error("Domain already registered") for status, answer in answers if status == 409)
    assert show(world, "both")["workspace_id"] == claimants[[status for status, _ in answers].index(200)]


def test_a_record_takes_nothing_from_who_has_proven_a_name(world):
    assert register(world, "proven", workspace="owner")[0] == 200
    name, value = claim(world, "proven", "thief")
    world.point_here("proven.client-domain.com")
    wait_for(lambda: verify(world, "proven.client-domain.com")[1]["status"] == "verified", "the domain verified")
    world.dns("set-txt", host=f"{name}.", value=value)
    assert register(world, "proven", workspace="thief") == (409, error("Domain already registered"))
    body = {"domain": "proven.client-domain.com", "workspace_id": "thief", "verify": True}
    status, problem = world.edge.api("POST", "/api/v1/infrastructure/domains", body)
    assert (status, problem["code"], problem.get("dns_records")) == (409, "already_registered", None)
    assert show(world, "proven")["workspace_id"] == "owner"


def test_the_operator_api_tells_the_record_too(world):
    assert register(world, "*", "wild-client.com", "squatter")[0] == 200
    body = {"domain": "*.wild-client.com", "workspace_id": "owner", "verify": True}
    status, problem = world.edge.api("POST", "/api/v1/infrastructure/domains", body)
    assert (status, problem["code"], problem["retryable"]) == (409, "already_registered", True)
    [record] = problem["dns_records"]
    assert (record["type"], record["name"]) == ("TXT", "_edgeproxy-verify.wild-client.com")
    world.dns("set-txt", host=f"{record['name']}.", value=record["value"])
    status, answer = world.edge.api("POST", "/api/v1/infrastructure/domains", body)
    assert (status, answer["domain_config"]["workspace_id"]) == (201, "owner"), answer
    assert answer["domain_config"]["state"] == "awaiting_cutover"


def test_of_two_at_the_same_moment_one_has_it(world):
    with ThreadPoolExecutor(8) as threads:
        answers = list(threads.map(lambda number: register(world, "race", workspace=f"w{number}"), range(8)))
    assert sorted(status for status, _ in answers) == [200] + [409] * 7


@pytest.mark.parametrize(
    "body",
    [
        {"subdomain": "a b", "domain": "client-domain.com", "workspaceId": "w"},
        {"subdomain": "", "domain": "https://client-domain.com", "workspaceId": "w"},
        {"subdomain": "x", "domain": "", "workspaceId": "w"},
        {"subdomain": "..", "domain": "client-domain.com", "workspaceId": "w"},
        {"subdomain": "%2e%2e", "domain": "client-domain.com", "workspaceId": "w"},
        {"subdomain": "", "domain": "192.0.2.1", "workspaceId": "w"},
        {"subdomain": "a" * 64, "domain": "client-domain.com", "workspaceId": "w"},
    ],
)
def test_a_malformed_name_is_told_in_the_words_that_dashboards_know(world, body):
    assert world.edge.api("POST", REGISTER, body) == (400, error("Invalid domain format"))


@pytest.mark.parametrize(
    ("body", "names"),
    [
        ({"subdomain": "x", "domain": "client-domain.com"}, "workspaceId"),
        ({"subdomain": "x", "domain": "client-domain.com", "workspaceId": 7}, "workspaceId"),
        ({"subdomain": "x", "domain": "client-domain.com", "workspaceId": "../w"}, "../w"),
        ({"subdomain": "x", "domain": "client-domain.com", "workspaceId": "w", "more": 1}, "more"),
        ({"subdomain": "x", "domain": "client-domain.com", "workspaceId": "w", "method": "pigeon"}, "pigeon"),
        ({"subdomain": "", "domain": TARGET, "workspaceId": "w"}, TARGET),
        ({"subdomain": "", "domain": "co.uk", "workspaceId": "w"}, "co.uk"),
        (["no", "object"], "JSON object"),
    ],
)
def test_what_else_is_wrong_with_a_request_is_said(world, body, names):
    status, answer = world.edge.api("POST", REGISTER, body)
    assert (status, set(answer), answer["status"]) == (400, {"status", "message"}, "error")
    assert names in answer["message"]


def test_a_body_of_megabytes_is_refused_in_the_same_two_fields(world):
    with socket.socket(socket.AF_UNIX) as client:
        client.settimeout(30)
        client.connect(str(world.edge.socket))
        client.sendall(f"POST {REGISTER} HTTP/1.1\r\nhost: edge\r\ncontent-length: 10000000\r\n\r\n".encode())
        head, _, body = client.makefile("rb").read().partition(b"\r\n\r\n")
    answer = json.loads(body)
    assert head.startswith(b"HTTP/1.1 413 ")
    assert (set(answer), answer["status"]) == ({"status", "message"}, "error")


def test_the_apex_a_wildcard_and_its_www(world):
    status, answer = register(world, "@", "apex-domain.com", includeWww=True)
    assert status == 200
    assert answer["dns_records"][0]["host_field"] == "@"
    assert [each["host_field"] for each in answer["dns_records"] if each["required"]] == ["@", "www"]
    assert verify(world, "www.apex-domain.com")[0] == 200
    status, answer = register(world, "*", "wild-domain.com")
    assert status == 200
    [required] = [record for record in answer["dns_records"] if record["required"]]
    assert (required["type"], required["name"]) == ("TXT", "_edgeproxy-verify.wild-domain.com")


def test_who_does_not_pay_is_told_so_before_anything_else(world):
    at = "/api/v1/infrastructure/workspaces/poor"
    assert world.edge.api("PUT", at, {"paid": False})[0] == 200
    for subdomain in ("gallery", "no name"):
        refused = register(world, subdomain, "poor-domain.com", "poor")
        assert refused == (403, error("Custom domains require a paid subscription"))
    assert world.edge.api("PUT", at, {"paid": True, "max_domains": 1})[0] == 200
    assert register(world, "gallery", "poor-domain.com", "poor")[0] == 200
    status, answer = register(world, "second", "poor-domain.com", "poor")
    assert (status, set(answer)) == (409, {"status", "message"})
