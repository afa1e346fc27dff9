"""Brings a store to this program's schema. Imported only where that is needed: Alembic costs a start 0.1 s."""

from __future__ import annotations

import os
import uuid
from pathlib import Path
from typing import Any

import alembic.command
import alembic.config
import sqlalchemy
from alembic.util import CommandError
from sqlalchemy import event

from edgeproxy import disk
from edgeproxy.control.store import schema
from edgeproxy.errors import StateError

_SCRIPTS = Path(__file__).with_name("migrations")


def migrate(path: Path) -> None:
    """Runs the missing migrations in one transaction, in a file that is made (0600) where there is none.

    Blocking. A process that dies meanwhile leaves the store as it was. Raises StateError.
    """
    try:
        os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600))
        engine = sqlalchemy.create_engine(sqlalchemy.URL.create("sqlite", database=str(path)), poolclass=sqlalchemy.NullPool)
        event.listen(engine, "connect", _plain)
        event.listen(engine, "begin", _begin)
        try:
            with engine.begin() as connection:
                _upgrade(connection)
        finally:
            engine.dispose()
    except (sqlalchemy.exc.SQLAlchemyError, CommandError, OSError) as error:
        # SQLAlchemy's own text goes on with the statement and a link.
        cause = error.orig if isinstance(error, sqlalchemy.exc.DBAPIError) else error
        name = getattr(cause, "sqlite_errorname", "")
        no_room = isinstance(error, OSError) and disk.is_full(error)
        if no_room or name.startswith("SQLITE_FULL") or (name.startswith("SQLITE_IOERR") and disk.has_no_room(path)):
            raise disk.full(StateError, path) from error
        raise StateError(
            f"The store cannot be brought to schema {schema.VERSION}: {path}: {cause}. It is as it was."
        ) from error


def _upgrade(connection: sqlalchemy.Connection) -> None:
    """Alembic's part, then what the store says of itself, in the caller's transaction."""
    config = alembic.config.Config()
    config.set_main_option("script_location", str(_SCRIPTS).replace("%", "%%"))
    config.attributes["connection"] = connection
    alembic.command.upgrade(config, "head")
    about = {row.name for row in connection.execute(sqlalchemy.select(schema.about.c.name))}
    for name, value in (("version", str(schema.VERSION)), ("readable_from", str(schema.READABLE_FROM))):
        if name in about:
            connection.execute(schema.about.update().where(schema.about.c.name == name).values(value=value))
        else:
            connection.execute(schema.about.insert().values(name=name, value=value))
    if "store_id" not in about:
        connection.execute(schema.about.insert().values(name="store_id", value=str(uuid.uuid4())))
        connection.execute(schema.counters.insert().values(name="change", value=0))


def _plain(connection: Any, _record: object) -> None:
    """sqlite3's own transactions leave out DDL; ours do not."""
    connection.isolation_level = None
    connection.execute("PRAGMA busy_timeout = 5000")
    connection.execute("PRAGMA journal_mode = WAL")
    connection.execute("PRAGMA synchronous = FULL")


def _begin(connection: sqlalchemy.Connection) -> None:
    connection.exec_driver_sql("BEGIN IMMEDIATE")
