"""R18: a version that is worse than the gate allows is promoted only by force. Real bundles."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from core.domain.model_version import ModelVersion, PromotionKind, VersionState
from core.errors import AnswermillError, BundleInvalid, GateRefused, ModelUnknown, PromotionRefused
from core.settings.settings import Settings
from db.queries import model_versions as stored
from db.session import transaction
from tests.factories import NOW
from worker.lifecycle.evaluation import gate
from worker.lifecycle.promotion import lookup, rollback
from worker.lifecycle.promotion import promote as promotion
from worker.lifecycle.promotion.promote import PromotionRequest, PromotionResult
from worker.model.bundle.location import bundle_path


@pytest.fixture(autouse=True)
def _equally_fast(monkeypatch: pytest.MonkeyPatch) -> None:
    """Make the timing independent of the load of the machine."""
    monkeypatch.setattr(gate, "_rate", lambda *_: 100.0)


@pytest.fixture
def promote(settings: Settings, engine: sa.Engine):
    def promote(spec: str, **options: Any) -> PromotionResult:
        request = PromotionRequest(spec, **options)
        return promotion.promote(settings, engine, request, threads=1, on_progress=lambda *_: None)

    return promote


def active(engine: sa.Engine) -> dict[str, str]:
    states = (VersionState.PRODUCTION, VersionState.CANARY)
    return {v.state.value: str(v) for v in lookup.list_versions(engine) if v.state in states}


def promotions(engine: sa.Engine, spec: str) -> list[PromotionKind]:
    return [event.kind for event in lookup.history(engine, lookup.find(engine, spec))]


@pytest.mark.usefixtures("worse")
def test_a_worse_version_is_refused_in_one_line_that_names_the_metrics(promote, engine, labelled):
    with pytest.raises(GateRefused) as caught:
        promote("tiny@2", questions=labelled)
    message = str(caught.value)
    assert message.startswith(
        "tiny@2 is not promoted: worse than tiny@1 in accuracy 0.7273 against 1"
    )
    assert "(margin 0.01)" in message
    assert "--force --reason" in message
    assert "\n" not in message
    assert active(engine) == {"production": "tiny@1"}
    assert promotions(engine, "tiny@2") == []


@pytest.mark.usefixtures("worse")
def test_a_canary_passes_the_same_gate(promote, engine, labelled):
    with pytest.raises(GateRefused, match="accuracy"):
        promote("tiny@2", share=0.05, questions=labelled)
    assert active(engine) == {"production": "tiny@1"}


@pytest.mark.usefixtures("worse")
def test_force_with_a_reason_overrules_and_is_recorded_with_the_metrics(promote, engine, labelled):
    result = promote("tiny@2", questions=labelled, forced=True, reason="a new law")
    assert (str(result.version), active(engine)) == ("tiny@2", {"production": "tiny@2"})
    (event,) = lookup.history(engine, result.version)
    assert (event.kind, event.previous_version) == (PromotionKind.PROMOTED, 1)
    assert (event.forced, event.reason, event.by) == (True, "a new law", result.version.promoted_by)
    (accuracy,) = [metric for metric in event.gate["compared"] if metric["figure"] == "accuracy"]
    assert accuracy == {
        "figure": "accuracy",
        "production": 1.0,
        "candidate": 0.7273,
        "margin": 0.01,
        "worse": True,
    }
    assert event.gate["about"]["file"] == "labelled.csv"
    assert event.gate["about"]["questions"] == 12


@pytest.mark.parametrize("reason", [None, "", "  "])
@pytest.mark.usefixtures("worse")
def test_force_without_a_reason_is_refused(promote, engine, reason):
    with pytest.raises(PromotionRefused, match="--force needs --reason"):
        promote("tiny@2", forced=True, reason=reason)
    assert active(engine) == {"production": "tiny@1"}


@pytest.mark.usefixtures("worse")
def test_a_better_version_is_promoted_and_its_metrics_recorded(promote, engine, labelled):
    promote("tiny@2", forced=True, reason="to have a worse one in production")
    result = promote("tiny@1", questions=labelled)
    assert active(engine) == {"production": "tiny@1"}
    assert result.gate.worse == []
    kept = lookup.history(engine, result.version)[-1]
    assert (kept.forced, kept.gate) == (False, result.gate.document())


def test_without_questions_the_metrics_of_the_builds_are_compared(
    promote, engine, first: ModelVersion, worse: ModelVersion
):
    with transaction(engine) as conn:
        for version, accuracy in ((first, 0.95), (worse, 0.90)):
            conn.execute(
                stored.t.update()
                .where(stored.t.c.version == version.version)
                .values(metrics={"cv_accuracy": accuracy})
            )
    with pytest.raises(GateRefused, match=r"cv_accuracy 0\.9 against 0\.95 \(margin 0\.01\)"):
        promote("tiny@2")
    assert promote("tiny@2", margins=promotion.Margins(shares=0.05)).gate.worse == []


@pytest.mark.usefixtures("worse")
def test_a_canary_begins_and_ends_in_production(promote, engine, labelled):
    forced = {"forced": True, "reason": "a test"}
    begun = promote("tiny@2", share=0.05, questions=labelled, **forced).version
    assert (begun.state, begun.canary_share) == (VersionState.CANARY, 0.05)
    assert active(engine) == {"production": "tiny@1", "canary": "tiny@2"}
    promote("tiny@2", **forced)
    assert active(engine) == {"production": "tiny@2"}
    assert promotions(engine, "tiny@2") == [PromotionKind.CANARY, PromotionKind.PROMOTED]


@pytest.mark.usefixtures("worse")
def test_a_rollback_withdraws_a_canary_first(promote, engine, settings):
    promote("tiny@2", share=0.5)
    result = rollback.roll_back(settings, engine, "tiny", "customers complain")
    assert (str(result.version), str(result.canary)) == ("tiny@1", "tiny@2")
    assert active(engine) == {"production": "tiny@1"}
    withdrawn = lookup.history(engine, result.canary)[-1]
    assert (withdrawn.kind, withdrawn.reason) == (
        PromotionKind.CANARY_WITHDRAWN,
        "customers complain",
    )


def test_a_version_that_cannot_be_a_canary_is_refused_before_anything_is_loaded(
    promote, first: ModelVersion, monkeypatch
):
    monkeypatch.setattr(promotion, "load_version", None)
    with pytest.raises(PromotionRefused, match="in production already"):
        promote(str(first), share=0.05)


@pytest.mark.usefixtures("first")
def test_a_version_without_its_bundle_is_refused(promote, engine, add):
    with pytest.raises(BundleInvalid, match="is not in the model store"):
        promote(str(add()), forced=True, reason="force does not help")
    assert active(engine) == {"production": "tiny@1"}


def test_a_version_that_loads_but_does_not_answer_is_refused(
    promote, engine, worse: ModelVersion, monkeypatch
):
    monkeypatch.setattr("worker.model.loaded_model.LoadedModel.decide", lambda *_: 1 / 0)
    with pytest.raises(BundleInvalid, match="tiny@2: it does not answer: ZeroDivisionError"):
        promote(str(worse), forced=True, reason="force does not help")
    assert active(engine) == {"production": "tiny@1"}


def test_a_first_promotion_must_load_too(promote, engine, add):
    version = add()
    with pytest.raises(BundleInvalid):
        promote(str(version))
    assert active(engine) == {}


def test_a_first_promotion_has_nothing_to_be_compared_with(
    promote, engine, first: ModelVersion, labelled
):
    with transaction(engine) as conn:
        conn.execute(stored.t.update().values(state=VersionState.BUILT))
    gate_result = promote(str(first), questions=labelled).gate
    assert (gate_result.production, gate_result.worse) == (None, [])
    assert gate_result.compared[0].candidate == 1.0
    assert active(engine) == {"production": "tiny@1"}


def test_a_damaged_bundle_is_refused(promote, engine, settings, worse: ModelVersion):
    (bundle_path(settings.models, "tiny", worse.digest) / "idf.npy").write_bytes(b"")
    with pytest.raises(BundleInvalid, match=r"idf\.npy was changed"):
        promote(str(worse))
    assert active(engine) == {"production": "tiny@1"}


def test_a_change_of_production_during_the_comparison_is_refused(
    promote, engine, worse: ModelVersion, add, monkeypatch
):
    third = add()
    compare_metrics = promotion.compare_metrics

    def slow(*args: Any):
        with transaction(engine) as conn:
            stored.promote(conn, third, by="another user", now=NOW)
        return compare_metrics(*args)

    monkeypatch.setattr(promotion, "compare_metrics", slow)
    with pytest.raises(PromotionRefused, match="tiny@3 came into production while"):
        promote(str(worse))
    assert active(engine) == {"production": "tiny@3"}


def test_entries_that_only_one_of_the_two_has_may_be_expected(promote, worse, labelled):
    assert "track" in labelled.read_text(encoding="utf-8")
    with pytest.raises(GateRefused):
        promote(str(worse), questions=labelled)


def test_entries_that_none_of_the_two_has_are_a_mistake(promote, worse, tmp_path: Path):
    file = tmp_path / "labelled.csv"
    file.write_text("question,expected\nwhere?,nowhere", encoding="utf-8")
    with pytest.raises(AnswermillError, match=r"the model has no entry 'nowhere' \(row 2\)"):
        promote(str(worse), questions=file)


def test_promoting_what_is_in_production_moves_nothing(promote, engine, first: ModelVersion):
    result = promote(str(first))
    assert (result.version, result.gate) == (first, None)
    assert promotions(engine, "tiny@1") == [PromotionKind.PROMOTED]


@pytest.mark.parametrize("spec", ["nope@1", "nope@latest", "tiny@9", "tiny@x", "tiny"])
@pytest.mark.usefixtures("first")
def test_an_unknown_or_unspecified_version_is_not_promoted(promote, engine, spec: str):
    with pytest.raises(ModelUnknown):
        promote(spec)
    assert active(engine) == {"production": "tiny@1"}


def test_rolling_back_needs_the_bundle_of_the_version_before(
    promote, engine, settings, first: ModelVersion, worse: ModelVersion
):
    promote(str(worse))
    shutil.rmtree(bundle_path(settings.models, "tiny", first.digest))
    with pytest.raises(BundleInvalid, match="is not in the model store"):
        rollback.roll_back(settings, engine, "tiny")
    assert active(engine) == {"production": "tiny@2"}
