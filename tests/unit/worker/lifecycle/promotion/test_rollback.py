"""Looking versions up, and rolling back."""

from __future__ import annotations

import pytest
import sqlalchemy as sa

from core.domain.model_version import ModelVersion, VersionState
from core.errors import BundleInvalid, ModelUnknown, PromotionRefused
from core.settings.settings import Settings
from db.operations import version_rollback
from db.queries import model_versions as stored
from db.session import transaction
from tests.factories import NOW
from worker.lifecycle.promotion import lookup, rollback
from worker.model.bundle.location import bundle_path


@pytest.fixture
def second(engine: sa.Engine, first: ModelVersion, add) -> ModelVersion:  # noqa: ARG001 - after it
    """tiny@2, in production without a bundle."""
    version = add()
    with transaction(engine) as conn:
        stored.promote(conn, version, by="me", now=NOW)
    return version


@pytest.mark.usefixtures("second")
def test_rolling_back_moves_the_pointer_and_records_the_user_and_the_reason(
    settings, engine, first
):
    result = rollback.roll_back(settings, engine, "tiny", "it is rude")
    assert (str(result.version), result.canary) == (str(first), None)
    assert [version.state for version in lookup.list_versions(engine)] == [
        VersionState.PRODUCTION,
        VersionState.WITHDRAWN,
    ]
    event = lookup.history(engine, first)[-1]
    assert (event.version, event.previous_version, event.reason) == (1, 2, "it is rude")
    assert event.by == result.version.promoted_by


@pytest.mark.usefixtures("second")
def test_nothing_is_rolled_back_to_a_damaged_bundle(settings: Settings, engine, first):
    (bundle_path(settings.models, "tiny", first.digest) / "idf.npy").unlink()
    with pytest.raises(BundleInvalid, match=r"idf\.npy is missing"):
        rollback.roll_back(settings, engine, "tiny")
    assert lookup.find(engine, "tiny").version == 2


@pytest.mark.usefixtures("second")
def test_a_rollback_that_another_one_overtakes_moves_nothing(
    settings: Settings, engine, add, monkeypatch
):
    def overtaken(*_):
        third = add("e" * 64)
        with transaction(engine) as conn:
            stored.promote(conn, third, by="another user", now=NOW)

    monkeypatch.setattr(rollback, "find_bundle", overtaken)
    with pytest.raises(PromotionRefused, match="changed meanwhile"):
        rollback.roll_back(settings, engine, "tiny")
    assert lookup.find(engine, "tiny").version == 3


@pytest.mark.usefixtures("second")
def test_without_a_check_of_the_bundle_the_previous_version_is_restored(engine, first):
    result = version_rollback.roll_back(engine, "tiny", by="ann", reason="it is rude")
    assert (str(result.version), result.canary) == (str(first), None)
    assert lookup.history(engine, first)[-1].by == "ann"


@pytest.mark.parametrize("name", ["tiny", "nope"])
def test_a_name_with_nothing_before_is_not_rolled_back(settings, engine, first, name):
    with pytest.raises(ModelUnknown, match="no earlier version"):
        rollback.roll_back(settings, engine, name)
    assert lookup.find(engine, "tiny") == first
