"""The schema check of every program, and the embedded database's upgrade.

The embedded database is created and upgraded. Any other database is only checked: an operator
runs `answermill db upgrade`. Not covered: the migrations themselves (`db.migrations`).
"""

from __future__ import annotations

from pathlib import Path

import sqlalchemy as sa

from core.errors import SchemaMissing, SettingsInvalid
from core.settings.settings import Settings
from db.engine import open_engine
from db.session import database_address, reading
from db.tables import REVISION


def revision(engine: sa.Engine) -> str | None:
    """Return the database's Alembic revision, or None if it has no tables."""
    if engine.url.get_backend_name() == "sqlite":
        file = Path(str(engine.url.database))
        if file.parent.is_dir() and not file.exists():
            return None  # a connection would create an empty file
    with reading(engine) as conn:
        if not sa.inspect(conn).has_table("alembic_version"):
            return None
        current: str | None = conn.scalar(sa.text("SELECT version_num FROM alembic_version"))
        return current


def check_schema(engine: sa.Engine) -> None:
    """Check that the database has at least the revision of this release.

    A later revision is accepted: the first migrations of a release keep the previous one running.

    Raises:
        SchemaMissing: the database's revision is too old, or it has no tables.
    """
    current = revision(engine)
    if _is_outdated(current):
        raise SchemaMissing(database_address(engine), current, REVISION)


def prepare(settings: Settings) -> sa.Engine:
    """Open the database, and check its schema, or upgrade it if embedded.

    Raises:
        SchemaMissing: the revision of a database that is not embedded is too old.
        DatabaseUnavailable: the database does not answer.
    """
    engine = open_engine(settings)
    try:
        if settings.embedded_database:
            make_home(settings)
            _upgrade_if_outdated(engine)
        else:
            check_schema(engine)
    except BaseException:
        engine.dispose()
        raise
    return engine


def make_home(settings: Settings) -> None:
    """Create ANSWERMILL_HOME, readable by its owner only, if missing.

    Raises:
        SettingsInvalid: the folder cannot be created.
    """
    try:
        settings.home.mkdir(parents=True, exist_ok=True, mode=0o700)
    except OSError as error:
        fault = f"cannot create {settings.home}: {error.strerror}"
        raise SettingsInvalid([f"ANSWERMILL_HOME: {fault}"]) from error


def _is_outdated(current: str | None) -> bool:
    return current is None or current < REVISION


def _upgrade_if_outdated(engine: sa.Engine) -> None:
    if _is_outdated(revision(engine)):
        from db.migrations.run import upgrade  # Alembic takes long to import

        upgrade(engine)
