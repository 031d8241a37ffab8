from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from core.errors import BundleInvalid
from worker.model.bundle.bundle import Bundle, open_bundle
from worker.model.bundle.staging import publish_atomically, staging_folder


def test_a_staging_folder_is_deleted_with_its_content(tmp_path: Path):
    with staging_folder(tmp_path / "store") as folder:
        (folder / "half").write_bytes(b"")
        assert folder.parent == tmp_path / "store"
    assert not (tmp_path / "store").exists()


def test_it_is_deleted_after_an_error_and_its_neighbors_stay(tmp_path: Path):
    (tmp_path / "other").mkdir()
    with pytest.raises(KeyboardInterrupt), staging_folder(tmp_path):
        raise KeyboardInterrupt
    assert list(tmp_path.iterdir()) == [tmp_path / "other"]


def test_a_folder_that_cannot_be_created_is_reported(tmp_path: Path):
    (tmp_path / "file").write_bytes(b"")
    with (
        pytest.raises(BundleInvalid, match="Not a directory"),
        staging_folder(tmp_path / "file" / "x"),
    ):
        pass


def test_an_intact_bundle_is_not_replaced(tiny_bundle: Bundle, tmp_path: Path):
    target = shutil.copytree(tiny_bundle.path, tmp_path / "target")
    staged = shutil.copytree(tiny_bundle.path, tmp_path / "staged")
    before = (target / "manifest.json").stat().st_ino
    assert publish_atomically(staged, target).path == target
    assert (target / "manifest.json").stat().st_ino == before


def test_a_damaged_bundle_is_replaced(tiny_bundle: Bundle, tmp_path: Path):
    target = shutil.copytree(tiny_bundle.path, tmp_path / "target")
    (target / "entries.jsonl").write_bytes(b"")
    publish_atomically(shutil.copytree(tiny_bundle.path, tmp_path / "staged"), target)
    assert open_bundle(target).manifest == tiny_bundle.manifest
    assert [path.name for path in tmp_path.iterdir()] == ["target"]
