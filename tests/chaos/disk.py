"""A small disk of our own that can be filled up; only root can have one."""

from __future__ import annotations

import errno
import os
import subprocess
from pathlib import Path

_MEGABYTES = 1_024
_BLOCK = 1 << 20


class Disk:
    """A folder that is a disk, where that is possible."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        folder.mkdir()
        self.can_be_filled = os.geteuid() == 0 and _mounted(folder)
        self._ballast = folder / "ballast"

    def close(self) -> None:
        """Give it up."""
        if self.can_be_filled:
            subprocess.run(["umount", "--lazy", self.folder], check=True)  # noqa: S607 - wherever it is

    def fill(self) -> None:
        """Leave no room."""
        with self._ballast.open("wb") as file:
            block = bytes(_BLOCK)
            try:
                while True:
                    file.write(block)
                    file.flush()
            except OSError as error:
                if error.errno != errno.ENOSPC:
                    raise

    def make_room(self) -> None:
        """Take the ballast away."""
        self._ballast.unlink(missing_ok=True)


def _mounted(folder: Path) -> bool:
    size = f"size={_MEGABYTES}m,mode=755"
    words = ["mount", "-t", "tmpfs", "-o", size, "tmpfs", folder]
    done = subprocess.run(words, check=False, capture_output=True)
    return done.returncode == 0
