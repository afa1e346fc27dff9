"""The operator API for domains."""

import asyncio
import json

import pytest

from edgeproxy.config.issuance import Issuance
from edgeproxy.control.api import infrastructure
from edgeproxy.control.api.shapes import moment
from edgeproxy.control.issuance.queue import Turn
from edgeproxy.control.issuance.scheduler import described
from edgeproxy.control.store import Failure
from edgeproxy.model import DomainState
from tests.control.api.conftest import certificate, problem_of
from tests.control.issuance.conftest import changed

DOMAINS = "/api/v1/infrastructure/domains"
FIELDS = {
    "domain",
    "workspace_id",
    "state",
    "origin",
    "routing",
    "redirect_to",
    "include_www",
    "maintenance",
    "policies",
    "metadata",
    "created_at",
    "verified_at",
    "certificate_id",
    "queued",
    "dns_records",
    "error",
}


async def add(world, domain: str, workspace: str = "acme", **more: object):
    return await world.client.post(DOMAINS, json={"domain": domain, "workspace_id": workspace, **more})


async def test_an_added_domain_is_in_the_map_when_the_answer_comes(world):
    answer = await add(world, "Gallery.Example.COM.", "spandantest", origin="http://10.0.0.7:8080/")
    assert answer.status_code == 201
    body = answer.json()
    assert body["verification_required"] is False
    assert body["published"] is True
    config = body["domain_config"]
    assert set(config) == FIELDS
    assert (config["domain"], config["workspace_id"], config["state"]) == ("gallery.example.com", "spandantest", "verified")
    assert config["origin"] == "http://10.0.0.7:8080"
    assert config["created_at"].endswith("Z")
    assert config["verified_at"] == config["created_at"]
    site = world.site("gallery.example.com")
    assert (site.workspace, site.origin) == ("spandantest", "http://10.0.0.7:8080")


async def test_a_domain_to_be_verified_is_stored_and_not_served(world):
    answer = await add(world, "gallery.example.com", verify=True)
    assert answer.status_code == 201
    assert answer.json()["verification_required"] is True
    assert answer.json()["domain_config"]["state"] == "pending_validation"
    assert world.site("gallery.example.com") is None


async def test_a_wildcard_and_an_international_name_are_normalised(world):
    assert (await add(world, "*.Example.com")).json()["domain_config"]["domain"] == "*.example.com"
    assert (await add(world, "bücher.example")).json()["domain_config"]["domain"] == "xn--bcher-kva.example"
    assert (await world.client.get(f"{DOMAINS}/bücher.example")).json()["domain"] == "xn--bcher-kva.example"
    assert (await world.client.get(f"{DOMAINS}/*.example.com")).json()["domain"] == "*.example.com"


async def test_what_speaks_against_a_name_is_told_with_its_registration(world):
    assert (await add(world, "shop.example.com")).json()["warnings"] == []
    for verify in (False, True):
        [said] = (await add(world, f"*.n{verify:d}.example.com", verify=verify)).json()["warnings"]
        assert said.startswith(f"No certificate can be obtained for *.n{verify:d}.example.com")
    [said] = (await add(world, "pаypal.example.com")).json()["warnings"]
    assert "mixes letters of Cyrillic and Latin" in said


async def test_a_removed_domain_is_out_of_the_map_when_the_answer_comes(world):
    await add(world, "gallery.example.com")
    answer = await world.client.delete(f"{DOMAINS}/gallery.example.com")
    assert answer.status_code == 200
    assert answer.json()["published"] is True
    assert answer.json()["domain_config"]["state"] == "removed"
    assert world.site("gallery.example.com") is None
    document = problem_of(await world.client.get(f"{DOMAINS}/gallery.example.com"), 404, "not_found")
    assert document["detail"] == (
        "gallery.example.com is not registered here. `edgeproxy domains add gallery.example.com --workspace ID` registers it. "
        "`edgeproxy domains list` shows what is."
    )
    document = problem_of(await world.client.delete(f"{DOMAINS}/gallery.example.com"), 404, "not_found")
    assert document["detail"] == "gallery.example.com is not registered here. `edgeproxy domains list` shows what is."


async def change(world, domain: str, if_match: object = "", **body: object):
    headers = {"if-match": if_match} if if_match else {}
    return await world.client.patch(f"{DOMAINS}/{domain}", json=body, headers=headers)


async def test_a_changed_domain_is_so_in_the_map_when_the_answer_comes(world):
    await add(world, "www.example.com")
    await add(world, "example.com")
    everything = {
        "origin": "http://10.0.0.7:8080/",
        "redirect_to": "WWW.example.com.",
        "maintenance": True,
        "metadata": {"plan": "gold"},
    }
    answer = await change(world, "example.com", **everything)
    assert answer.status_code == 200
    assert answer.json()["published"] is True
    config = answer.json()["domain_config"]
    assert {name: config[name] for name in everything} == {
        "origin": "http://10.0.0.7:8080",
        "redirect_to": "www.example.com",
        "maintenance": True,
        "metadata": {"plan": "gold"},
    }
    site = world.site("example.com")
    assert (site.origin, site.redirect_to, site.maintenance) == ("http://10.0.0.7:8080", "www.example.com", True)
    answer = await change(world, "example.com", maintenance=False)
    assert answer.json()["domain_config"]["redirect_to"] == "www.example.com"  # what is left out stays
    answer = await change(world, "example.com", origin=None, redirect_to=None, metadata=None)
    config = answer.json()["domain_config"]
    assert (config["origin"], config["redirect_to"], config["maintenance"], config["metadata"]) == ("", None, False, {})
    assert (await world.client.get(f"{DOMAINS}/example.com")).json() == config
    site = world.site("example.com")
    assert (site.origin, site.redirect_to, site.maintenance) == ("", "", False)
    entries = [entry.action for entry in await world.store.list_audit(100, subject="example.com")]
    assert entries == ["domain.added", "domain.changed", "domain.changed", "domain.changed"]


async def test_a_change_may_be_wanted_only_of_what_was_seen(world):
    added = await add(world, "example.com")
    seen = (await world.client.get(f"{DOMAINS}/example.com")).headers["etag"]
    assert added.headers["etag"] == seen
    changed = await change(world, "example.com", seen, maintenance=True)
    assert (changed.status_code, changed.headers["etag"] != seen) == (200, True)
    document = problem_of(await change(world, "example.com", seen, maintenance=False), 412, "precondition_failed")
    assert "Get it, decide anew" in document["detail"]
    assert world.site("example.com").maintenance is True
    assert (await change(world, "example.com", changed.headers["etag"], maintenance=False)).status_code == 200
    assert (await change(world, "example.com", "*")).status_code == 200
    answers = await asyncio.gather(*(change(world, "example.com", "*", metadata={"n": str(n)}) for n in range(4)))
    assert {answer.status_code for answer in answers} == {200}


async def test_a_domain_is_added_with_its_www_which_redirects_to_it(world):
    answer = await add(world, "example.com", include_www=True, metadata={"plan": "gold"})
    assert answer.status_code == 201
    config = answer.json()["domain_config"]
    assert (config["include_www"], config["redirect_to"], config["metadata"]) == (True, None, {"plan": "gold"})
    assert world.site("www.example.com").redirect_to == "example.com"
    assert world.site("example.com").redirect_to == ""
    await add(world, "www.example.org", include_www=True)
    assert world.site("example.org").redirect_to == "www.example.org"
    problem_of(await add(world, "gallery.example.com", include_www=True), 422, "no_pair")
    problem_of(await add(world, "*.example.net", include_www=True), 422, "no_pair")
    problem_of(await add(world, "www.example.com", include_www=True), 409, "conflict")
    answer = await add(world, "old.example.com", redirect_to="example.com")
    assert answer.json()["domain_config"]["redirect_to"] == "example.com"


@pytest.mark.parametrize(
    ("body", "code", "said"),
    [
        ({"redirect_to": "other.example.com"}, "invalid_redirect", "not a domain of its workspace"),
        ({"redirect_to": "nobodys.example.com"}, "invalid_redirect", "not a domain of its workspace"),
        ({"redirect_to": "example.com"}, "invalid_redirect", "redirect to itself"),
        ({"redirect_to": "*.example.com"}, "invalid_name", "not a valid hostname"),
        ({"redirect_to": "https://www.example.com/"}, "invalid_name", "without scheme"),
        ({"redirect_to": "www.example.com\r\nset-cookie: x"}, "invalid_name", "not a valid hostname"),
        ({"redirect_to": "x" * 300}, "invalid_request", "body.redirect_to"),
        ({"redirect_to": 7}, "invalid_request", "body.redirect_to"),
        ({"origin": "ftp://example.com"}, "invalid_origin", "scheme"),
        ({"maintenance": None}, "invalid_request", "body.maintenance"),
        ({"maintenance": "yes"}, "invalid_request", "body.maintenance"),
        ({"metadata": {"a": 7}}, "invalid_request", "body.metadata"),
        ({"metadata": {"a b": "c"}}, "invalid_request", "body.metadata"),
        ({"metadata": {"": "c"}}, "invalid_request", "body.metadata"),
        ({"metadata": {"a": "x" * 513}}, "invalid_request", "body.metadata"),
        ({"metadata": {str(n): "x" for n in range(17)}}, "invalid_request", "body.metadata"),
        ({"metadata": ["a"]}, "invalid_request", "body.metadata"),
        ({"workspace_id": "thief"}, "invalid_request", "body.workspace_id: is not a field"),
        ({"state": "active"}, "invalid_request", "body.state: is not a field"),
    ],
)
async def test_a_change_that_is_not_possible_is_told_and_changes_nothing(world, body, code, said):
    await add(world, "example.com")
    await add(world, "other.example.com", "another")
    before = await world.client.get(f"{DOMAINS}/example.com")
    document = problem_of(await change(world, "example.com", **({"maintenance": True} | body)), 422, code)
    assert said in document["detail"]
    after = await world.client.get(f"{DOMAINS}/example.com")
    assert (after.json(), after.headers["etag"]) == (before.json(), before.headers["etag"])


async def test_only_what_is_registered_can_be_changed(world):
    document = problem_of(await change(world, "example.com", maintenance=True), 404, "not_found")
    assert "`edgeproxy domains add example.com" in document["detail"]


async def test_two_at_once_for_one_name_make_one_domain(world):
    answers = await asyncio.gather(*(add(world, "gallery.example.com", f"w{n}") for n in range(4)))
    assert sorted(answer.status_code for answer in answers) == [201, 409, 409, 409]
    problem_of(next(answer for answer in answers if answer.status_code == 409), 409, "conflict")


@pytest.mark.parametrize(
    ("body", "status", "code", "said"),
    [
        ({"domain": "localhost", "workspace_id": "w"}, 422, "reserved_name", "single label"),
        ({"domain": "ve.ai", "workspace_id": "w"}, 422, "reserved_name", "platform's own"),
        ({"domain": "x.ve.ai", "workspace_id": "w"}, 422, "reserved_name", "platform's own"),
        ({"domain": "domain.edge.example", "workspace_id": "w"}, 422, "reserved_name", "cname_target"),
        ({"domain": "192.0.2.1", "workspace_id": "w"}, 422, "invalid_name", "IP address"),
        ({"domain": "https://a.example.com/", "workspace_id": "w"}, 422, "invalid_name", "without scheme"),
        ({"domain": "a..example.com", "workspace_id": "w"}, 422, "invalid_name", "labels"),
        ({"domain": "a.example.com/../b", "workspace_id": "w"}, 422, "invalid_name", "labels"),
        ({"domain": "a%2eexample.com", "workspace_id": "w"}, 422, "invalid_name", "labels"),
        ({"domain": "", "workspace_id": "w"}, 422, "invalid_name", "empty"),
        ({"domain": "a.example.com\u0000", "workspace_id": "w"}, 422, "invalid_name", "labels"),
        ({"domain": "x" * 300, "workspace_id": "w"}, 422, "invalid_request", "body.domain"),
        ({"domain": "a.example.com", "workspace_id": ""}, 422, "invalid_name", "workspace"),
        ({"domain": "a.example.com", "workspace_id": "a b"}, 422, "invalid_name", "workspace"),
        ({"domain": "a.example.com", "workspace_id": "é"}, 422, "invalid_name", "workspace"),
        ({"domain": "a.example.com", "workspace_id": "x" * 64}, 422, "invalid_request", "body.workspace_id"),
        ({"domain": "a.example.com", "workspace_id": 7}, 422, "invalid_request", "body.workspace_id"),
        ({"domain": ["a.example.com"], "workspace_id": "w"}, 422, "invalid_request", "body.domain"),
        ({"domain": "a.example.com"}, 422, "invalid_request", "body.workspace_id: is missing"),
        ({"domain": "a.example.com", "workspace_id": "w", "verify": "no"}, 422, "invalid_request", "body.verify"),
        ({"domain": "a.example.com", "workspace_id": "w", "orgin": "x"}, 422, "invalid_request", "body.orgin: is not a field"),
        ({"domain": "a.example.com", "workspace_id": "w", "origin": "ftp://x"}, 422, "invalid_origin", "scheme"),
        ({"domain": "a.example.com", "workspace_id": "w", "origin": "x" * 3000}, 422, "invalid_request", "body.origin"),
        ([], 422, "invalid_request", "JSON object"),
        ("text", 422, "invalid_request", "JSON object"),
        (None, 422, "invalid_request", "JSON object"),
    ],
)
async def test_bad_input_gets_one_clear_sentence_and_changes_nothing(world, body, status, code, said):
    answer = await world.client.post(DOMAINS, content=json.dumps(body), headers={"content-type": "application/json"})
    assert said in problem_of(answer, status, code)["detail"]
    assert (await world.client.get(DOMAINS)).json() == {"domains": [], "next_cursor": None}


@pytest.mark.parametrize("path", ["%00", "..%2f..%2fadmin", "a%2fb.example.com", "%ff%fe", "x" * 3000, "[::1]", "%20"])
async def test_tricks_in_the_path_find_nothing(world, path):
    for method in ("GET", "DELETE"):
        answer = await world.client.request(method, f"{DOMAINS}/{path}")
        assert answer.status_code in (404, 422)
        assert answer.headers["content-type"] == "application/problem+json"


async def test_a_listing_is_paged_in_the_order_of_names(world):
    names = [f"n{number:02}.example.com" for number in range(25)]
    for name in reversed(names):
        await add(world, name)
    seen, cursor = [], None
    for _ in range(3):
        page = (await world.client.get(DOMAINS, params={"limit": 10, **({"cursor": cursor} if cursor else {})})).json()
        seen += [domain["domain"] for domain in page["domains"]]
        cursor = page["next_cursor"]
    assert seen == names
    assert cursor is None


async def test_a_page_that_ends_with_the_last_domain_has_no_next(world):
    for name in ("a.example.com", "b.example.com"):
        await add(world, name)
    assert (await world.client.get(DOMAINS, params={"limit": 2})).json()["next_cursor"] is None


async def test_a_listing_is_filtered_by_workspace_and_state(world):
    await add(world, "a.example.com", "one")
    await add(world, "b.example.com", "two")
    await add(world, "c.example.com", "two", verify=True)

    async def listed(**query: str) -> list[str]:
        return [domain["domain"] for domain in (await world.client.get(DOMAINS, params=query)).json()["domains"]]

    assert await listed(workspace_id="two") == ["b.example.com", "c.example.com"]
    assert await listed(state="pending_validation") == ["c.example.com"]
    assert await listed(workspace_id="one", state="pending_validation") == []
    assert await listed(prefix="B.ex") == ["b.example.com"]
    assert await listed(prefix="b%") == []


@pytest.mark.parametrize(
    ("query", "code"),
    [
        ({"limit": "0"}, "invalid_request"),
        ({"limit": "1001"}, "invalid_request"),
        ({"limit": "many"}, "invalid_request"),
        ({"state": "sleeping"}, "invalid_request"),
        ({"colour": "red"}, "invalid_request"),
        ({"cursor": "!!!"}, "invalid_cursor"),
        ({"cursor": "é"}, "invalid_cursor"),
        ({"cursor": "_____w"}, "invalid_cursor"),
        ({"cursor": "x" * 600}, "invalid_request"),
    ],
)
async def test_a_query_that_does_not_fit_is_refused(world, query, code):
    problem_of(await world.client.get(DOMAINS, params=query), 422, code)


async def test_a_domain_shows_its_certificate_and_what_went_wrong(world):
    await add(world, "a.example.com")
    await add(world, "b.example.com")
    await world.store.add_certificate(certificate("a.example.com"), 1.0)
    now = world.context.now()
    failure = Failure(
        name="b.example.com", count=2, next_try=2e9, detail="The CA could not reach the name.", fault="customer_dns"
    )
    await world.store.save_failure(failure, now)
    assert (await world.client.get(f"{DOMAINS}/a.example.com")).json()["certificate_id"] == "id-a.example.com"
    shown = (await world.client.get(f"{DOMAINS}/b.example.com")).json()
    assert shown["certificate_id"] is None
    assert shown["error"] == {
        "code": "issuance_failed",
        "detail": "The CA could not reach the name.",
        "fault": "customer_dns",
        "retryable": True,
        "failed_at": moment(now),
        "times": 2,
        "next_try_at": "2033-05-18T03:33:20Z",
    }
    (_, listed) = (await world.client.get(DOMAINS)).json()["domains"]
    assert listed["error"] == shown["error"]


async def test_a_domain_shows_what_went_wrong_by_a_setting_too(world):
    await add(world, "a.example.com")
    mistake = Failure(
        name="a.example.com", count=1, next_try=2e9, detail="No.", fault="operator", updated_at=world.context.now()
    )
    world.issuance.failures["a.example.com"] = mistake
    shown = (await world.client.get(f"{DOMAINS}/a.example.com")).json()
    assert (shown["error"]["detail"], shown["error"]["fault"]) == ("No.", "operator")


async def test_a_domain_shows_where_its_order_stands(world):
    await add(world, "a.example.com")
    assert (await world.client.get(f"{DOMAINS}/a.example.com")).json()["queued"] is None
    turn = world.issuance.turns["a.example.com"] = Turn("new", 12, 2e9, "the CA said so")
    shown = (await world.client.get(f"{DOMAINS}/a.example.com")).json()
    assert shown["queued"] == described(turn)


async def test_what_went_wrong_before_a_domain_was_added_does_not_count(world):
    await world.store.save_failure(Failure(name="a.example.com", count=1, next_try=2e9, detail="No."), 1.0)
    await add(world, "a.example.com")
    assert (await world.client.get(f"{DOMAINS}/a.example.com")).json()["error"] is None


async def test_where_nothing_is_obtained_on_demand_no_next_try_is_promised(world):
    await add(world, "a.example.com")
    await world.store.save_failure(Failure(name="a.example.com", count=1, next_try=2e9, detail="No."), world.context.now())
    world.context.config = changed(world.context.config, issuance=Issuance(on_demand=False))
    assert (await world.client.get(f"{DOMAINS}/a.example.com")).json()["error"]["next_try_at"] is None


async def test_who_did_it_is_in_the_audit_log(world):
    await add(world, "a.example.com")
    await world.client.delete(f"{DOMAINS}/a.example.com")
    assert [entry.action for entry in await world.store.list_audit(10)] == ["domain.added", "domain.removed"]


async def test_a_map_that_does_not_follow_is_told_and_the_domain_is_kept(world, monkeypatch):
    monkeypatch.setattr(infrastructure, "PUBLISH_SECONDS", 0.05)

    async def never(number: int) -> None:
        await asyncio.sleep(60)

    monkeypatch.setattr(world.publisher, "published", never)
    answer = await add(world, "a.example.com")
    assert answer.status_code == 201
    assert answer.json()["published"] is False
    assert (await world.store.get_domain("a.example.com")).state is DomainState.VERIFIED


# Verified like a tenant's


async def test_verify_looks_and_says_what_is_missing(world):
    await add(world, "gallery.client.com", verify=True)
    answer = await world.client.post(f"{DOMAINS}/gallery.client.com/verify")
    assert answer.status_code == 200
    body = answer.json()
    assert (body["verified"], body["domain_config"]["state"]) == (False, "pending_validation")
    assert body["domain_config"]["error"]["code"] == "no_record"
    assert body["domain_config"]["error"]["fault"] == "customer_dns"
    problem_of(await world.client.post(f"{DOMAINS}/nobody.client.com/verify"), 404, "not_found")


async def test_what_is_required_is_listed_before_anybody_has_looked(world):
    answer = await add(world, "gallery.client.com", verify=True)
    [required] = [record for record in answer.json()["domain_config"]["dns_records"] if record["required"]]
    assert (required["type"], required["value"], required["purpose"]) == ("CNAME", "domain.edge.example", "routing")
    answer = await world.client.post(f"{DOMAINS}/gallery.client.com/verify", json={"method": "dns"})
    assert answer.status_code == 200
    wrong: list[object] = [{"method": "pigeon"}, {"method": 5}, {"colour": "red"}, []]
    for body in wrong:
        problem_of(await world.client.post(f"{DOMAINS}/gallery.client.com/verify", json=body), 422, "invalid_request")


async def test_of_a_pair_the_answers_tell_what_went_and_came_with_a_name(world):
    assert (await add(world, "client.com", verify=True, include_www=True)).json()["also"] == ["www.client.com"]
    removed = (await world.client.delete(f"{DOMAINS}/client.com")).json()
    assert (removed["domain_config"]["domain"], removed["also"]) == ("client.com", ["www.client.com"])
    assert (await world.client.get(f"{DOMAINS}/www.client.com")).status_code == 404
    assert (await world.client.post(f"{DOMAINS}/client.com/restore")).json()["also"] == ["www.client.com"]
    assert (await world.client.delete(f"{DOMAINS}/www.client.com")).json()["also"] == []
    assert (await world.client.get(f"{DOMAINS}/client.com")).json()["include_www"] is False


async def test_a_domain_with_its_www_is_verified_both_or_neither_registered(world):
    answer = await add(world, "client.com", verify=True, include_www=True)
    assert answer.status_code == 201
    www = (await world.client.get(f"{DOMAINS}/www.client.com")).json()
    assert (www["state"], www["redirect_to"]) == ("pending_validation", "client.com")
    await add(world, "www.other.com")
    problem_of(await add(world, "other.com", verify=True, include_www=True), 409, "already_registered")
    problem_of(await world.client.get(f"{DOMAINS}/other.com"), 404, "not_found")


async def test_a_removed_domain_is_brought_back_by_its_workspace(world):
    await add(world, "gallery.client.com", verify=True)
    assert (await world.client.delete(f"{DOMAINS}/gallery.client.com")).json()["domain_config"]["state"] == "removed"
    wrong = await world.client.post(f"{DOMAINS}/gallery.client.com/restore", json={"workspace_id": "other"})
    problem_of(wrong, 404, "not_removed")
    answer = await world.client.post(f"{DOMAINS}/gallery.client.com/restore", json={"workspace_id": "acme"})
    assert (answer.status_code, answer.json()["verification_required"]) == (200, True)
    assert (await world.client.get(f"{DOMAINS}/gallery.client.com")).status_code == 200


@pytest.mark.parametrize("name", ["co.uk", "shop.localhost", "printer.local", "*.github.io"])
async def test_what_no_tenant_can_own_needs_the_operators_word(world, name):
    problem_of(await add(world, name, verify=True), 422, "reserved_name")
    assert (await add(world, name)).status_code == 201


async def test_who_was_not_the_last_to_hold_a_name_proves_it(world):
    await add(world, "gallery.client.com", "one")
    await world.client.delete(f"{DOMAINS}/gallery.client.com")
    answer = await add(world, "gallery.client.com", "two", verify=True)
    [required] = [record for record in answer.json()["domain_config"]["dns_records"] if record["required"]]
    assert (required["type"], required["name"]) == ("TXT", "_edgeproxy-verify.gallery.client.com")
    refused = await world.client.post(f"{DOMAINS}/gallery.client.com/verify", json={"method": "cname"})
    problem_of(refused, 409, "proof_needed")


async def test_what_does_not_fit_is_told_before_the_etag_is_looked_at(world):
    """RFC 9110 section 13.2.1: a precondition never hides what the request would have been refused for without it."""
    await add(world, "example.com")
    answer = await world.client.patch(f"{DOMAINS}/example.com", json={"origin": "AAA"}, headers={"if-match": '"other"'})
    problem_of(answer, 422, "invalid_origin")
