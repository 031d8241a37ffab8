"""A model store at a URL: upload of bundles, and verified download.

The protocols are those of fsspec (https://filesystem-spec.readthedocs.io): s3://, gs://, … The
manifest is uploaded last and downloaded first, so an upload that was killed has no manifest and
is not a bundle. A download goes into a folder next to its target, is verified as by
`open_bundle`, and is renamed. One process of a machine downloads while the others wait. The
store is never deleted from. Locally, only damaged copies are deleted.

Not covered: a folder as the model store, which is read in place.
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
    """Check that the package for the store is installed, without connecting.

    Raises:
        SettingsInvalid: it is not installed, or the protocol is unknown.
    """
    protocol = split_protocol(url.rsplit("::", maxsplit=1)[-1])[0] or url
    try:
        get_filesystem_class(protocol)
    except ImportError as error:
        problem = f"{protocol}:// needs a package that is not installed: {error}"
        raise SettingsInvalid([f"ANSWERMILL_MODEL_STORE: {problem}"]) from error
    except ValueError as error:
        problem = f"no installed package supports {protocol}://"
        raise SettingsInvalid([f"ANSWERMILL_MODEL_STORE: {problem}"]) from error


def check_reachable(url: str) -> None:
    """Check that the store answers a listing.

    Raises:
        SettingsInvalid: the package for the store is not installed.
        StoreUnavailable: the store does not answer.
    """
    check(url)
    with _store_errors(url):
        files, root = url_to_fs(url)
        with suppress(FileNotFoundError):  # an empty store
            files.ls(root, detail=False)


def put(url: str, bundle: Bundle, on_progress: ProgressCallback) -> None:
    """Upload a bundle, unless the store has it.

    Raises:
        SettingsInvalid: the package for the store is not installed.
        StoreUnavailable: the store does not accept it.
    """
    check(url)
    with _store_errors(url):
        files, root = url_to_fs(url)
        files.invalidate_cache()
        folder = _remote_folder(root, bundle.manifest.name, bundle.manifest.digest)
        if _is_stored(files, folder, bundle):
            return
        if files.exists(f"{folder}/{MANIFEST}"):
            files.rm_file(f"{folder}/{MANIFEST}")  # a half replaced bundle must not look intact
        progress = _Progress(bundle, on_progress)
        for name in (*sorted(bundle.manifest.files), MANIFEST):
            remote = f"{folder}/{name}"
            files.makedirs(remote.rpartition("/")[0], exist_ok=True)
            files.put_file(str(bundle.path / name), remote, callback=progress)


def fetch(url: str, version: ModelVersion, target: Path) -> Bundle:
    """Return the version's bundle, downloaded unless the target has it.

    Raises:
        BundleInvalid: it is missing or damaged in the store, or is another bundle.
        SettingsInvalid: the package for the store is not installed.
        StoreUnavailable: the store does not answer.
    """
    if (local := _intact(target, version)) is not None:
        return local
    check(url)
    with _locked(target):
        if (local := _intact(target, version)) is not None:  # another process fetched it meanwhile
            return local
        download = target.with_name(f".fetching-{target.name}")
        try:
            with _store_errors(url):
                _download(url, version, download)
            downloaded = _verified(download, version)
        except BundleInvalid as error:
            shutil.rmtree(download, ignore_errors=True)
            problem = f"{error.problem}, in the model store {redact(url)}"
            raise BundleInvalid(str(version), problem) from error
        _replace(download, target)
        return Bundle(target, downloaded.manifest)


def _download(url: str, version: ModelVersion, download: Path) -> None:
    files, root = url_to_fs(url)
    files.invalidate_cache()  # fsspec may have a listing that is older than the upload
    folder = _remote_folder(root, version.name, version.digest)
    download.mkdir(exist_ok=True)
    _get(files, folder, MANIFEST, download)
    for name, digest in read_manifest(download).files.items():
        local = download / name
        if not local.is_file() or hash_file(local) != digest:  # else from an interrupted download
            local.parent.mkdir(parents=True, exist_ok=True)
            _get(files, folder, name, download)


def _get(files: Any, folder: str, name: str, download: Path) -> None:  # noqa: ANN401 - fsspec is untyped
    try:
        files.get_file(f"{folder}/{name}", str(download / name))
    except FileNotFoundError as error:
        raise BundleInvalid(folder, f"{name} is missing") from error


def _verified(folder: Path, version: ModelVersion) -> Bundle:
    bundle = open_bundle(folder)
    if bundle.manifest.digest != version.digest:
        raise BundleInvalid(str(version), "another bundle than the registered one")
    return bundle


def _intact(target: Path, version: ModelVersion) -> Bundle | None:
    if not target.is_dir():
        return None
    try:
        return _verified(target, version)
    except BundleInvalid:
        return None


def _replace(download: Path, target: Path) -> None:
    """Rename the download to the target, and delete a damaged target.

    The damaged one is renamed first, so that no reader mixes both.
    """
    if target.exists():
        damaged = target.with_name(f".damaged-{secrets.token_hex(4)}")
        target.rename(damaged)
        shutil.rmtree(damaged, ignore_errors=True)
    download.rename(target)


@contextmanager
def _locked(target: Path) -> Iterator[None]:
    """Lock a target among the processes of this machine."""
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        lock = target.with_name(f".{target.name}.lock").open("a")
    except OSError as error:
        problem = f"{error.filename}: {error.strerror}"
        raise BundleInvalid(str(target.parent), problem) from error
    with lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _is_stored(files: Any, folder: str, bundle: Bundle) -> bool:  # noqa: ANN401 - fsspec is untyped
    """Return whether the store has this bundle, every file with its length."""
    if not files.exists(f"{folder}/{MANIFEST}"):
        return False
    names = (*bundle.manifest.files, MANIFEST)
    return all(
        files.exists(remote) and files.size(remote) == (bundle.path / name).stat().st_size
        for name in names
        for remote in [f"{folder}/{name}"]
    )


def _remote_folder(root: str, name: str, digest: str) -> str:
    return f"{root.rstrip('/')}/{name}/{digest[:FOLDER_DIGITS]}"


class _Progress(Callback):  # type: ignore[misc]  # fsspec is untyped
    """Adds up fsspec's progress of each file to that of the bundle."""

    def __init__(self, bundle: Bundle, on_progress: ProgressCallback) -> None:
        super().__init__()
        names = (*bundle.manifest.files, MANIFEST)
        self._total = sum((bundle.path / name).stat().st_size for name in names)
        self._done, self._on_progress = 0, on_progress

    def relative_update(self, inc: int = 1) -> None:
        """Report that many more bytes."""
        self._done += inc
        self._on_progress(self._done, self._total)


@contextmanager
def _store_errors(url: str) -> Iterator[None]:
    """Raise `StoreUnavailable` for any error of fsspec."""
    try:
        yield
    except AnswermillError:
        raise
    except Exception as error:  # every driver raises errors of its own
        lines = str(error).strip().splitlines() or [type(error).__name__]
        raise StoreUnavailable(redact(url), lines[0]) from error
