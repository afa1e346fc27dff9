"""Rows of bearer tokens."""

from __future__ import annotations

import msgspec
import pytest

from edgeproxy.control.store import Store, Token
from edgeproxy.control.store import tokens as module
from edgeproxy.errors import Conflict, NotFound
from edgeproxy.model import TokenScope
from tests.control.store.making import NOW


def token(number: int = 1, **more: object) -> Token:
    wanted = {
        "id": f"{number:016x}",
        "digest": number.to_bytes(32, "big"),
        "scope": TokenScope.PLATFORM,
        "created_at": NOW,
        "created_by": "uid:0",
    }
    return Token(**(wanted | more))  # type: ignore[arg-type]


def browsers(number: int, expires_at: float) -> Token:
    """For one domain."""
    return token(
        number, scope=TokenScope.DOMAIN_READ, workspace_id="w", hostname="a.example.com", expires_at=expires_at, label="page"
    )


async def test_a_token_is_found_by_its_id_and_its_making_is_in_the_audit_log(store: Store) -> None:
    made = token(scope=TokenScope.TENANT, workspace_id="acme", label="CI", expires_at=NOW + 60)
    await store.add_token(made)
    assert await store.token(made.id) == made
    assert await store.token(token(2).id) is None
    (entry,) = await store.list_audit(10, subject=made.id)
    assert (entry.action, entry.actor, entry.detail) == ("token.created", "uid:0", "tenant for workspace acme")


async def test_tokens_are_listed_in_pages_by_workspace_and_scope_and_without_those_that_ended(store: Store) -> None:
    await store.add_token(token(1))
    await store.add_token(token(2, scope=TokenScope.TENANT, workspace_id="w"))
    await store.add_token(token(3, expires_at=NOW + 10))
    await store.add_token(browsers(4, NOW + 900))
    await store.revoke_token(token(1).id, actor="uid:0", now=NOW + 1)

    async def listed(limit: int = 10, after: str = "", **more: object) -> list[int]:
        return [int(each.id, 16) for each in await store.list_tokens(limit, after, **more)]  # type: ignore[arg-type]

    assert await listed() == [1, 2, 3, 4]
    assert await listed(2) == [1, 2]
    assert await listed(2, token(2).id) == [3, 4]
    assert await listed(workspace_id="w") == [2, 4]
    assert await listed(scopes={TokenScope.TENANT, TokenScope.PLATFORM}) == [1, 2, 3]
    assert await listed(now=NOW + 9) == [2, 3, 4]
    assert await listed(now=NOW + 10) == [2, 4]


async def test_a_token_is_revoked_once_for_good(store: Store) -> None:
    await store.add_token(token())
    assert (await store.revoke_token(token().id, actor="uid:1", now=NOW + 5)).revoked_at == NOW + 5
    assert (await store.revoke_token(token().id, actor="uid:2", now=NOW + 6)).revoked_at == NOW + 5
    assert await store.token(token().id) == msgspec.structs.replace(token(), revoked_at=NOW + 5)
    assert [entry.actor for entry in await store.list_audit(10, subject=token().id)] == ["uid:0", "uid:1"]
    with pytest.raises(NotFound, match="edgeproxy tokens list"):
        await store.revoke_token(token(2).id, actor="uid:0", now=NOW)


async def test_last_uses_are_noted_together(store: Store) -> None:
    for number in (1, 2, 3):
        await store.add_token(token(number))
    await store.tokens_used({token(1).id: NOW + 1, token(3).id: NOW + 3, "gone": NOW})
    await store.tokens_used({})
    assert [each.used_at for each in await store.list_tokens(10)] == [NOW + 1, None, NOW + 3]


async def test_what_ended_is_forgotten_a_page_s_tokens_at_once_and_others_after_a_month(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(store, "_clean_due", lambda table: table == "tokens")
    await store.add_token(browsers(1, NOW + 900))
    await store.add_token(token(2, expires_at=NOW + 900))
    await store.add_token(token(3))
    await store.add_token(token(4))
    await store.revoke_token(token(3).id, actor="uid:0", now=NOW + 900)

    async def there(at: float) -> list[int]:
        await store.add_token(token(int(at), created_at=at))
        return [number for number in (1, 2, 3, 4) if await store.token(token(number).id) is not None]

    assert await there(NOW + 899) == [1, 2, 3, 4]
    assert await there(NOW + 901) == [2, 3, 4]
    assert await there(NOW + 899 + module.KEPT_SECONDS) == [2, 3, 4]
    assert await there(NOW + 900 + module.KEPT_SECONDS) == [4]
    assert not await store.list_audit(10, subject=token(1).id), "one for a page is in no audit log"


async def test_there_is_a_bound_and_what_ended_makes_room(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MAX_TOKENS", 3)
    for number in (1, 2):
        await store.add_token(token(number))
    await store.add_token(browsers(3, NOW + 900))
    with pytest.raises(Conflict, match="There are 3 tokens already"):
        await store.add_token(token(4))
    await store.add_token(token(4, created_at=NOW + 900))
    assert [int(each.id, 16) for each in await store.list_tokens(10)] == [1, 2, 4]
