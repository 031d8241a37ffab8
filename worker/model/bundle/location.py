"""The location of a version's bundle in the model store.

This module does not read bundles and imports neither numpy nor torch: the parent process of a
worker calls it before it forks.
"""

from __future__ import annotations

import os
from pathlib import Path

from core.domain.model_version import ModelVersion
from core.errors import BundleInvalid
from core.settings.settings import Settings

FOLDER_DIGITS = 16  # of the digest; enough to name a folder


def bundle_path(store: Path, name: str, digest: str) -> Path:
    """Return the folder of a bundle."""
    return store / name / digest[:FOLDER_DIGITS]


def require_bundle(settings: Settings, version: ModelVersion) -> None:
    """Check that the version's folder exists, unless the model store is a URL.

    Raises:
        BundleInvalid: it does not exist.
    """
    path = bundle_path(settings.models, version.name, version.digest)
    if settings.store_url is None and not path.is_dir():
        missing = os.fspath(path.relative_to(settings.models))
        raise BundleInvalid(str(version), f"{missing} is not in the model store {settings.models}")
