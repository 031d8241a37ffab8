"""Alembic, called from Python: `answermill db upgrade` without an ini file."""

from __future__ import annotations

from pathlib import Path

import sqlalchemy as sa
from alembic import command
from alembic.config import Config

from db.session import transaction


def configuration() -> Config:
    """Return Alembic's configuration of our migrations."""
    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent))
    return config


def upgrade(engine: sa.Engine, to: str = "head") -> None:
    """Bring the database to a revision, in one transaction: all of it or nothing.

    Two processes that start at once upgrade it one after the other.
    """
    config = configuration()
    with transaction(engine) as conn:
        if conn.dialect.name == "postgresql":
            conn.execute(sa.text("SELECT pg_advisory_xact_lock(7305211)"))
        config.attributes["connection"] = conn
        command.upgrade(config, to)
