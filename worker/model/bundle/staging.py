"""Staging folders for new bundles, and atomic publication by a rename.

A build or a conversion that is killed leaves no folder that looks like a bundle.
"""

from __future__ import annotations

import secrets
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from core.errors import BundleInvalid
from worker.model.bundle.bundle import Bundle, open_bundle


@contextmanager
def staging_folder(parent: Path) -> Iterator[Path]:
    """Yield a new folder inside the parent, and always delete it afterwards.

    Raises:
        BundleInvalid: the parent cannot be written to.
    """
    folder = parent / f".building-{secrets.token_hex(4)}"
    try:
        folder.mkdir(parents=True)
        yield folder
    except OSError as error:
        file = error.filename or folder
        raise BundleInvalid(str(parent), f"{file}: {error.strerror or error}") from error
    finally:
        shutil.rmtree(folder, ignore_errors=True)
        with suppress(OSError):
            parent.rmdir()  # succeeds only if the parent holds no bundle


def publish_atomically(folder: Path, target: Path) -> Bundle:
    """Rename the folder to the target, unless the target is an intact bundle."""
    try:
        return open_bundle(target)
    except BundleInvalid:
        shutil.rmtree(target, ignore_errors=True)
    folder.rename(target)
    return open_bundle(target)
