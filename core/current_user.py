"""The user who runs this process, for records of promotions and keys."""

from __future__ import annotations

import getpass
import os


def current_user() -> str:
    """Return the user's name, or the user id in a container without names."""
    try:
        return getpass.getuser()
    except (OSError, KeyError):
        return str(os.getuid())
