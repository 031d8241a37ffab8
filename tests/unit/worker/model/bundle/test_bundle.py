from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from core.errors import BundleInvalid
from worker.model.bundle import bundle as bundles
from worker.model.bundle.bundle import Bundle, open_bundle

FILES = [
    "manifest.json",
    "entries.jsonl",
    "embeddings.npy",
    "head.npy",
    "codes.npy",
    "idf.npy",
    "encoder/config.json",
    "encoder/model.safetensors",
    "encoder/tokenizer.json",
]


@pytest.fixture
def folder(tiny_bundle: Bundle, tmp_path: Path) -> Path:
    return shutil.copytree(tiny_bundle.path, tmp_path / "bundle")


def reseal(folder: Path, **changes: object) -> None:
    """Write a manifest that is whole in itself, as an attacker would."""
    content = json.loads((folder / "manifest.json").read_bytes()) | changes
    del content["sha256"]
    (folder / "manifest.json").write_bytes(bundles.manifest_bytes(content))


def test_a_whole_bundle_opens(folder: Path, tiny_bundle: Bundle):
    opened = open_bundle(folder)
    assert opened.manifest == tiny_bundle.manifest
    assert opened.manifest.digest == tiny_bundle.manifest.digest
    assert [entry.id for entry in opened.entries()] == ["refund", "track", "robot-zh", "thanks"]


def test_the_files_are_the_ones_that_the_contract_names(tiny_bundle: Bundle):
    paths = [path for path in tiny_bundle.path.rglob("*") if path.is_file()]
    assert {path.relative_to(tiny_bundle.path).as_posix() for path in paths} == set(FILES)
    assert set(tiny_bundle.manifest.files) == set(FILES) - {"manifest.json"}


@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize("position", [0, 0.5, 1])
def test_a_changed_byte_is_found_and_its_file_named(folder: Path, name: str, position: float):
    path = folder / name
    content = bytearray(path.read_bytes())
    content[int(position * (len(content) - 1))] ^= 1
    path.write_bytes(content)
    with pytest.raises(BundleInvalid, match=path.name):
        open_bundle(folder)


@pytest.mark.parametrize("name", FILES)
def test_a_missing_file_is_named(folder: Path, name: str):
    (folder / name).unlink()
    with pytest.raises(BundleInvalid, match=Path(name).name):
        open_bundle(folder)


@pytest.mark.parametrize("name", ["extra.txt", "encoder/modeling.py", ".hidden"])
def test_an_unexpected_file_is_named(folder: Path, name: str):
    (folder / name).write_text("import os", encoding="utf-8")
    with pytest.raises(BundleInvalid, match=Path(name).name):
        open_bundle(folder)


def test_a_link_is_refused(folder: Path, tmp_path: Path):
    target = tmp_path / "elsewhere"
    shutil.move(folder / "idf.npy", target)
    (folder / "idf.npy").symlink_to(target)
    with pytest.raises(BundleInvalid, match=r"idf\.npy is not a plain file"):
        open_bundle(folder)


@pytest.mark.parametrize("name", ["../secret", "/etc/passwd", "a/../../b", "..\\b", "a//b"])
def test_a_manifest_that_names_files_elsewhere_is_refused(folder: Path, name: str):
    files = json.loads((folder / "manifest.json").read_bytes())["files"]
    reseal(folder, files=files | {name: "0" * 64})
    with pytest.raises(BundleInvalid, match="outside the bundle"):
        open_bundle(folder)


def test_an_array_that_needs_pickle_is_refused(folder: Path):
    np.save(folder / "idf.npy", np.array([{"a": 1}], object), allow_pickle=True)
    reseal(folder, files=bundles.hash_files(folder))
    with pytest.raises(BundleInvalid, match=r"idf\.npy is not an array"):
        open_bundle(folder).array("idf")


def test_an_array_of_another_shape_is_refused(folder: Path):
    with pytest.raises(BundleInvalid, match=r"idf\.npy has the shape"):
        open_bundle(folder).array("idf", 3)


def test_a_later_format_is_refused_by_its_number(folder: Path):
    reseal(folder, format=3)
    with pytest.raises(BundleInvalid, match="format 3, but this release reads format 2"):
        open_bundle(folder)


@pytest.mark.parametrize("content", [b"", b"[]", b"null", b"{", b"\xff\xfe", b'{"a": 1}'])
def test_an_invalid_manifest_is_refused(folder: Path, content: bytes):
    (folder / "manifest.json").write_bytes(content)
    with pytest.raises(BundleInvalid, match=r"manifest\.json"):
        open_bundle(folder)


def test_a_missing_folder_is_refused(tmp_path: Path):
    with pytest.raises(BundleInvalid, match="No such file"):
        open_bundle(tmp_path / "nothing")


def test_the_digest_covers_every_parameter_but_not_time_name_or_origin(tiny_bundle: Bundle):
    manifest = tiny_bundle.manifest
    described = replace(manifest, created="2001-01-01", name="other", encoder="elsewhere")
    assert described.digest == manifest.digest
    assert replace(manifest, threshold=0.7).digest != manifest.digest
    assert replace(manifest, files=manifest.files | {"a": "b"}).digest != manifest.digest
