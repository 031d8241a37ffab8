from __future__ import annotations

import json
import shutil
from dataclasses import asdict, replace
from pathlib import Path

import pytest

from tests.unit.worker.conftest import ENTRIES
from worker.lifecycle.evaluation.bundle_diff import EntryChange, diff_bundles
from worker.model.bundle.bundle import ENTRIES as ENTRIES_FILE
from worker.model.bundle.bundle import Bundle, Entry


@pytest.fixture
def with_entries(tiny_bundle: Bundle, tmp_path: Path):
    """Copy the bundle's folder with other entries in it."""

    def copy(entries: list[Entry]) -> Bundle:
        folder = shutil.copytree(tiny_bundle.path, tmp_path / "other")
        lines = "".join(json.dumps(asdict(entry)) + "\n" for entry in entries)
        (folder / ENTRIES_FILE).write_text(lines, encoding="utf-8")
        return Bundle(folder, tiny_bundle.manifest)

    return copy


def test_a_bundle_differs_from_itself_in_nothing(tiny_bundle: Bundle):
    later = replace(tiny_bundle.manifest, created="2030-01-01", name="other")
    difference = diff_bundles(tiny_bundle, replace(tiny_bundle, manifest=later))
    assert asdict(difference) == {
        "parameters": {},
        "files": [],
        "added": [],
        "removed": [],
        "changed": [],
    }


def test_parameters_are_compared_one_by_one_however_deep(tiny_bundle: Bundle):
    manifest = tiny_bundle.manifest
    deep = manifest.retrieval | {"made_up": {"deeper": 1, "other": 2}}
    other = replace(manifest, threshold=0.75, retrieval=deep)
    assert diff_bundles(tiny_bundle, replace(tiny_bundle, manifest=other)).parameters == {
        "threshold": (manifest.threshold, 0.75),
        "retrieval.made_up.deeper": (None, 1),
        "retrieval.made_up.other": (None, 2),
    }


def test_files_of_other_bytes_are_named(tiny_bundle: Bundle):
    files = tiny_bundle.manifest.files | {"encoder/model.safetensors": "0" * 64, "extra.npy": "1"}
    other = replace(tiny_bundle, manifest=replace(tiny_bundle.manifest, files=files))
    assert diff_bundles(tiny_bundle, other).files == ["encoder/model.safetensors", "extra.npy"]


def test_entries_added_removed_and_changed_are_listed(tiny_bundle: Bundle, with_entries):
    refund, track, *rest = ENTRIES
    phrasings = ["Where is my refund?", "refund me", "my money"]
    changed = replace(refund, answer="Within 30 days.", questions=phrasings)
    difference = diff_bundles(
        tiny_bundle, with_entries([changed, *rest, Entry("new", "Yes.", ["new?"])])
    )
    assert (difference.added, difference.removed) == (["new"], [track.id])
    assert difference.changed == [EntryChange("refund", ["answer", "questions"], 2, 2)]
