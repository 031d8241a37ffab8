"""The remote model store on fsspec's memory filesystem, with faults."""

from __future__ import annotations

import json
import multiprocessing
import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from fsspec.implementations.memory import MemoryFileSystem

from core.domain.model_version import ModelVersion, VersionState
from core.errors import BundleInvalid, SettingsInvalid, StoreUnavailable
from core.settings import load
from tests.factories import NOW
from worker.model.bundle import bundle as bundles
from worker.model.bundle import remote_store
from worker.model.bundle.bundle import Bundle, open_bundle
from worker.model.bundle.location import bundle_path
from worker.model.registry import find_bundle

URL = "memory://models"


class Interrupted(BaseException):
    """The end of a process in the middle of a transfer, as the store sees it."""


class Faulty(MemoryFileSystem):
    """fsspec's memory filesystem, which fails after a number of calls."""

    def __init__(self, *args: object, **kwargs: object) -> None:
        super().__init__(*args, **kwargs)
        self.puts_left = self.gets_left = float("inf")
        self.fault: BaseException = Interrupted()
        self.fetched: list[str] = []

    def put_file(self, lpath: str, rpath: str, **kwargs: object) -> None:
        self.puts_left -= 1
        if self.puts_left < 0:
            super().pipe_file(rpath, b"half")
            raise self.fault
        super().put_file(lpath, rpath, **kwargs)

    def get_file(self, rpath: str, lpath: str, **kwargs: object) -> None:
        self.gets_left -= 1
        if self.gets_left < 0:
            Path(lpath).write_bytes(b"half")
            raise self.fault
        self.fetched.append(rpath.rpartition("/")[2])
        super().get_file(rpath, lpath, **kwargs)


@pytest.fixture
def files(monkeypatch: pytest.MonkeyPatch) -> Iterator[Faulty]:
    """The empty filesystem of memory://."""
    files = Faulty(skip_instance_cache=True)
    monkeypatch.setattr(remote_store, "url_to_fs", lambda _: (files, "/models"))
    yield files
    files.store.clear()
    files.pseudo_dirs[:] = [""]


@pytest.fixture
def version(tiny_bundle: Bundle) -> ModelVersion:
    return ModelVersion("tiny", 1, VersionState.BUILT, tiny_bundle.manifest.digest, {}, NOW)


@pytest.fixture
def target(tmp_path: Path, version: ModelVersion) -> Path:
    return bundle_path(tmp_path / "fetched", "tiny", version.digest)


@pytest.fixture
def folder(version: ModelVersion) -> str:
    return f"/models/tiny/{version.digest[:16]}"


@pytest.fixture
def stored(files: Faulty, tiny_bundle: Bundle) -> Faulty:
    """The same with the bundle in it."""
    remote_store.put(URL, tiny_bundle, quiet)
    return files


def quiet(_done: int, _total: int) -> None:
    """Ignore the progress."""


def remaining(target: Path) -> list[str]:
    return sorted(p.name for p in target.parent.iterdir() if not p.name.endswith(".lock"))


@pytest.mark.usefixtures("stored")
def test_a_bundle_is_fetched_byte_for_byte_as_it_was_put(tiny_bundle, version, target):
    fetched = remote_store.fetch(URL, version, target)
    assert (fetched.path, fetched.manifest) == (target, tiny_bundle.manifest)
    assert open_bundle(target).entries() == tiny_bundle.entries()
    assert remaining(target) == [target.name]


@pytest.mark.usefixtures("stored")
def test_a_version_is_fetched_from_the_store_of_the_settings(version, home):
    settings = load.load(home=home, model_store=URL)
    assert find_bundle(settings, version).path.is_relative_to(home / "fetched")


def test_an_intact_local_bundle_is_not_fetched_again(stored, version, target):
    remote_store.fetch(URL, version, target)
    stored.gets_left = 0
    assert remote_store.fetch(URL, version, target).path == target


def test_the_manifest_goes_up_last(files, tiny_bundle, folder):
    files.puts_left = len(tiny_bundle.manifest.files)
    with pytest.raises(Interrupted):
        remote_store.put(URL, tiny_bundle, quiet)
    assert files.exists(f"{folder}/encoder/model.safetensors")
    assert files.cat_file(f"{folder}/manifest.json") == b"half"


@pytest.mark.parametrize("uploaded", range(9))
def test_a_killed_upload_is_no_bundle_until_it_is_repeated(
    files, tiny_bundle, version, target, uploaded
):
    files.puts_left = uploaded
    with pytest.raises(Interrupted):
        remote_store.put(URL, tiny_bundle, quiet)
    with pytest.raises(BundleInvalid, match=r"manifest\.json (is missing|was changed)"):
        remote_store.fetch(URL, version, target)
    assert remaining(target) == []
    files.puts_left = float("inf")
    remote_store.put(URL, tiny_bundle, quiet)
    remote_store.fetch(URL, version, target)


def test_a_killed_upload_over_another_is_no_bundle(stored, tiny_bundle, version, target, folder):
    stored.pipe_file(f"{folder}/idf.npy", b"shorter")
    stored.puts_left = 3
    with pytest.raises(Interrupted):
        remote_store.put(URL, tiny_bundle, quiet)
    with pytest.raises(BundleInvalid, match=r"manifest\.json is missing"):
        remote_store.fetch(URL, version, target)


def test_the_same_bundle_is_uploaded_once(stored, tiny_bundle):
    remote_store.put(URL, tiny_bundle, quiet)
    stored.puts_left = 0
    remote_store.put(URL, tiny_bundle, quiet)


@pytest.mark.usefixtures("files")
def test_progress_ends_at_all_bytes(tiny_bundle):
    reports = []
    remote_store.put(URL, tiny_bundle, lambda *report: reports.append(report))
    assert reports == sorted(reports)
    total = sum(f.stat().st_size for f in tiny_bundle.path.rglob("*") if f.is_file())
    assert reports[-1] == (total, total)


@pytest.mark.parametrize("name", ["idf.npy", "encoder/model.safetensors", "manifest.json"])
@pytest.mark.parametrize("damage", [lambda raw: raw[:-1], lambda raw: b"\0" + raw[1:]])
def test_a_damaged_file_of_the_store_is_refused_and_named(stored, version, target, name, damage):
    damaged = f"/models/tiny/{version.digest[:16]}/{name}"
    intact = stored.cat_file(damaged)
    stored.pipe_file(damaged, damage(intact))
    with pytest.raises(BundleInvalid) as caught:
        remote_store.fetch(URL, version, target)
    assert f"{Path(name).name} was changed" in str(caught.value)
    assert f"in the model store {URL}" in str(caught.value)
    assert remaining(target) == []
    stored.pipe_file(damaged, intact)
    assert remote_store.fetch(URL, version, target).path == target


def test_a_file_that_the_store_lacks_is_named(stored, version, target, folder):
    stored.rm_file(f"{folder}/codes.npy")
    with pytest.raises(BundleInvalid, match=r"tiny@1: codes\.npy is missing, in the model store"):
        remote_store.fetch(URL, version, target)


@pytest.mark.usefixtures("stored")
def test_another_bundle_than_the_registered_one_is_refused(version, target):
    forged = replace(version, digest=version.digest[:16] + "0" * 48)
    with pytest.raises(BundleInvalid, match="another bundle than the registered one"):
        remote_store.fetch(URL, forged, target)
    assert remaining(target) == []


def test_a_manifest_that_names_files_outside_writes_none(stored, version, target, folder):
    content = json.loads(stored.cat_file(f"{folder}/manifest.json"))
    del content["sha256"]
    content["files"]["../../escaped"] = "0" * 64
    stored.pipe_file(f"{folder}/manifest.json", bundles.manifest_bytes(content))
    stored.pipe_file("/models/escaped", b"ill intent")
    with pytest.raises(BundleInvalid, match="outside the bundle"):
        remote_store.fetch(URL, version, target)
    assert not list(target.parent.rglob("escaped"))


def test_a_bundle_of_a_later_format_is_refused_by_its_number(stored, version, target, folder):
    content = json.loads(stored.cat_file(f"{folder}/manifest.json")) | {"format": 99}
    del content["sha256"]
    stored.pipe_file(f"{folder}/manifest.json", bundles.manifest_bytes(content))
    with pytest.raises(BundleInvalid, match="format 99, but this release reads"):
        remote_store.fetch(URL, version, target)


def test_a_lost_connection_is_reported_and_the_next_attempt_resumes(stored, version, target):
    stored.gets_left, stored.fault = 6, ConnectionError("reset by peer\nand so on")
    with pytest.raises(StoreUnavailable, match=r"model store memory://models: reset by peer$"):
        remote_store.fetch(URL, version, target)
    first, stored.fetched, stored.gets_left = stored.fetched, [], float("inf")
    remote_store.fetch(URL, version, target)
    assert set(first) & set(stored.fetched) == {"manifest.json"}
    assert remaining(target) == [target.name]


def test_a_refused_upload_is_reported(files, tiny_bundle):
    files.puts_left, files.fault = 0, PermissionError("Access Denied")
    with pytest.raises(StoreUnavailable, match="Access Denied"):
        remote_store.put("memory://key:secret@models", tiny_bundle, quiet)


@pytest.mark.usefixtures("files")
def test_no_password_of_a_url_is_reported(version, target):
    with pytest.raises(BundleInvalid) as caught:
        remote_store.fetch("memory://key:secret@models", version, target)
    assert "secret" not in str(caught.value)


@pytest.mark.usefixtures("stored")
def test_a_damaged_copy_is_replaced_while_a_reader_has_it_open(tiny_bundle, version, target):
    remote_store.fetch(URL, version, target)
    (target / "idf.npy").write_bytes(b"damaged")
    with (target / "embeddings.npy").open("rb") as reading:
        assert remote_store.fetch(URL, version, target).path == target
        assert len(reading.read()) > 0
    assert open_bundle(target).manifest == tiny_bundle.manifest
    assert remaining(target) == [target.name]


@pytest.mark.usefixtures("stored")
def test_other_fetched_bundles_stay(tiny_bundle, version, target):
    other = target.with_name("f" * 16)
    shutil.copytree(tiny_bundle.path, other)
    remote_store.fetch(URL, version, target)
    assert open_bundle(other)


def test_one_process_fetches_while_the_others_wait(tiny_bundle, version, tmp_path):
    """The store is a local folder with a URL, which several processes can see."""
    url = f"local://{tmp_path / 'store'}"
    remote_store.put(url, tiny_bundle, quiet)
    target = bundle_path(tmp_path / "fetched", "tiny", version.digest)
    spawn = multiprocessing.get_context("spawn")
    with spawn.Pool(3) as pool:
        fetched = pool.starmap(remote_store.fetch, [(url, version, target)] * 6)
    assert [bundle.path for bundle in fetched] == [target] * 6
    assert remaining(target) == [target.name]


@pytest.mark.usefixtures("files")
def test_a_folder_that_cannot_be_created_is_reported(version, tmp_path):
    (tmp_path / "file").write_text("in the way")
    target = bundle_path(tmp_path / "file", "tiny", version.digest)
    with pytest.raises(BundleInvalid, match=r"Not a directory|File exists"):
        remote_store.fetch(URL, version, target)


@pytest.mark.parametrize(
    ("url", "problem"),
    [
        ("s3://bucket/models", r"s3:// needs a package that is not installed: .*s3fs"),
        ("simplecache::s3://bucket/models", r"s3:// needs a package that is not installed"),
        ("nope://models", "no installed package supports nope://"),
    ],
)
def test_an_unusable_protocol_is_reported_in_one_line(url, problem, version, target):
    with pytest.raises(SettingsInvalid, match=problem) as caught:
        remote_store.fetch(url, version, target)
    assert len(caught.value.faults) == 1
    assert "\n" not in str(caught.value)
    with pytest.raises(SettingsInvalid):
        remote_store.check(url)


def test_an_empty_store_is_reachable_and_an_unavailable_one_is_reported(files, monkeypatch):
    remote_store.check_reachable(URL)

    def refuse(*_: object, **__: object) -> None:
        raise ConnectionError("refused")

    monkeypatch.setattr(files, "ls", refuse)
    with pytest.raises(StoreUnavailable, match="refused"):
        remote_store.check_reachable(URL)
