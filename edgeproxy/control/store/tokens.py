"""Bearer tokens of the API: who may do what. Their secrets are not here, only digests of them."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

import msgspec
from sqlalchemy import and_, bindparam, delete, func, or_, select
from sqlalchemy.dialects.sqlite import insert

from edgeproxy.control.store.base import Part, fields, page
from edgeproxy.control.store.database import Write
from edgeproxy.control.store.domains import audited
from edgeproxy.control.store.rows.access import Token
from edgeproxy.control.store.schema import tokens
from edgeproxy.errors import Conflict, NotFound
from edgeproxy.model import TokenScope

MAX_TOKENS = 100_000
"""Tokens in all, some 30 MB. Whoever makes them has a token, so that this is a mistake's bound and not a stranger's."""

KEPT_SECONDS = 30 * 86_400.0
"""How long a token is still listed after its end. One for a single domain goes with its end: there may be one for each
visitor of a page."""


class Tokens(Part):
    """Ids and secrets are made by the caller."""

    async def add_token(self, token: Token) -> None:
        """Adds a token; raises Conflict above MAX_TOKENS. One for a single domain, which changes nothing and lasts for minutes,
        gets no entry in the audit log: its row says who made it."""
        values = msgspec.structs.asdict(token) | {"scope": token.scope.value}
        async with self.database.write() as write:
            if self._clean_due("tokens") or await _count(write) >= MAX_TOKENS:
                await _forget_ended(write, token.created_at)
            if await _count(write) >= MAX_TOKENS:
                raise Conflict(
                    f"There are {MAX_TOKENS} tokens already. Revoke what is not used (`edgeproxy tokens list` shows the last "
                    "use of each), and give tokens a time to expire.",
                    code="too_many_tokens",
                )
            await write.connection.execute(insert(tokens).values(**values))
            if not token.hostname:
                detail = token.scope.value + (f" for workspace {token.workspace_id}" if token.workspace_id else "")
                await audited(write, token.created_at, token.created_by, "token.created", token.id, detail)

    async def token(self, token_id: str) -> Token | None:
        """One token, also where it has ended."""
        row = await self.database.first(_TOKEN, {"token_id": token_id})
        return None if row is None else token_of(row)

    async def list_tokens(
        self,
        limit: int,
        after: str = "",
        *,
        workspace_id: str | None = None,
        scopes: Collection[TokenScope] | None = None,
        now: float | None = None,
    ) -> list[Token]:
        """A page of tokens behind the id `after`, by id; of a workspace, of some scopes, and with `now` only valid ones."""
        query = select(tokens).where(tokens.c.id > after).order_by(tokens.c.id).limit(page(limit))
        if workspace_id is not None:
            query = query.where(tokens.c.workspace_id == workspace_id)
        if scopes is not None:
            query = query.where(tokens.c.scope.in_([scope.value for scope in scopes]))
        if now is not None:
            query = query.where(tokens.c.revoked_at.is_(None), or_(tokens.c.expires_at.is_(None), tokens.c.expires_at > now))
        async with self.database.read() as connection:
            return [token_of(row) for row in await connection.execute(query)]

    async def revoke_token(self, token_id: str, *, actor: str, now: float) -> Token:
        """Ends a token for good; one that is revoked already stays as it is. Raises NotFound."""
        async with self.database.write() as write:
            row = (await write.connection.execute(select(tokens).where(tokens.c.id == token_id))).first()
            if row is None:
                raise NotFound(f"There is no token {token_id}. `edgeproxy tokens list` shows what there is.")
            token = token_of(row)
            if token.revoked_at is not None:
                return token
            await write.connection.execute(tokens.update().where(tokens.c.id == token_id).values(revoked_at=now))
            await audited(write, now, actor, "token.revoked", token_id, token.scope.value)
        return msgspec.structs.replace(token, revoked_at=now)

    async def tokens_used(self, used: Mapping[str, float]) -> None:
        """Notes when tokens were last used: Unix time by id."""
        if not used:
            return
        statement = tokens.update().where(tokens.c.id == bindparam("which")).values(used_at=bindparam("at"))
        async with self.database.write() as write:
            await write.connection.execute(statement, [{"which": which, "at": at} for which, at in used.items()])


_TOKEN = select(tokens).where(tokens.c.id == bindparam("token_id"))
"""Made once: it is asked with each request."""


def token_of(row: Any) -> Token:
    """A row of the table as a struct."""
    return Token(**(fields(row) | {"scope": TokenScope(row.scope)}))


async def _count(write: Write) -> int:
    return int(await write.connection.scalar(select(func.count()).select_from(tokens)) or 0)


async def _forget_ended(write: Write, now: float) -> None:
    rows = tokens.c
    ended = func.coalesce(rows.revoked_at, rows.expires_at)  # revoked after its end: listed a little longer
    await write.connection.execute(
        delete(tokens).where(or_(ended <= now - KEPT_SECONDS, and_(rows.hostname > "", ended <= now)))
    )
