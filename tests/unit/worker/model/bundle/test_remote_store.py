"""A store behind a URL: fsspec's own in memory, with faults put in its way."""

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
    """What kills a process in the middle, as far as the store can tell."""


class Faulty(MemoryFileSystem):
    """fsspec's filesystem in memory, which breaks when it is told to."""

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
    """The empty filesystem behind memory://."""
    files = Faulty(skip_instance_cache=True)
    monkeypatch.setattr(remote_store, "url_to_fs", lambda _: (files, "/models"))
    yield files
    files.store.clear()
    files.pseudo_dirs[:] = [""]


@pytest.fixture
def version(tiny_bundle: Bundle) -> ModelVersion:
    return ModelVersion("tiny", 1, VersionState.BUILT, tiny_bundle.manifest.digest, {}, NOW)


@pytest.fixture
def place(tmp_path: Path, version: ModelVersion) -> Path:
    return bundle_path(tmp_path / "fetched", "tiny", version.digest)


@pytest.fixture
def there(version: ModelVersion) -> str:
    return f"/models/tiny/{version.digest[:16]}"


@pytest.fixture
def stored(files: Faulty, tiny_bundle: Bundle) -> Faulty:
    """The same with the bundle in it."""
    remote_store.put(URL, tiny_bundle, quiet)
    return files


def quiet(_done: int, _total: int) -> None:
    """Progress that nobody hears."""


def left_behind(place: Path) -> list[str]:
    return sorted(p.name for p in place.parent.iterdir() if not p.name.endswith(".lock"))


@pytest.mark.usefixtures("stored")
def test_what_is_put_is_fetched_byte_for_byte(tiny_bundle, version, place):
    fetched = remote_store.fetch(URL, version, place)
    assert (fetched.path, fetched.manifest) == (place, tiny_bundle.manifest)
    assert open_bundle(place).entries() == tiny_bundle.entries()
    assert left_behind(place) == [place.name]


@pytest.mark.usefixtures("stored")
def test_the_settings_lead_to_it(version, home):
    settings = load.load(home=home, model_store=URL)
    assert find_bundle(settings, version).path.is_relative_to(home / "fetched")


def test_what_is_whole_here_is_not_fetched_again(stored, version, place):
    remote_store.fetch(URL, version, place)
    stored.gets_left = 0
    assert remote_store.fetch(URL, version, place).path == place


def test_the_manifest_goes_up_last(files, tiny_bundle, there):
    files.puts_left = len(tiny_bundle.manifest.files)
    with pytest.raises(Interrupted):
        remote_store.put(URL, tiny_bundle, quiet)
    assert files.exists(f"{there}/encoder/model.safetensors")
    assert files.cat_file(f"{there}/manifest.json") == b"half"


@pytest.mark.parametrize("uploaded", range(9))
def test_an_upload_that_is_killed_is_no_bundle_and_the_next_one_mends_it(
    files, tiny_bundle, version, place, uploaded
):
    files.puts_left = uploaded
    with pytest.raises(Interrupted):
        remote_store.put(URL, tiny_bundle, quiet)
    with pytest.raises(BundleInvalid, match=r"manifest\.json (is missing|was changed)"):
        remote_store.fetch(URL, version, place)
    assert left_behind(place) == []
    files.puts_left = float("inf")
    remote_store.put(URL, tiny_bundle, quiet)
    remote_store.fetch(URL, version, place)


def test_an_upload_over_a_whole_one_that_is_killed_looks_like_nothing(
    stored, tiny_bundle, version, place, there
):
    stored.pipe_file(f"{there}/idf.npy", b"shorter")
    stored.puts_left = 3
    with pytest.raises(Interrupted):
        remote_store.put(URL, tiny_bundle, quiet)
    with pytest.raises(BundleInvalid, match=r"manifest\.json is missing"):
        remote_store.fetch(URL, version, place)


def test_the_same_bundle_is_uploaded_once(stored, tiny_bundle):
    remote_store.put(URL, tiny_bundle, quiet)
    stored.puts_left = 0
    remote_store.put(URL, tiny_bundle, quiet)


@pytest.mark.usefixtures("files")
def test_progress_ends_at_all_bytes(tiny_bundle):
    heard = []
    remote_store.put(URL, tiny_bundle, lambda *told: heard.append(told))
    assert heard == sorted(heard)
    total = sum(f.stat().st_size for f in tiny_bundle.path.rglob("*") if f.is_file())
    assert heard[-1] == (total, total)


@pytest.mark.parametrize("name", ["idf.npy", "encoder/model.safetensors", "manifest.json"])
@pytest.mark.parametrize("damage", [lambda raw: raw[:-1], lambda raw: b"\0" + raw[1:]])
def test_what_is_truncated_or_tampered_with_in_the_store_is_refused_and_named(
    stored, version, place, name, damage
):
    damaged = f"/models/tiny/{version.digest[:16]}/{name}"
    whole = stored.cat_file(damaged)
    stored.pipe_file(damaged, damage(whole))
    with pytest.raises(BundleInvalid) as caught:
        remote_store.fetch(URL, version, place)
    assert f"{Path(name).name} was changed" in str(caught.value)
    assert f"in the model store {URL}" in str(caught.value)
    assert left_behind(place) == []
    stored.pipe_file(damaged, whole)
    assert remote_store.fetch(URL, version, place).path == place


def test_a_file_that_is_missing_there_is_named(stored, version, place, there):
    stored.rm_file(f"{there}/codes.npy")
    with pytest.raises(BundleInvalid, match=r"tiny@1: codes\.npy is missing, in the model store"):
        remote_store.fetch(URL, version, place)


@pytest.mark.usefixtures("stored")
def test_another_bundle_than_the_registered_one_is_refused(version, place):
    forged = replace(version, digest=version.digest[:16] + "0" * 48)
    with pytest.raises(BundleInvalid, match="another bundle than the one registered"):
        remote_store.fetch(URL, forged, place)
    assert left_behind(place) == []


def test_a_manifest_that_names_files_elsewhere_writes_nothing_there(stored, version, place, there):
    content = json.loads(stored.cat_file(f"{there}/manifest.json"))
    del content["sha256"]
    content["files"]["../../escaped"] = "0" * 64
    stored.pipe_file(f"{there}/manifest.json", bundles._sealed(content))
    stored.pipe_file("/models/escaped", b"ill intent")
    with pytest.raises(BundleInvalid, match="outside of it"):
        remote_store.fetch(URL, version, place)
    assert not list(place.parent.rglob("escaped"))


def test_a_bundle_of_a_later_format_is_refused_by_its_number(stored, version, place, there):
    content = json.loads(stored.cat_file(f"{there}/manifest.json")) | {"format": 99}
    del content["sha256"]
    stored.pipe_file(f"{there}/manifest.json", bundles._sealed(content))
    with pytest.raises(BundleInvalid, match="format 99, but this release reads"):
        remote_store.fetch(URL, version, place)


def test_a_store_that_goes_away_is_told_and_the_next_try_goes_on(stored, version, place):
    stored.gets_left, stored.fault = 6, ConnectionError("reset by peer\nand so on")
    with pytest.raises(StoreUnavailable, match=r"model store memory://models: reset by peer$"):
        remote_store.fetch(URL, version, place)
    first, stored.fetched, stored.gets_left = stored.fetched, [], float("inf")
    remote_store.fetch(URL, version, place)
    assert set(first) & set(stored.fetched) == {"manifest.json"}
    assert left_behind(place) == [place.name]


def test_a_store_that_refuses_an_upload_is_told(files, tiny_bundle):
    files.puts_left, files.fault = 0, PermissionError("Access Denied")
    with pytest.raises(StoreUnavailable, match="Access Denied"):
        remote_store.put("memory://key:secret@models", tiny_bundle, quiet)


@pytest.mark.usefixtures("files")
def test_no_password_of_a_url_is_told(version, place):
    with pytest.raises(BundleInvalid) as caught:
        remote_store.fetch("memory://key:secret@models", version, place)
    assert "secret" not in str(caught.value)


@pytest.mark.usefixtures("stored")
def test_a_damaged_copy_here_is_fetched_anew_and_whoever_reads_it_may_go_on(
    tiny_bundle, version, place
):
    remote_store.fetch(URL, version, place)
    (place / "idf.npy").write_bytes(b"damaged")
    with (place / "embeddings.npy").open("rb") as reading:
        assert remote_store.fetch(URL, version, place).path == place
        assert len(reading.read()) > 0
    assert open_bundle(place).manifest == tiny_bundle.manifest
    assert left_behind(place) == [place.name]


@pytest.mark.usefixtures("stored")
def test_what_else_was_fetched_stays(tiny_bundle, version, place):
    other = place.with_name("f" * 16)
    shutil.copytree(tiny_bundle.path, other)
    remote_store.fetch(URL, version, place)
    assert open_bundle(other)


def test_one_process_fetches_while_the_others_wait(tiny_bundle, version, tmp_path):
    """Through a folder that is spoken to as if it were elsewhere: several processes see it."""
    url = f"local://{tmp_path / 'store'}"
    remote_store.put(url, tiny_bundle, quiet)
    place = bundle_path(tmp_path / "fetched", "tiny", version.digest)
    spawn = multiprocessing.get_context("spawn")
    with spawn.Pool(3) as pool:
        done = pool.starmap(_fetched_at, [(url, version, place)] * 6)
    assert done == [place] * 6
    assert left_behind(place) == [place.name]


def _fetched_at(url: str, version: ModelVersion, place: Path) -> Path:
    return remote_store.fetch(url, version, place).path


@pytest.mark.usefixtures("files")
def test_a_place_that_can_not_be_made_is_told(version, tmp_path):
    (tmp_path / "file").write_text("in the way")
    place = bundle_path(tmp_path / "file", "tiny", version.digest)
    with pytest.raises(BundleInvalid, match=r"Not a directory|File exists"):
        remote_store.fetch(URL, version, place)


@pytest.mark.parametrize(
    ("url", "told"),
    [
        ("s3://bucket/models", r"s3:// needs a package that is not installed: .*s3fs"),
        ("simplecache::s3://bucket/models", r"s3:// needs a package that is not installed"),
        ("nope://models", "nothing speaks nope://"),
    ],
)
def test_what_is_not_installed_or_known_is_told_in_one_line(url, told, version, place):
    with pytest.raises(SettingsInvalid, match=told) as caught:
        remote_store.fetch(url, version, place)
    assert len(caught.value.faults) == 1
    assert "\n" not in str(caught.value)
    with pytest.raises(SettingsInvalid):
        remote_store.check(url)


def test_a_store_is_reached_empty_or_not_or_told_to_be_away(files, monkeypatch):
    remote_store.check_reachable(URL)

    def away(*_: object, **__: object) -> None:
        raise ConnectionError("refused")

    monkeypatch.setattr(files, "ls", away)
    with pytest.raises(StoreUnavailable, match="refused"):
        remote_store.check_reachable(URL)
