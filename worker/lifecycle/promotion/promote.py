"""Promotion of a version to production or canary.

The version must load, answer, and pass the gate. If it does not, production stays as it is.
`--force` overrides the gate and is recorded with its reason. A version that does not answer
is never promoted.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING

from core.current_user import current_user
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
    """A version to promote, and the conditions."""

    spec: str  # NAME@3 or NAME@latest
    share: float | None = None  # of the jobs, for a canary; None: production
    questions: Path | None = None  # labelled; None: compare the metrics of the builds
    margins: Margins = field(default_factory=Margins)
    forced: bool = False
    reason: str | None = None


@dataclass(frozen=True, slots=True)
class PromotionResult:
    """The promoted version, and the comparison that allowed it."""

    version: ModelVersion
    gate: GateResult | None  # None: it was in production already


def promote(
    settings: Settings,
    engine: sa.Engine,
    request: PromotionRequest,
    *,
    threads: int,
    on_progress: ProgressCallback,
) -> PromotionResult:
    """Put a version into production, or make it a canary.

    Args:
        settings: the settings, for the model store.
        engine: the database with the versions.
        request: the version and the conditions.
        threads: threads of torch.
        on_progress: called with the number of labelled questions answered, and of all.

    Raises:
        ModelUnknown: the version is not registered, or no version number was given.
        BundleInvalid: its bundle is missing or damaged, or does not answer.
        EncoderInvalid: its encoder cannot be loaded.
        GateRefused: it is worse than the version in production.
        PromotionRefused: the request is not allowed, or production changed meanwhile.
        SourceInvalid: the labelled questions cannot be read.
    """
    version, production = _candidate(engine, request)
    if request.share is None and version.state is VersionState.PRODUCTION:
        return PromotionResult(version, None)
    versions = [version] if production is None else [version, production]
    gate = _pass_gate(settings, versions, request, threads, on_progress)
    if gate.worse and not request.forced:
        worse = [str(metric) for metric in gate.worse]
        raise GateRefused(str(version), str(production), worse)
    now = DatabaseClock(engine)()
    with transaction(engine) as conn:
        _check_unchanged(conn, version, production)
        _record(conn, version, request, gate, now)
        return PromotionResult(model_versions.find(conn, str(version)), gate)


def _candidate(
    engine: sa.Engine, request: PromotionRequest
) -> tuple[ModelVersion, ModelVersion | None]:
    """Return the version to promote, and the version in production."""
    spec = request.spec
    if "@" not in spec:
        raise ModelUnknown(spec, f"name a version: {spec}@NUMBER or {spec}@latest")
    with reading(engine) as conn:
        version = model_versions.find(conn, spec)
        active = model_versions.active_by_state(conn, version.name)
    if request.forced and not (request.reason or "").strip():
        raise PromotionRefused(str(version), "--force needs --reason TEXT")
    if request.share is not None:
        model_versions.check_canary(version, active)
    return version, active.get(VersionState.PRODUCTION)


def _pass_gate(
    settings: Settings,
    versions: Sequence[ModelVersion],
    request: PromotionRequest,
    threads: int,
    on_progress: ProgressCallback,
) -> GateResult:
    path = request.questions
    labelled = _read_labelled(settings, versions, path) if path else None
    candidate = load_version(settings, versions[0], threads)  # fails if it does not answer
    if labelled is None or path is None:
        return compare_metrics(versions, request.margins)
    models = [candidate]
    models += [load_version(settings, version, threads) for version in versions[1:]]
    gate = compare_on_questions(
        models, labelled, settings.question_chars, request.margins, on_progress
    )
    about = {"file": path.name, "questions": len(labelled), "sha256": hash_file(path)}
    return replace(gate, about=about)


def _read_labelled(
    settings: Settings, versions: Sequence[ModelVersion], path: Path
) -> list[Labelled]:
    # An entry of only one of the two versions is a difference between them, not a mistake.
    known = {entry.id for version in versions for entry in find_bundle(settings, version).entries()}
    return read_labelled(path, frozenset(known))


def _check_unchanged(
    conn: sa.Connection, version: ModelVersion, production: ModelVersion | None
) -> None:
    current = model_versions.lock_active(conn, version.name).get(VersionState.PRODUCTION)
    if str(current) != str(production):
        problem = f"{current} came into production while it was compared with {production}"
        raise PromotionRefused(str(version), f"{problem}; run the command again")


def _record(
    conn: sa.Connection,
    version: ModelVersion,
    request: PromotionRequest,
    gate: GateResult,
    now: datetime,
) -> None:
    note = PromotionNote(request.forced, request.reason, gate.document())
    by = current_user()
    if request.share is None:
        model_versions.promote(conn, version, by=by, now=now, note=note)
    else:
        model_versions.begin_canary(conn, version, request.share, by=by, now=now, note=note)
