"""CAPTION db.schema."""

from __future__ import annotations

from pathlib import Path

import sqlalchemy as sa

from core.errors import SchemaMissing, SettingsInvalid
from core.settings.settings import Settings
from db.engine import open_engine
from db.session import database_address, reading
from db.tables import REVISION


def revision(engine: sa.Engine) -> str | None:
    """Return the Alembic revision that the database is at, None when it has no tables."""
    if engine.url.get_backend_name() == "sqlite":
        file = Path(str(engine.url.database))
        if file.parent.is_dir() and not file.exists():
            return None  # to look would make an empty file
    with reading(engine) as conn:
        if not sa.inspect(conn).has_table("alembic_version"):
            return None
        found: str | None = conn.scalar(sa.text("SELECT version_num FROM alembic_version"))
        return found


def check_schema(engine: sa.Engine) -> None:
    """Refuse a database that lacks what this release needs.

    A later revision is taken: a release's first migrations keep its forerunner running.

    Raises:
        SchemaMissing: the database is behind.
    """
    found = revision(engine)
    if found is None or found < REVISION:
        raise SchemaMissing(database_address(engine), found, REVISION)


def prepare(settings: Settings) -> sa.Engine:
    """Open the database and check its schema; the embedded one is created and upgraded.

    Raises:
        SchemaMissing: a database that is not ours to upgrade is behind.
        DatabaseUnavailable: it can't be reached.
    """
    engine = open_engine(settings)
    try:
        if settings.embedded_database:
            make_home(settings)
            _upgrade_if_behind(engine)
        else:
            check_schema(engine)
    except BaseException:
        engine.dispose()
        raise
    return engine


def make_home(settings: Settings) -> None:
    """Make the folder of everything embedded, for its owner alone, unless it is there.

    Raises:
        SettingsInvalid: it can't be made.
    """
    try:
        settings.home.mkdir(parents=True, exist_ok=True, mode=0o700)
    except OSError as error:
        fault = f"{settings.home} can't be made: {error.strerror}"
        raise SettingsInvalid([f"ANSWERMILL_HOME: {fault}"]) from error


def _upgrade_if_behind(engine: sa.Engine) -> None:
    found = revision(engine)
    if found is None or found < REVISION:
        from db.migrations.run import upgrade  # Alembic takes long to import

        upgrade(engine)
