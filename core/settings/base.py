"""The base class and the shared types of the parts of the settings.

Not covered: the settings themselves, which the modules of the parts hold.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated

from pydantic import AfterValidator, Field
from pydantic_settings import BaseSettings, SettingsConfigDict

PREFIX = "ANSWERMILL_"

# Docker, Swarm and Kubernetes mount each secret here as a file, such as `answermill_broker_url`.
SECRETS = Path("/run/secrets")

PositiveSeconds = Annotated[float, Field(gt=0)]
PositiveCount = Annotated[int, Field(gt=0)]


def absolute(path: Path) -> Path:
    """Return the absolute path with `~` expanded and symbolic links kept."""
    return Path(os.path.abspath(path.expanduser()))  # noqa: PTH100 - resolve() follows links


def _check_readable(file: Path) -> Path:
    try:
        with file.open("rb"):
            return file
    except OSError as error:
        msg = f"{file} cannot be read: {(error.strerror or str(error)).lower()}"
        raise ValueError(msg) from None


ReadableFile = Annotated[Path, AfterValidator(_check_readable)]


class SettingsPart(BaseSettings):
    """The configuration that the parts share.

    The parts are base classes of one class, so the names of their validators must be unique.
    """

    model_config = SettingsConfigDict(
        env_prefix=PREFIX,
        env_file=".env",
        env_file_encoding="utf-8",
        env_ignore_empty=True,  # `NAME=` means that the setting is not set
        extra="ignore",  # other programs may share a .env file; `load` reports misspelled names
        frozen=True,
        hide_input_in_errors=True,  # a URL may hold a password
    )
