"""Promoting a version: it must load, answer, and pass the gate before the pointer moves.

Whatever refuses it leaves production untouched. `--force` overrules the gate, and is kept
with its reason; it never puts a version into production that doesn't answer.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING

from core.current_user import whoever_runs_this
from core.domain.model_version import ModelVersion, PromotionNote, VersionState
from core.errors import GateRefused, ModelUnknown, PromotionRefused
from db.clock import DatabaseClock
from db.queries import model_versions
from db.session import reading, transaction
from worker.lifecycle.evaluation.gate import (
    GateResult,
    Margins,
    ProgressCallback,
    compare_metrics,
    compare_on_questions,
)
from worker.lifecycle.inputs.labelled_questions import Labelled, read_labelled
from worker.model.bundle.bundle import hash_file
from worker.model.registry import find_bundle, load_version

if TYPE_CHECKING:
    import sqlalchemy as sa

    from core.settings.settings import Settings


@dataclass(frozen=True, slots=True)
class PromotionRequest:
    """How a version shall be promoted."""

    spec: str  # NAME@3 or NAME@latest
    share: float | None = None  # of a canary; None: to all jobs
    questions: Path | None = None  # labelled; None: the builds' own figures are compared
    margins: Margins = field(default_factory=Margins)
    forced: bool = False
    reason: str | None = None


@dataclass(frozen=True, slots=True)
class PromotionResult:
    """What came of it."""

    version: ModelVersion
    gate: GateResult | None  # None: it was in production already


def promote(
    settings: Settings,
    engine: sa.Engine,
    wish: PromotionRequest,
    *,
    threads: int,
    hear: ProgressCallback,
) -> PromotionResult:
    """Put a version into production, or make it a canary.

    Args:
        settings: where the bundles are.
        engine: the database that knows the versions.
        wish: which, and how.
        threads: of torch.
        hear: hears how many of the labelled questions are answered.

    Raises:
        ModelUnknown: there is no such version, or the number was not told.
        BundleInvalid: its bundle is missing or damaged, or does not answer.
        EncoderInvalid: its encoder can't be loaded.
        GateRefused: it does worse than what is in production.
        PromotionRefused: it can't be moved as asked, or production moved meanwhile.
        SourceInvalid: the labelled questions can't be read.
    """
    version, production = _candidate(engine, wish)
    if wish.share is None and version.state is VersionState.PRODUCTION:
        return PromotionResult(version, None)
    both = [version] if production is None else [version, production]
    verdict = _pass_gate(settings, both, wish, threads, hear)
    if verdict.worse and not wish.forced:
        raise GateRefused(str(version), str(production), [str(one) for one in verdict.worse])
    now = DatabaseClock(engine)()
    with transaction(engine) as conn:
        _check_unmoved(conn, version, production)
        _move(conn, version, wish, verdict, now)
        return PromotionResult(model_versions.find(conn, str(version)), verdict)


def _candidate(
    engine: sa.Engine, wish: PromotionRequest
) -> tuple[ModelVersion, ModelVersion | None]:
    if "@" not in wish.spec:
        raise ModelUnknown(
            wish.spec, f"say which version: {wish.spec}@NUMBER or {wish.spec}@latest"
        )
    with reading(engine) as conn:
        version = model_versions.find(conn, wish.spec)
        held = model_versions.active_by_state(conn, version.name)
    if wish.forced and not (wish.reason or "").strip():
        raise PromotionRefused(str(version), "--force needs --reason TEXT")
    if wish.share is not None:
        model_versions.check_canary(version, held)
    return version, held.get(VersionState.PRODUCTION)


def _pass_gate(
    settings: Settings,
    both: Sequence[ModelVersion],
    wish: PromotionRequest,
    threads: int,
    hear: ProgressCallback,
) -> GateResult:
    labelled = _labelled(settings, both, wish.questions) if wish.questions else None
    models = [load_version(settings, both[0], threads)]  # it must answer, whatever is compared
    if labelled is None or wish.questions is None:
        return compare_metrics(both, wish.margins)
    models += [load_version(settings, other, threads) for other in both[1:]]
    verdict = compare_on_questions(models, labelled, settings.question_chars, wish.margins, hear)
    about = {"file": wish.questions.name, "questions": len(labelled)}
    return replace(verdict, about=about | {"sha256": hash_file(wish.questions)})


def _labelled(settings: Settings, both: Sequence[ModelVersion], questions: Path) -> list[Labelled]:
    # An entry that only one of the two has is a difference between them, no mistake.
    known = {entry.id for one in both for entry in find_bundle(settings, one).entries()}
    return read_labelled(questions, frozenset(known))


def _check_unmoved(
    conn: sa.Connection, version: ModelVersion, production: ModelVersion | None
) -> None:
    now = model_versions.lock_active(conn, version.name).get(VersionState.PRODUCTION)
    if str(now) != str(production):
        problem = f"{now} came into production while it was compared with {production}"
        raise PromotionRefused(str(version), f"{problem}; run the command again")


def _move(
    conn: sa.Connection,
    version: ModelVersion,
    wish: PromotionRequest,
    verdict: GateResult,
    now: datetime,
) -> None:
    note = PromotionNote(wish.forced, wish.reason, verdict.document())
    by = whoever_runs_this()
    if wish.share is None:
        model_versions.promote(conn, version, by=by, now=now, note=note)
    else:
        model_versions.begin_canary(conn, version, wish.share, by=by, now=now, note=note)
