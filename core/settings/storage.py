"""CAPTION core.settings.storage."""

from __future__ import annotations

import os
import sys
from pathlib import Path

_DATABASE_SCHEMES = ("sqlite", "postgresql", "postgresql+psycopg")


def _data_folder() -> Path:
    """Return the platform's folder for a program's data."""
    if sys.platform == "darwin":
        return Path.home() / "Library" / "Application Support" / "answermill"
    base = os.environ.get("XDG_DATA_HOME") or str(Path.home() / ".local" / "share")
    return Path(base) / "answermill"
