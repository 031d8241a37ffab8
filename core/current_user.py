"""Who runs this, for the record of who promoted what."""

from __future__ import annotations

import getpass
import os


def whoever_runs_this() -> str:
    """Return the user's name; the number in a container that has no names."""
    try:
        return getpass.getuser()
    except (OSError, KeyError):
        return str(os.getuid())


def current_user() -> str:
    """Return who runs this process, for the record of changes."""
    try:
        return getpass.getuser()
    except (OSError, KeyError):  # in a container that has no names
        return str(os.getuid())
