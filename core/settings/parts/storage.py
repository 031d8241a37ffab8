"""Settings of the data folder and the database."""

from __future__ import annotations

import os
import sys
from pathlib import Path

from pydantic import Field, SecretStr, field_validator

from core.errors import SettingsInvalid
from core.settings.base import PREFIX, SECRETS, SettingsPart, absolute
from core.settings.urls import scheme_of

_DATABASE_SCHEMES = ("sqlite", "postgresql", "postgresql+psycopg")


def _data_folder() -> Path:
    """Return the folder in which the platform keeps the data of a program."""
    if sys.platform == "darwin":
        return Path.home() / "Library" / "Application Support" / "answermill"
    base = os.environ.get("XDG_DATA_HOME") or str(Path.home() / ".local" / "share")
    return Path(base) / "answermill"


class StorageSettings(SettingsPart):
    """The data folder and the database."""

    home: Path = Field(
        default_factory=_data_folder,
        description="Folder of the embedded database, Redis files, models and logs.",
    )
    database_url: SecretStr | None = Field(
        default=None,
        description="SQLAlchemy URL of SQLite or PostgreSQL. Unset: SQLite under HOME.",
    )
    embedded: bool = Field(
        default=True,
        description="Use the embedded database or Redis if its URL is not set. Off, as in the"
        " images: a missing URL is an error.",
    )

    @field_validator("home")
    @classmethod
    def _make_absolute(cls, value: Path) -> Path:
        return absolute(value)

    @field_validator("database_url")
    @classmethod
    def _check_database(cls, value: SecretStr | None) -> SecretStr | None:
        if value and (scheme := scheme_of(value)) not in _DATABASE_SCHEMES:
            msg = f"{scheme}:// is not supported; use sqlite:///FILE or postgresql://…"
            raise ValueError(msg)
        return value

    @property
    def embedded_database(self) -> bool:
        """Whether the database is under HOME, created and upgraded automatically."""
        return self.database_url is None

    @property
    def database(self) -> str:
        """The SQLAlchemy URL of the database with its password, never shown.

        Raises:
            SettingsInvalid: no URL is set, and embedded services are turned off.
        """
        if self.database_url is None:
            self.require_embedded("DATABASE_URL")
            return f"sqlite:///{self.home / 'answermill.db'}"
        url = self.database_url.get_secret_value()
        return url.replace("postgresql://", "postgresql+psycopg://", 1)

    def require_embedded(self, name: str) -> None:
        """Refuse a missing setting where no embedded service replaces it.

        Args:
            name: the missing setting, such as `DATABASE_URL`.

        Raises:
            SettingsInvalid: embedded services are turned off.
        """
        if not self.embedded:
            secret = SECRETS / f"{PREFIX}{name}".lower()
            fault = (
                f"not set, {secret} was not found, and {PREFIX}EMBEDDED is off;"
                " set the variable or mount the secret"
            )
            raise SettingsInvalid([f"{PREFIX}{name}: {fault}"])
