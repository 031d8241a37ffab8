"""Upload of a new bundle to the model store.

A store that is a folder has the bundle already, so only a store with a URL gets an upload.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING

from worker.model.bundle import remote_store

if TYPE_CHECKING:
    from core.settings.settings import Settings
    from worker.model.bundle.bundle import Bundle


def check(settings: Settings) -> None:
    """Check, before long work, that the store can be written to.

    Raises:
        SettingsInvalid: no installed package supports the store's protocol.
    """
    if settings.store_url is not None:
        remote_store.check(settings.store_url)


def publish(
    settings: Settings,
    bundle: Bundle,
    progress: Callable[[str], AbstractContextManager[Callable[[int, int], None]]],
) -> None:
    """Upload the bundle. Call this before the bundle gets its version number.

    Raises:
        StoreUnavailable: the store refused the bundle or did not respond.
    """
    if settings.store_url is not None:
        with progress("Uploading") as on_progress:
            remote_store.put(settings.store_url, bundle, on_progress)
