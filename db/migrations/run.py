"""Runs the Alembic migrations from Python, without an ini file.

Not covered: the check whether a database needs an upgrade (`db.schema`).
"""

from __future__ import annotations

from pathlib import Path

import sqlalchemy as sa
from alembic import command
from alembic.config import Config

from db.session import transaction

_UPGRADE_LOCK = 7305211  # the id of PostgreSQL's advisory lock; any number that no other lock has


def configuration() -> Config:
    """Return Alembic's configuration for the migrations of this package."""
    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent))
    return config


def upgrade(engine: sa.Engine, to: str = "head") -> None:
    """Upgrade the database to a revision, in one transaction.

    Two processes that start at the same time run the upgrade one after the other.
    """
    config = configuration()
    with transaction(engine) as conn:
        if conn.dialect.name == "postgresql":
            lock = sa.text("SELECT pg_advisory_xact_lock(:id)")
            conn.execute(lock, {"id": _UPGRADE_LOCK})
        config.attributes["connection"] = conn
        command.upgrade(config, to)
