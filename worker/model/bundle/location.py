"""Where in the model store a version's bundle lies.

Knows nothing of what is in a bundle, and imports neither numpy nor torch: a worker's parent
process looks here before it forks.
"""

from __future__ import annotations

import os
from pathlib import Path

from core.domain.model_version import ModelVersion
from core.errors import BundleInvalid
from core.settings.settings import Settings

FOLDER_DIGITS = 16  # of the digest, enough to name a folder


def bundle_path(store: Path, name: str, digest: str) -> Path:
    """Return the folder of a bundle."""
    return store / name / digest[:FOLDER_DIGITS]


def require_bundle(settings: Settings, version: ModelVersion) -> None:
    """Refuse a folder as the store that lacks the version; one behind a URL is asked later.

    Raises:
        BundleInvalid: it is not there.
    """
    path = bundle_path(settings.models, version.name, version.digest)
    if settings.store_url is None and not path.is_dir():
        place = os.fspath(path.relative_to(settings.models))
        raise BundleInvalid(str(version), f"{place} is not in the model store {settings.models}")
