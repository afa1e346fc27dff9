"""Many domains by one request."""

import json

from edgeproxy.control.api import imports
from tests.control.api.conftest import problem_of

DOMAINS = "/api/v1/infrastructure/domains"
IMPORTS = "/api/v1/infrastructure/domain-imports"


def named(*names, workspace="acme", **more):
    return [{"domain": name, "workspace_id": workspace, **more} for name in names]


async def send(world, *domains, **more):
    answer = await post(world, IMPORTS, {"domains": list(domains), **more})
    assert answer.status_code == 200, answer.text
    return answer.json()


async def post(world, path, body):
    """In ASCII, so that what is no character can be sent."""
    return await world.client.post(path, content=json.dumps(body), headers={"content-type": "application/json"})


async def test_all_are_served_when_the_answer_comes(world):
    answer = await send(
        world, *named("A.Example.com.", "*.b.example.com"), *named("bücher.example", origin="http://10.0.0.7:80/")
    )
    assert answer == {"added": 3, "there": 0, "refused": [], "published": True}
    assert world.site("a.example.com").workspace == world.site("*.b.example.com").workspace == "acme"
    assert world.site("xn--bcher-kva.example").origin == "http://10.0.0.7:80"
    assert await world.store.last_events(10) == []
    assert [each.actor for each in await world.store.list_audit(10)] == ["unknown"] * 3


async def test_the_second_time_they_are_there(world):
    await send(world, *named("a.example.com"))
    answer = await send(world, *named("a.example.com", "b.example.com"))
    assert (answer["added"], answer["there"]) == (1, 1)


async def test_each_is_refused_as_it_would_be_alone_and_keeps_nobody(world):
    await send(world, *named("taken.example.com", workspace="other"))
    wrong = [
        {"domain": "a.example.com"},
        {"domain": 7, "workspace_id": "acme"},
        {"domain": "a.example.com", "workspace_id": "acme", "colour": "red", "origin": "x" * 3000},
        *named("not a name", "127.0.0.1", "single", "x.ve.ai", "domain.edge.example", "taken.example.com"),
        *named("a.example.com", workspace="no/workspace"),
        *named("a.example.com", origin="ftp://o.example"),
        *named("a.example.com", redirect_to="nowhere.example.com"),
        *named("a.b.example.com", include_www=True),
        *named("a.example.com", method="dns"),
        *named("a.example.com", policies={"hsts": "for ever"}),
        *named("a.example.com", metadata={"a": 1}),
        *named("\ud800.example.com"),
        *named("*.example.com", redirect_to="*.example.org"),
        {},
    ]
    answer = await send(world, *named("good.example.com"), *wrong, *named("better.example.com"))
    assert (answer["added"], answer["there"]) == (2, 0)
    assert [each["index"] for each in answer["refused"]] == list(range(1, len(wrong) + 1))
    for each in answer["refused"]:
        alone = (await post(world, DOMAINS, wrong[each["index"] - 1])).json()
        assert {name: alone[name] for name in ("code", "fault", "retryable")} == {
            name: each[name] for name in ("code", "fault", "retryable")
        }
        assert alone["detail"].replace("body.", "") == each["detail"]


async def test_those_to_be_proven_wait_for_their_turn(world):
    answer = await send(world, *named("a.example.com", "b.example.com", verify=True), *named("c.example.com"))
    assert (answer["added"], answer["refused"]) == (3, [])
    states = {each.hostname[0]: (each.state, each.next_look is not None) for each in await world.store.list_domains(10)}
    assert states == {"a": ("pending_validation", True), "b": ("pending_validation", True), "c": ("verified", False)}
    assert world.site("a.example.com") is None
    again = await send(world, *named("a.example.com", verify=True), *named("b.example.com"))
    assert again["there"] == 1
    assert [each["code"] for each in again["refused"]] == ["not_proven"]
    mail = await send(world, *named("d.example.com", verify=True, method="email"))
    assert mail["added"] == 0
    other = await send(world, *named("a.example.com", workspace="other", verify=True))
    assert [(each["code"], each["retryable"]) for each in other["refused"]] == [("already_registered", True)]


async def test_a_pair_and_what_redirects_come_as_by_themselves(world):
    on, pair = named("on.example.com", redirect_to="example.net"), named("example.net", include_www=True)
    answer = await send(world, *on, *pair, *named("a.example.com"))
    assert (answer["added"], answer["refused"]) == (3, [])
    assert world.site("www.example.net").redirect_to == "example.net"
    assert world.site("on.example.com").redirect_to == "example.net"


async def test_events_are_told_where_they_are_wanted(world):
    await send(world, *named("a.example.com"), events=True)
    assert [each.type for each in await world.store.last_events(10)] == ["domain.registered"]


async def test_a_request_has_a_bound(world):
    too_many = named(*(f"n{number}.example.com" for number in range(501)))
    given: list[object] = [[], too_many, "a", None]
    for body in ({}, *({"domains": domains} for domains in given)):
        problem_of(await post(world, IMPORTS, body), 422, "invalid_request")
    names = [f"n{number}.example.com" for number in range(2 * imports.CHECKED_AT_ONCE + 1)]
    assert (await send(world, *named(*names)))["added"] == len(names)
