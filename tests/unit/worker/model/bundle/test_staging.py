from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from core.errors import BundleInvalid
from worker.model.bundle.bundle import Bundle, open_bundle
from worker.model.bundle.staging import publish_atomically, staging_folder


def test_a_workplace_is_gone_afterwards_with_what_is_in_it(tmp_path: Path):
    with staging_folder(tmp_path / "store") as folder:
        (folder / "half").write_bytes(b"")
        assert folder.parent == tmp_path / "store"
    assert not (tmp_path / "store").exists()


def test_it_is_gone_whatever_happens_and_its_neighbours_stay(tmp_path: Path):
    (tmp_path / "other").mkdir()
    with pytest.raises(KeyboardInterrupt), staging_folder(tmp_path):
        raise KeyboardInterrupt
    assert list(tmp_path.iterdir()) == [tmp_path / "other"]


def test_a_folder_that_cannot_be_made_is_told(tmp_path: Path):
    (tmp_path / "file").write_bytes(b"")
    with (
        pytest.raises(BundleInvalid, match="Not a directory"),
        staging_folder(tmp_path / "file" / "x"),
    ):
        pass


def test_a_whole_bundle_keeps_its_place(tiny_bundle: Bundle, tmp_path: Path):
    place = shutil.copytree(tiny_bundle.path, tmp_path / "place")
    made = shutil.copytree(tiny_bundle.path, tmp_path / "made")
    before = (place / "manifest.json").stat().st_ino
    assert publish_atomically(made, place).path == place
    assert (place / "manifest.json").stat().st_ino == before


def test_a_damaged_bundle_is_replaced(tiny_bundle: Bundle, tmp_path: Path):
    place = shutil.copytree(tiny_bundle.path, tmp_path / "place")
    (place / "entries.jsonl").write_bytes(b"")
    publish_atomically(shutil.copytree(tiny_bundle.path, tmp_path / "made"), place)
    assert open_bundle(place).manifest == tiny_bundle.manifest
    assert [path.name for path in tmp_path.iterdir()] == ["place"]
