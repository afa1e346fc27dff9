"""What is checked of a domain before it is registered: most of it is tested where it is asked for, test_infrastructure.py and
test_imports.py."""

import pytest

from edgeproxy.control.api.access.caller import Caller
from edgeproxy.control.api.adding import wanted_of
from edgeproxy.control.api.problems import Refused
from edgeproxy.control.api.shapes import DomainIn
from edgeproxy.errors import InvalidName
from edgeproxy.model import DomainState, TokenScope

OPERATOR = Caller("uid:0")
TOKEN = Caller("token:x", TokenScope.OPERATOR_WRITE)


def body(**more):
    return DomainIn.model_validate({"domain": "Example.com.", "workspace_id": "acme", **more})


async def test_what_is_asked_for_becomes_what_is_stored(world):
    given = body(include_www=True, origin="http://10.0.0.7:80/", metadata={"plan": "gold"}, policies={"hsts": "365d"})
    entry = wanted_of(world.context, OPERATOR, given).entry("uid:0", 5.0, tells=False)
    first, beside = entry.domains
    assert (first.hostname, beside.hostname, beside.redirect_to) == ("example.com", "www.example.com", "example.com")
    assert first.include_www
    assert beside.include_www
    assert (first.origin, first.metadata, first.policies) == ("http://10.0.0.7:80", '{"plan":"gold"}', '{"hsts":"365d"}')
    assert (first.state, first.created_at, first.updated_at, first.verified_at) == (DomainState.VERIFIED, 5.0, 5.0, 5.0)
    assert (entry.actor, entry.tells) == ("uid:0", False)
    assert len(wanted_of(world.context, OPERATOR, body()).entry("uid:0", 5.0).domains) == 1


async def test_a_tokens_word_is_not_the_operators(world):
    with pytest.raises(InvalidName):
        wanted_of(world.context, TOKEN, body(origin="http://10.0.0.7:80"))


async def test_a_method_goes_with_a_proof(world):
    with pytest.raises(Refused):
        wanted_of(world.context, OPERATOR, body(method="dns"))
    assert wanted_of(world.context, OPERATOR, body(method="dns", verify=True)).partner == ""
