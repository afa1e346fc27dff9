"""A domain's own settings by the operator API: checked, stored, published, told; and nobody's but the operator's to change."""

from __future__ import annotations

import msgspec
import pytest

from edgeproxy.control.api.policy_shapes import PoliciesIn
from edgeproxy.policies import Policies
from tests.control.api.access.conftest import Api
from tests.control.api.conftest import problem_of

DOMAINS = "/api/v1/infrastructure/domains"
PATH = f"{DOMAINS}/example.com"
OWN = {
    "headers": {"content-security-policy": "default-src 'self'", "x-frame-options": ""},
    "allow": ["10.0.0.0/8", "2001:db8::/32"],
    "deny": ["10.9.0.0/16"],
    "hsts": "365d; includeSubDomains",
    "rate_per_network": "100/s burst 400",
    "rate_per_hostname": "off",
    "compression": "on",
    "compression_never": ["/account", "/a-b/c.d/"],
    "request_body": 0,
}


async def add(world, **more: object):
    return await world.client.post(DOMAINS, json={"domain": "example.com", "workspace_id": "acme", **more})


def test_the_api_takes_every_field_that_there_is() -> None:
    assert set(PoliciesIn.model_fields) == set(Policies.__struct_fields__)
    assert all(field.description for field in PoliciesIn.model_fields.values())


@pytest.mark.parametrize("verify", [False, True])
async def test_a_domain_is_added_with_its_policies(world, verify):
    answer = await add(world, policies=OWN, verify=verify)
    assert answer.status_code == 201
    assert answer.json()["domain_config"]["policies"] == OWN
    assert (await world.client.get(PATH)).json()["policies"] == OWN
    if not verify:
        assert world.site("example.com").policies == msgspec.convert(OWN, Policies)


async def test_a_change_is_of_what_it_names_and_in_the_map_when_the_answer_comes(world):
    assert (await add(world)).json()["domain_config"]["policies"] == {}
    assert world.site("example.com").policies is None
    for change, after in (
        ({"hsts": "1d", "deny": ["192.0.2.0/24"]}, {"hsts": "1d", "deny": ["192.0.2.0/24"]}),
        ({"headers": {"x-a": "1"}, "deny": None}, {"hsts": "1d", "headers": {"x-a": "1"}}),
        ({"headers": {}}, {"hsts": "1d"}),
        ({}, {"hsts": "1d"}),
        (None, {}),
    ):
        answer = await world.client.patch(PATH, json={"policies": change})
        assert answer.status_code == 200
        assert answer.json()["domain_config"]["policies"] == after
        assert world.site("example.com").policies == (msgspec.convert(after, Policies) if after else None)
    entries = await world.store.list_audit(100, subject="example.com")
    assert [entry.action for entry in entries] == ["domain.added", *["domain.changed"] * 4]
    assert entries[1].detail == 'policies: none to {"deny":["192.0.2.0/24"],"hsts":"1d"}'
    await world.client.patch(PATH, json={"policies": {"hsts": "2d"}})
    await world.client.patch(PATH, json={"maintenance": True})
    assert world.site("example.com").policies == Policies(hsts="2d")


@pytest.mark.parametrize(
    ("own", "said"),
    [
        ({"colour": "red"}, "body.policies.colour: is not a field"),
        ({"hsts": "a year"}, "body.policies.hsts"),
        ({"compression": "yes"}, "body.policies.compression"),
        ({"compression_never": ["/a//b"]}, "body.policies.compression_never"),
        ({"compression_never": ["/a/../b"]}, "body.policies.compression_never"),
        ({"compression_never": ["/%61"]}, "body.policies.compression_never"),
        ({"compression_never": ["/a"] * 65}, "body.policies.compression_never"),
        ({"rate_per_network": "many"}, "body.policies.rate_per_network"),
        ({"rate_per_hostname": "1/h burst 25"}, "body.policies.rate_per_hostname"),
        ({"hsts": 365}, "body.policies.hsts"),
        ({"hsts": "30d; includeSubDomains; preload"}, "365d"),
        ({"allow": "10.0.0.0/8"}, "body.policies.allow"),
        ({"allow": ["10.0.0.1/8"]}, 'write "10.0.0.0/8"'),
        ({"deny": ["example.com"]}, "is not a network"),
        ({"deny": ["192.0.2.1"] * 257}, "body.policies.deny"),
        ({"headers": {"X-A": "1"}}, "policies.headers: 'X-A' has capital letters; write 'x-a'"),
        ({"headers": {"a b": "1"}}, "policies.headers: 'a b' is no name of a header field; write one like x-frame-options"),
        ({"headers": {"content-length": "1"}}, "cannot be set"),
        ({"headers": {"set-cookie": "a=b"}}, "cannot be set"),
        ({"headers": {"strict-transport-security": "max-age=1"}}, "its setting is hsts"),
        ({"headers": {"x-a": "1\r\nset-cookie: a=b"}}, "one line of printable ASCII"),
        ({"headers": {"x-a": 1}}, "body.policies.headers"),
        ({"headers": {f"x-{n}": "1" for n in range(33)}}, "body.policies.headers"),
        ([], "body.policies"),
    ],
)
async def test_what_cannot_be_set_is_told_and_changes_nothing(world, own, said):
    await add(world, policies={"hsts": "1d"})
    document = problem_of(await world.client.patch(PATH, json={"policies": own}), 422, "invalid_request")
    assert said in document["detail"]
    assert (await world.client.get(PATH)).json()["policies"] == {"hsts": "1d"}
    refused = await world.client.post(DOMAINS, json={"domain": "b.example.com", "workspace_id": "acme", "policies": own})
    assert said in problem_of(refused, 422, "invalid_request")["detail"]
    assert (await world.client.get(f"{DOMAINS}/b.example.com")).status_code == 404


async def test_only_the_operator_changes_them(world):
    await add(world)
    api = Api(world)
    for scope, status in (("tenant", 403), ("platform", 403), ("operator:read", 403), ("operator:write", 200)):
        token = await api.token(scope, **({"workspace_id": "acme"} if scope == "tenant" else {}))
        assert (await api.ask("PATCH", PATH, token, json={"policies": {"hsts": "1d"}})).status_code == status
        assert world.site("example.com").policies == (Policies(hsts="1d") if status == 200 else None)


async def test_what_brings_a_removed_domain_back_brings_them_back(world):
    await add(world, policies=OWN, verify=True)
    assert (await world.client.delete(PATH)).status_code == 200
    restored = await world.client.post(f"{PATH}/restore")
    assert restored.status_code == 201 or restored.status_code == 200
    assert restored.json()["domain_config"]["policies"] == OWN
