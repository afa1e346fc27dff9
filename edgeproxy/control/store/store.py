"""The one store: what is true. The published map is derived from it, and nothing else writes it."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Self

from edgeproxy.config.structs import Config
from edgeproxy.control.store import opening, schema
from edgeproxy.control.store.alerts import Alerts
from edgeproxy.control.store.bulk import Bulk
from edgeproxy.control.store.certificates import Certificates
from edgeproxy.control.store.changelog import ChangeLog
from edgeproxy.control.store.companions import Companions
from edgeproxy.control.store.database import Database
from edgeproxy.control.store.domain_life import DomainLife
from edgeproxy.control.store.domains import Domains
from edgeproxy.control.store.idempotency import IdempotencyKeys
from edgeproxy.control.store.lifecycle import Lifecycle
from edgeproxy.control.store.looks import Looks
from edgeproxy.control.store.mail_proofs import MailProofs
from edgeproxy.control.store.orders import Accounts, Challenges, Failures
from edgeproxy.control.store.redirects import Redirects
from edgeproxy.control.store.renewals import Renewals
from edgeproxy.control.store.routes import GateRoutes
from edgeproxy.control.store.secrets import Secrets
from edgeproxy.control.store.sheets import Sheets
from edgeproxy.control.store.tokens import Tokens
from edgeproxy.control.store.turns import Turns
from edgeproxy.control.store.webhooks import Webhooks
from edgeproxy.control.store.workspaces import Workspaces
from edgeproxy.keys import store_path
from edgeproxy.published.seal import Sealer


class Store(
    Domains,
    Bulk,
    DomainLife,
    Looks,
    Sheets,
    Redirects,
    Renewals,
    Lifecycle,
    Companions,
    Certificates,
    Accounts,
    Turns,
    Challenges,
    GateRoutes,
    Failures,
    Secrets,
    Tokens,
    Webhooks,
    Workspaces,
    MailProofs,
    IdempotencyKeys,
    Alerts,
    ChangeLog,
):
    """Rows in, rows out. Every method raises StateError where the database cannot do it; nothing is half done then.

    A writing method takes `now` (Unix time), and what it changes for the published map goes into the change log within
    the same transaction; where that matters to the caller it returns the change's number for `Publisher.published`.
    `changed` is set after each such commit.
    """

    id: str
    """Random, made with the store: a map made from another store is rebuilt."""

    @classmethod
    async def open(cls, config: Config, state_directory: Path, sealer: Sealer, *, account_sealer: Sealer) -> Self:
        """Opens the store, making or migrating it where that is due.

        `sealer` has the key for "store", `account_sealer` the one for "acme" (`keys.derive`). Raises StateError where it
        is damaged, lost, or of a schema that this program cannot read; nothing was overwritten then.
        """
        path = store_path(config, state_directory)
        found = await asyncio.to_thread(opening.look, path, state_directory)
        if found.version < schema.VERSION:
            from edgeproxy.control.store.migrate import migrate  # a start that needs no migration does not load Alembic

            await asyncio.to_thread(migrate, path)
            found = await asyncio.to_thread(opening.look, path, state_directory)
        store = cls(Database(path), sealer, account_sealer, config.limits)
        store.id = found.store_id
        return store

    async def close(self) -> None:
        """Closes the database."""
        await self.database.close()
