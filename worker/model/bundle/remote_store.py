"""A model store behind a URL: bundles are put there, and fetched into a folder here.

Speaks whatever fsspec speaks (https://filesystem-spec.readthedocs.io): s3://, gs://, …
The manifest goes up last and comes down first: an upload that was killed has none, and so
looks like nothing. What comes down is verified as `open_bundle` verifies, in a folder
beside its place, and takes its place when it is whole; one process of a machine fetches,
the others wait for it. Nothing is deleted there, and here only what was damaged.

A folder as the store needs none of this, and is read in place.
"""

from __future__ import annotations

import fcntl
import secrets
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from fsspec.callbacks import Callback
from fsspec.core import split_protocol, url_to_fs
from fsspec.registry import get_filesystem_class

from core.domain.model_version import ModelVersion
from core.errors import AnswermillError, BundleInvalid, SettingsInvalid, StoreUnavailable
from core.settings.urls import redact
from worker.model.bundle.bundle import MANIFEST, Bundle, hash_file, open_bundle, read_manifest
from worker.model.bundle.location import FOLDER_DIGITS

ProgressCallback = Callable[[int, int], None]  # bytes done, bytes in all


def check(url: str) -> None:
    """Check that what speaks to the store is installed; nothing is connected to.

    Raises:
        SettingsInvalid: it is not, or nothing speaks such URLs.
    """
    protocol = split_protocol(url.rsplit("::", maxsplit=1)[-1])[0] or url
    try:
        get_filesystem_class(protocol)
    except ImportError as error:
        problem = f"{protocol}:// needs a package that is not installed: {error}"
        raise SettingsInvalid([f"ANSWERMILL_MODEL_STORE: {problem}"]) from error
    except ValueError as error:
        raise SettingsInvalid([f"ANSWERMILL_MODEL_STORE: nothing speaks {protocol}://"]) from error


def check_reachable(url: str) -> None:
    """Ask the store for anything at all.

    Raises:
        SettingsInvalid: nothing that speaks to the store is installed.
        StoreUnavailable: the store does not answer.
    """
    check(url)
    with _translated(url):
        files, root = url_to_fs(url)
        with suppress(FileNotFoundError):  # nothing was put there yet
            files.ls(root, detail=False)


def put(url: str, bundle: Bundle, hear: ProgressCallback) -> None:
    """Upload a bundle, unless it is there.

    Raises:
        SettingsInvalid: nothing that speaks to the store is installed.
        StoreUnavailable: the store does not take it.
    """
    check(url)
    with _translated(url):
        files, root = url_to_fs(url)
        files.invalidate_cache()
        there = _place(root, bundle.manifest.name, bundle.manifest.digest)
        if _is_there(files, there, bundle):
            return
        if files.exists(f"{there}/{MANIFEST}"):
            files.rm_file(f"{there}/{MANIFEST}")  # nothing half replaced may look whole
        progress = _Progress(bundle, hear)
        for name in (*sorted(bundle.manifest.files), MANIFEST):
            remote = f"{there}/{name}"
            files.makedirs(remote.rpartition("/")[0], exist_ok=True)
            files.put_file(str(bundle.path / name), remote, callback=progress)


def fetch(url: str, version: ModelVersion, place: Path) -> Bundle:
    """Return the version's bundle in its place here, downloaded unless it is there, whole.

    Raises:
        BundleInvalid: it is not in the store, is damaged there, or is another one.
        SettingsInvalid: nothing that speaks to the store is installed.
        StoreUnavailable: the store does not answer.
    """
    if (found := _whole(place, version)) is not None:
        return found
    check(url)
    with _alone(place):
        if (found := _whole(place, version)) is not None:  # another process was faster
            return found
        arrived = place.with_name(f".fetching-{place.name}")
        try:
            with _translated(url):
                _download(url, version, arrived)
            arrived_whole = _verified(arrived, version)
        except BundleInvalid as error:
            shutil.rmtree(arrived, ignore_errors=True)
            problem = f"{error.problem}, in the model store {redact(url)}"
            raise BundleInvalid(str(version), problem) from error
        _settle(arrived, place)
        return Bundle(place, arrived_whole.manifest)


def _download(url: str, version: ModelVersion, arrived: Path) -> None:
    files, root = url_to_fs(url)
    files.invalidate_cache()  # a listing from before the upload
    there = _place(root, version.name, version.digest)
    arrived.mkdir(exist_ok=True)
    _get(files, there, MANIFEST, arrived)
    for name, digest in read_manifest(arrived).files.items():
        local = arrived / name
        if not local.is_file() or hash_file(local) != digest:  # an earlier try may have got it
            local.parent.mkdir(parents=True, exist_ok=True)
            _get(files, there, name, arrived)


def _get(files: Any, there: str, name: str, arrived: Path) -> None:  # noqa: ANN401 - fsspec is untyped
    try:
        files.get_file(f"{there}/{name}", str(arrived / name))
    except FileNotFoundError as error:
        raise BundleInvalid(there, f"{name} is missing") from error


def _verified(folder: Path, version: ModelVersion) -> Bundle:
    found = open_bundle(folder)
    if found.manifest.digest != version.digest:
        raise BundleInvalid(str(version), "another bundle than the one registered")
    return found


def _whole(place: Path, version: ModelVersion) -> Bundle | None:
    if not place.is_dir():
        return None
    try:
        return _verified(place, version)
    except BundleInvalid:
        return None


def _settle(arrived: Path, place: Path) -> None:
    """Rename to the place; a damaged one makes room as a whole, so that no reader mixes both."""
    if place.exists():
        damaged = place.with_name(f".damaged-{secrets.token_hex(4)}")
        place.rename(damaged)
        shutil.rmtree(damaged, ignore_errors=True)
    arrived.rename(place)


@contextmanager
def _alone(place: Path) -> Iterator[None]:
    """Let one process of this machine at a time fetch to a place."""
    try:
        place.parent.mkdir(parents=True, exist_ok=True)
        lock = place.with_name(f".{place.name}.lock").open("a")
    except OSError as error:
        problem = f"{error.filename}: {error.strerror}"
        raise BundleInvalid(str(place.parent), problem) from error
    with lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _is_there(files: Any, there: str, bundle: Bundle) -> bool:  # noqa: ANN401 - fsspec is untyped
    """Tell whether the store has this bundle, each file in its length."""
    if not files.exists(f"{there}/{MANIFEST}"):
        return False
    names = (*bundle.manifest.files, MANIFEST)
    return all(
        files.exists(remote) and files.size(remote) == (bundle.path / name).stat().st_size
        for name in names
        for remote in [f"{there}/{name}"]
    )


def _place(root: str, name: str, digest: str) -> str:
    return f"{root.rstrip('/')}/{name}/{digest[:FOLDER_DIGITS]}"


class _Progress(Callback):  # type: ignore[misc]  # fsspec is untyped
    """Hears fsspec's progress of one file, and tells that of all."""

    def __init__(self, bundle: Bundle, hear: ProgressCallback) -> None:
        super().__init__()
        names = (*bundle.manifest.files, MANIFEST)
        self._total = sum((bundle.path / name).stat().st_size for name in names)
        self._done, self._hear = 0, hear

    def relative_update(self, inc: int = 1) -> None:
        """Hear that so many more bytes went."""
        self._done += inc
        self._hear(self._done, self._total)


@contextmanager
def _translated(url: str) -> Iterator[None]:
    try:
        yield
    except AnswermillError:
        raise
    except Exception as error:  # every driver raises its own
        lines = str(error).strip().splitlines() or [type(error).__name__]
        raise StoreUnavailable(redact(url), lines[0]) from error
