"""R18: what does worse than the gate is not promoted without saying so. On real bundles."""

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
from worker.lifecycle.promotion import promote as promotion
from worker.lifecycle.promotion import rollback
from worker.lifecycle.promotion.promote import PromotionRequest, PromotionResult
from worker.model.bundle.location import bundle_path


@pytest.fixture(autouse=True)
def _equally_fast(monkeypatch: pytest.MonkeyPatch) -> None:
    """Leave the machine's mood out of it."""
    monkeypatch.setattr(gate, "_rate", lambda *_: 100.0)


@pytest.fixture
def promote(settings: Settings, engine: sa.Engine):
    def promote(spec: str, **wish: Any) -> PromotionResult:
        hear = lambda *_: None  # noqa: E731 - nobody hears
        return promotion.promote(
            settings, engine, PromotionRequest(spec, **wish), threads=1, hear=hear
        )

    return promote


def in_force(engine: sa.Engine) -> dict[str, str]:
    held = (VersionState.PRODUCTION, VersionState.CANARY)
    return {v.state.value: str(v) for v in rollback.listed(engine) if v.state in held}


def moves(engine: sa.Engine, spec: str) -> list[PromotionKind]:
    return [move.kind for move in rollback.history(engine, rollback.find(engine, spec))]


@pytest.mark.usefixtures("worse")
def test_a_worse_version_is_refused_in_one_line_that_names_the_figures(promote, engine, labelled):
    with pytest.raises(GateRefused) as caught:
        promote("tiny@2", questions=labelled)
    told = str(caught.value)
    assert told.startswith("tiny@2 is not promoted: worse than tiny@1 in accuracy 0.7273 against 1")
    assert "(margin 0.01)" in told
    assert "--force --reason" in told
    assert "\n" not in told
    assert in_force(engine) == {"production": "tiny@1"}
    assert moves(engine, "tiny@2") == []


@pytest.mark.usefixtures("worse")
def test_a_canary_passes_the_same_gate(promote, engine, labelled):
    with pytest.raises(GateRefused, match="accuracy"):
        promote("tiny@2", share=0.05, questions=labelled)
    assert in_force(engine) == {"production": "tiny@1"}


@pytest.mark.usefixtures("worse")
def test_force_with_a_reason_overrules_and_is_kept_with_the_figures(promote, engine, labelled):
    done = promote("tiny@2", questions=labelled, forced=True, reason="a new law")
    assert (str(done.version), in_force(engine)) == ("tiny@2", {"production": "tiny@2"})
    (move,) = rollback.history(engine, done.version)
    assert (move.kind, move.previous_version) == (PromotionKind.PROMOTED, 1)
    assert (move.forced, move.reason, move.by) == (True, "a new law", done.version.promoted_by)
    (accuracy,) = [one for one in move.gate["compared"] if one["figure"] == "accuracy"]
    assert accuracy == {
        "figure": "accuracy",
        "production": 1.0,
        "candidate": 0.7273,
        "margin": 0.01,
        "worse": True,
    }
    assert move.gate["about"]["file"] == "labelled.csv"
    assert move.gate["about"]["questions"] == 12


@pytest.mark.parametrize("reason", [None, "", "  "])
@pytest.mark.usefixtures("worse")
def test_force_without_a_reason_is_refused(promote, engine, reason):
    with pytest.raises(PromotionRefused, match="--force needs --reason"):
        promote("tiny@2", forced=True, reason=reason)
    assert in_force(engine) == {"production": "tiny@1"}


@pytest.mark.usefixtures("worse")
def test_a_better_version_is_promoted_and_its_figures_kept(promote, engine, labelled):
    promote("tiny@2", forced=True, reason="to have a worse one in production")
    done = promote("tiny@1", questions=labelled)
    assert in_force(engine) == {"production": "tiny@1"}
    assert done.gate.worse == []
    kept = rollback.history(engine, done.version)[-1]
    assert (kept.forced, kept.gate) == (False, done.gate.document())


def test_without_questions_what_the_builds_have_found_is_compared(
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
    assert in_force(engine) == {"production": "tiny@1", "canary": "tiny@2"}
    promote("tiny@2", **forced)
    assert in_force(engine) == {"production": "tiny@2"}
    assert moves(engine, "tiny@2") == [PromotionKind.CANARY, PromotionKind.PROMOTED]


@pytest.mark.usefixtures("worse")
def test_a_rollback_withdraws_a_canary_first(promote, engine, settings):
    promote("tiny@2", share=0.5)
    done = rollback.roll_back(settings, engine, "tiny", "customers complain")
    assert (str(done.version), str(done.canary)) == ("tiny@1", "tiny@2")
    assert in_force(engine) == {"production": "tiny@1"}
    withdrawn = rollback.history(engine, done.canary)[-1]
    assert (withdrawn.kind, withdrawn.reason) == (
        PromotionKind.CANARY_WITHDRAWN,
        "customers complain",
    )


def test_what_can_be_no_canary_is_told_before_anything_is_loaded(
    promote, first: ModelVersion, monkeypatch
):
    monkeypatch.setattr(promotion, "load_version", None)
    with pytest.raises(PromotionRefused, match="in production already"):
        promote(str(first), share=0.05)


@pytest.mark.usefixtures("first")
def test_a_version_without_its_bundle_is_refused(promote, engine, add):
    with pytest.raises(BundleInvalid, match="is not in the model store"):
        promote(str(add()), forced=True, reason="force does not help")
    assert in_force(engine) == {"production": "tiny@1"}


def test_a_version_that_loads_but_does_not_answer_is_refused(
    promote, engine, worse: ModelVersion, monkeypatch
):
    monkeypatch.setattr("worker.model.loaded_model.LoadedModel.decide", lambda *_: 1 / 0)
    with pytest.raises(BundleInvalid, match="tiny@2: it does not answer: ZeroDivisionError"):
        promote(str(worse), forced=True, reason="force does not help")
    assert in_force(engine) == {"production": "tiny@1"}


def test_a_first_promotion_must_load_too(promote, engine, add):
    version = add()
    with pytest.raises(BundleInvalid):
        promote(str(version))
    assert in_force(engine) == {}


def test_a_first_promotion_has_nothing_to_be_compared_with(
    promote, engine, first: ModelVersion, labelled
):
    with transaction(engine) as conn:
        conn.execute(stored.t.update().values(state=VersionState.BUILT))
    verdict = promote(str(first), questions=labelled).gate
    assert (verdict.production, verdict.worse) == (None, [])
    assert verdict.compared[0].candidate == 1.0
    assert in_force(engine) == {"production": "tiny@1"}


def test_a_damaged_bundle_is_refused(promote, engine, settings, worse: ModelVersion):
    (bundle_path(settings.models, "tiny", worse.digest) / "idf.npy").write_bytes(b"")
    with pytest.raises(BundleInvalid, match=r"idf\.npy was changed"):
        promote(str(worse))
    assert in_force(engine) == {"production": "tiny@1"}


def test_production_that_moves_during_the_comparison_is_noticed(
    promote, engine, worse: ModelVersion, add, monkeypatch
):
    third = add()
    judge = promotion.compare_metrics

    def slow(*args: Any):
        with transaction(engine) as conn:
            stored.promote(conn, third, by="somebody else", now=NOW)
        return judge(*args)

    monkeypatch.setattr(promotion, "compare_metrics", slow)
    with pytest.raises(PromotionRefused, match="tiny@3 came into production while"):
        promote(str(worse))
    assert in_force(engine) == {"production": "tiny@3"}


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
    done = promote(str(first))
    assert (done.version, done.gate) == (first, None)
    assert moves(engine, "tiny@1") == [PromotionKind.PROMOTED]


@pytest.mark.parametrize("spec", ["nope@1", "nope@latest", "tiny@9", "tiny@x", "tiny"])
@pytest.mark.usefixtures("first")
def test_what_is_not_there_or_not_told_is_not_promoted(promote, engine, spec: str):
    with pytest.raises(ModelUnknown):
        promote(spec)
    assert in_force(engine) == {"production": "tiny@1"}


def test_rolling_back_needs_the_bundle_of_the_version_before(
    promote, engine, settings, first: ModelVersion, worse: ModelVersion
):
    promote(str(worse))
    shutil.rmtree(bundle_path(settings.models, "tiny", first.digest))
    with pytest.raises(BundleInvalid, match="is not in the model store"):
        rollback.roll_back(settings, engine, "tiny")
    assert in_force(engine) == {"production": "tiny@2"}
