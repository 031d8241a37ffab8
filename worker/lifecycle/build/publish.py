"""Putting a new bundle where workers fetch it from; a folder as the store has it already."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING

from worker.model.bundle import remote_store

if TYPE_CHECKING:
    from core.settings.settings import Settings
    from worker.model.bundle.bundle import Bundle


def check(settings: Settings) -> None:
    """Check, before long work, that there will be a way to publish it.

    Raises:
        SettingsInvalid: nothing that speaks to the store is installed.
    """
    if settings.store_url is not None:
        remote_store.check(settings.store_url)


def publish(
    settings: Settings,
    bundle: Bundle,
    progress: Callable[[str], AbstractContextManager[Callable[[int, int], None]]],
) -> None:
    """Put the bundle into the store; call it before the bundle gets its number.

    Raises:
        StoreUnavailable: the store does not take it.
    """
    if settings.store_url is not None:
        with progress("Uploading") as hear:
            remote_store.put(settings.store_url, bundle, hear)
