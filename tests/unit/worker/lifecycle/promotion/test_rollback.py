"""Looking versions up, and rolling back."""

from __future__ import annotations

import pytest
import sqlalchemy as sa

from db import versions as stored
from db.config import Settings
from db.entities import ModelVersion, VersionState
from db.errors import BundleInvalid, ModelUnknown, PromotionRefused
from db.session import transaction
from tests.factories import NOW
from worker.lifecycle import versions
from worker.model.place import bundle_path


@pytest.fixture
def second(engine: sa.Engine, first: ModelVersion, add) -> ModelVersion:  # noqa: ARG001 - after it
    """tiny@2, in production without a bundle."""
    version = add()
    with transaction(engine) as conn:
        stored.promote(conn, version, by="me", now=NOW)
    return version


@pytest.mark.usefixtures("second")
def test_rolling_back_moves_the_pointer_and_says_who_and_why(settings, engine, first):
    done = versions.roll_back(settings, engine, "tiny", "it is rude")
    assert (str(done.version), done.canary) == (str(first), None)
    assert [version.state for version in versions.listed(engine)] == [
        VersionState.PRODUCTION,
        VersionState.WITHDRAWN,
    ]
    move = versions.history(engine, first)[-1]
    assert (move.version, move.previous_version, move.reason) == (1, 2, "it is rude")
    assert move.by == done.version.promoted_by


@pytest.mark.usefixtures("second")
def test_nothing_is_rolled_back_to_a_damaged_bundle(settings: Settings, engine, first):
    (bundle_path(settings.models, "tiny", first.digest) / "idf.npy").unlink()
    with pytest.raises(BundleInvalid, match=r"idf\.npy is missing"):
        versions.roll_back(settings, engine, "tiny")
    assert versions.find(engine, "tiny").version == 2


@pytest.mark.usefixtures("second")
def test_a_rollback_that_another_one_overtakes_moves_nothing(
    settings: Settings, engine, add, monkeypatch
):
    def overtaken(*_):
        third = add("e" * 64)
        with transaction(engine) as conn:
            stored.promote(conn, third, by="somebody else", now=NOW)

    monkeypatch.setattr(versions, "find_bundle", overtaken)
    with pytest.raises(PromotionRefused, match="moved meanwhile"):
        versions.roll_back(settings, engine, "tiny")
    assert versions.find(engine, "tiny").version == 3


@pytest.mark.parametrize("name", ["tiny", "nope"])
def test_a_name_with_nothing_before_is_not_rolled_back(settings, engine, first, name):
    with pytest.raises(ModelUnknown, match="no earlier version"):
        versions.roll_back(settings, engine, name)
    assert versions.find(engine, "tiny") == first
