"""Alembic's entry point, on the connection from `db.migrations.run`."""

from alembic import context

context.configure(connection=context.config.attributes["connection"], target_metadata=None)
context.run_migrations()
