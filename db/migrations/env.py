"""Alembic's entry: runs on the connection that `db.migrations.run` hands over."""

from alembic import context

context.configure(connection=context.config.attributes["connection"], target_metadata=None)
context.run_migrations()
