from __future__ import annotations

import shutil

import pytest
import sqlalchemy as sa

from db import versions as stored
from db.config import Settings
from db.entities import ModelVersion, VersionState
from db.errors import BundleInvalid, ModelUnknown
from db.session import transaction
from tests.factories import NOW
from worker.lifecycle import versions
from worker.lifecycle.build import register
from worker.lifecycle.calibrate import Calibration
from worker.model.bundle import Bundle
from worker.model.registry import bundle_path


@pytest.fixture
def first(engine: sa.Engine, settings: Settings, tiny_bundle: Bundle) -> ModelVersion:
    """tiny@1, in production, its bundle in the store."""
    place = bundle_path(settings.models, "tiny", tiny_bundle.manifest.digest)
    shutil.copytree(tiny_bundle.path, place)
    made = Bundle(place, tiny_bundle.manifest)
    return register(engine, made, Calibration(0.5, None)).version


@pytest.fixture
def second(engine: sa.Engine, first: ModelVersion) -> ModelVersion:  # noqa: ARG001 - comes after it
    """tiny@2, without a bundle."""
    with transaction(engine) as conn:
        return stored.register(conn, name="tiny", digest="f" * 64, metrics={}, now=NOW)


def test_promoting_moves_the_pointer_and_says_who(
    settings: Settings, engine: sa.Engine, first: ModelVersion, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr("worker.lifecycle.versions.find_bundle", lambda *_: None)
    with transaction(engine) as conn:
        stored.register(conn, name="tiny", digest="e" * 64, metrics={}, now=NOW)
    promoted, moved = versions.promote(settings, engine, "tiny@latest")
    assert (str(promoted), promoted.state, moved) == ("tiny@2", VersionState.PRODUCTION, True)
    assert promoted.promoted_by
    assert versions.find(engine, "tiny@1").state is VersionState.RETIRED
    back = versions.roll_back(settings, engine, "tiny")
    assert (str(back), back.state) == (str(first), VersionState.PRODUCTION)
    assert [version.state for version in versions.listed(engine)] == [
        VersionState.PRODUCTION,
        VersionState.WITHDRAWN,
    ]


def test_promoting_what_is_in_production_moves_nothing(
    settings: Settings, engine: sa.Engine, first: ModelVersion
):
    assert versions.promote(settings, engine, "tiny@1") == (first, False)


def test_a_version_without_its_bundle_is_not_promoted(
    settings: Settings, engine: sa.Engine, second: ModelVersion
):
    with pytest.raises(BundleInvalid, match="is not in the model store"):
        versions.promote(settings, engine, str(second))
    assert versions.find(engine, "tiny").version == 1


def test_nothing_is_rolled_back_to_a_damaged_bundle(
    settings: Settings, engine: sa.Engine, first: ModelVersion, second: ModelVersion
):
    with transaction(engine) as conn:
        stored.promote(conn, second, by="me", now=NOW)
    (bundle_path(settings.models, "tiny", first.digest) / "idf.npy").unlink()
    with pytest.raises(BundleInvalid, match=r"idf\.npy is missing"):
        versions.roll_back(settings, engine, "tiny")
    assert versions.find(engine, "tiny").version == 2


@pytest.mark.parametrize("spec", ["nope@1", "nope@latest", "tiny@9", "tiny@x", "tiny"])
def test_what_is_not_there_or_not_told_is_not_promoted(
    settings: Settings, engine: sa.Engine, first: ModelVersion, spec: str
):
    with pytest.raises(ModelUnknown):
        versions.promote(settings, engine, spec)
    assert versions.find(engine, "tiny") == first


def test_a_name_with_one_version_has_nothing_to_roll_back_to(
    settings: Settings, engine: sa.Engine, first: ModelVersion
):
    with pytest.raises(ModelUnknown, match="no earlier version"):
        versions.roll_back(settings, engine, "tiny")
    assert versions.find(engine, "tiny") == first
