"""Run by Alembic with the connection that `control.store.migrate` has opened; one transaction for all steps."""

from alembic import context

from edgeproxy.control.store.schema import metadata

context.configure(connection=context.config.attributes["connection"], target_metadata=metadata, transactional_ddl=True)
context.run_migrations()
