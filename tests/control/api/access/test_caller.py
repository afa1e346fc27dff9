"""Who may what."""

from types import SimpleNamespace

import pytest

from edgeproxy.control.api.access.caller import MAKES, READERS, WRITERS, Caller, caller_of
from edgeproxy.control.api.problems import Refused
from edgeproxy.model import TokenScope

OPERATOR = Caller("uid:0")
TENANT = Caller("token:1 192.0.2.1", TokenScope.TENANT, "acme", token_id="1")
PLATFORM = Caller("token:2 192.0.2.1", TokenScope.PLATFORM, token_id="2")
PAGE = Caller("token:3 192.0.2.1", TokenScope.DOMAIN_READ, "acme", "a.example.com", "3")


def refused(do, *arguments) -> tuple[int, str, str]:
    with pytest.raises(Refused) as caught:
        do(*arguments)
    return caught.value.status, caught.value.code, caught.value.detail


def test_the_operator_may_everything():
    OPERATOR.owns("anybodys", "a.example.com")
    assert OPERATOR.is_operator
    assert OPERATOR.manages() is None
    assert OPERATOR.may(frozenset())
    assert (OPERATOR.workspace_filter("w"), OPERATOR.workspace_filter(""), OPERATOR.workspace_filter(None)) == ("w", None, None)


@pytest.mark.parametrize("scope", TokenScope)
def test_a_token_is_never_the_operator_and_never_makes_one_that_is_as_mighty(scope):
    assert not Caller("token", scope).is_operator
    assert scope not in MAKES[scope]
    assert not MAKES[scope] & READERS
    assert all(MAKES[below] < MAKES[scope] for below in MAKES[scope])


def test_only_the_operators_tokens_have_the_operator_api():
    assert [scope.value for scope in TokenScope if Caller("t", scope).may(READERS)] == ["operator:read", "operator:write"]
    assert [scope.value for scope in TokenScope if Caller("t", scope).may(WRITERS)] == ["operator:write"]


def test_a_tenant_has_its_own_workspace_alone():
    TENANT.owns("acme", "b.example.com")
    assert refused(TENANT.owns, "other") == (403, "not_your_workspace", "Not your workspace")
    assert refused(TENANT.workspace_filter, "other") == (403, "not_your_workspace", "Not your workspace")
    assert TENANT.workspace_filter("") == TENANT.workspace_filter("acme") == "acme"


def test_a_platform_has_all_workspaces():
    PLATFORM.owns("acme")
    PLATFORM.owns("other")
    assert PLATFORM.workspace_filter("") is None


def test_a_page_has_one_domain_alone():
    PAGE.owns("acme", "a.example.com")
    assert refused(PAGE.owns, "acme", "b.example.com") == (403, "insufficient_scope", "This token is for a.example.com alone.")
    assert refused(PAGE.owns, "other", "a.example.com")[1] == "not_your_workspace"
    assert refused(PAGE.workspace_filter, "acme")[0] == 403


def request(state: dict[str, object], *, admin: bool) -> object:
    return SimpleNamespace(scope={"state": state}, app=SimpleNamespace(state=SimpleNamespace(admin=admin)))


def test_the_caller_is_whom_the_token_says_and_on_the_admin_socket_the_operator():
    assert caller_of(request({"caller": TENANT}, admin=False)) == TENANT  # type: ignore[arg-type]
    assert caller_of(request({"actor": "uid:7"}, admin=True)) == Caller("uid:7")  # type: ignore[arg-type]


def test_nobody_is_the_operator_by_default():
    assert refused(caller_of, request({"actor": "uid:0"}, admin=False))[0] == 401
    assert refused(caller_of, SimpleNamespace(scope={}, app=SimpleNamespace(state=SimpleNamespace())))[0] == 401
