"""Where bundles are made: a folder beside their place, renamed when it is whole.

So a build or a conversion that is killed leaves nothing that looks like a bundle.
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
    """Lend a folder inside the parent; it is gone afterwards, whatever happens.

    Raises:
        BundleInvalid: nothing can be written there.
    """
    folder = parent / f".building-{secrets.token_hex(4)}"
    try:
        folder.mkdir(parents=True)
        yield folder
    except OSError as error:
        where = error.filename or folder
        raise BundleInvalid(str(parent), f"{where}: {error.strerror or error}") from error
    finally:
        shutil.rmtree(folder, ignore_errors=True)
        with suppress(OSError):
            parent.rmdir()  # only if nothing was ever built there


def publish_atomically(folder: Path, place: Path) -> Bundle:
    """Rename the folder to its place, unless the same bundle is there, whole."""
    try:
        return open_bundle(place)
    except BundleInvalid:
        shutil.rmtree(place, ignore_errors=True)
    folder.rename(place)
    return open_bundle(place)
