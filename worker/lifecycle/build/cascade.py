"""Fitting the cascade, and proving that it may answer.

The cheap model (`worker.lifecycle.build.linear_svm`) is asked what the index was asked: phrasings that it
was fitted without, phrasings whose whole entry it was fitted without, questions that belong
to no shop, and labelled ones. Its confidence is calibrated on these as the index's is.

It answers from a cut on: the least at which, on what it would answer, it is right at least as
often as the index, and at which version and encoder together hand off as well as the encoder
alone, but for a small margin. The cut is never below the version's threshold. Where no cut leaves
it a share worth having, there is no cascade.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from sklearn.metrics import roc_auc_score

from worker.lifecycle.build.calibrate import FEWEST, Calibration, CalibrationSet, calibrate
from worker.lifecycle.build.fit import Fitted, Flags, LabelledPredictions, Rows
from worker.lifecycle.build.linear_svm import CrossValidation, ask, groups_of, parts_of
from worker.model.cascade import ngrams
from worker.model.cascade.classifier import Cascade, LinearClassifier
from worker.model.retrieval.confidence import DECIMALS, Doubles
from worker.model.retrieval.index import Ints

LEAST_SHARE = 0.1  # of phrasings; less isn't worth the time that all the others are read twice
RECALL_MARGIN = 0.005  # how much less may be handed off of what must be
SCOPE_MARGIN = 0.01  # how much less AUROC may tell of scope
MOST_PHRASINGS = 20_000  # more: minutes of fitting
MOST_WEIGHTS = 20_000_000  # 80 MB

_CUTS = np.r_[np.arange(0.5, 0.95, 0.02), np.arange(0.95, 0.9985, 0.0025)]


@dataclass(frozen=True)
class CascadeInputs:
    """What the index was asked, and how it did; the cheap model is asked the same."""

    rows: Rows
    held_out: Flags | None  # (phrasings,): what a trial's encoder didn't see; None: no trial
    fitted: Fitted
    cases: CalibrationSet
    index: Calibration
    out_of_scope: Sequence[str]  # normalised, those of the cases
    labelled: Sequence[str]  # the same
    expected: Sequence[frozenset[int]]  # of the labelled


@dataclass(frozen=True)
class CascadeResult:
    """The cascade, or why there is none; and what was measured."""

    cascade: Cascade | None
    figures: dict[str, Any]

    @classmethod
    def unwanted(cls) -> CascadeResult:
        """There is none, as was asked for."""
        return _none("--no-cascade")


def make_cascade(exam: CascadeInputs, precision_target: float) -> CascadeResult:
    """Fit the cheap model, ask it, and find the cut."""
    rows = exam.rows
    texts, entry_of = rows.texts[: rows.phrasings], rows.entry_of[: rows.phrasings]
    if refusal := _refusal(exam, entry_of):
        return _none(refusal)
    known = ngrams.learn(texts)
    if len(known.codes) * (int(entry_of.max()) + 1) > MOST_WEIGHTS:
        return _none("it would take too many weights")
    bench = CrossValidation(known, texts, entry_of)
    whole = bench.fit(np.ones(len(texts), bool))
    cases = _ask(exam, bench, whole)
    calibration = calibrate(cases, precision_target)
    if not (calibration.metrics["calibrated"] and exam.index.metrics["calibrated"]):
        return _none("there is too little to calibrate it on")
    return _cut(exam, cases, calibration, whole)


def _none(why: str) -> CascadeResult:
    return CascadeResult(None, {"share": 0.0, "off": why})


def _refusal(exam: CascadeInputs, entry_of: Ints) -> str | None:
    if len(entry_of) > MOST_PHRASINGS:
        return f"there are more than {MOST_PHRASINGS:,} phrasings"
    enough = min(len(exam.fitted.known.right), len(exam.fitted.missing.right)) >= FEWEST
    return None if enough else "there are too few phrasings to judge it by"


def _ask(exam: CascadeInputs, bench: CrossValidation, whole: LinearClassifier) -> CalibrationSet:
    everything = np.ones(len(bench.texts), bool)
    learnable = everything if exam.held_out is None else ~exam.held_out
    parts = parts_of(bench.entry_of) if exam.held_out is None else exam.held_out.astype(np.int64)
    groups, fitted = groups_of(bench.entry_of), exam.fitted
    return CalibrationSet(
        known=bench.left_out(fitted.known_rows, parts, learnable, in_scope=True),
        near=bench.left_out(fitted.missing_rows, groups, learnable, in_scope=False),
        out_of_scope=ask(whole, exam.out_of_scope, [frozenset()] * len(exam.out_of_scope)),
        labelled=ask(whole, exam.labelled, exam.expected),
        labelled_in_scope=exam.cases.labelled_in_scope,
    )


def _cut(
    exam: CascadeInputs, cases: CalibrationSet, cheap: Calibration, whole: LinearClassifier
) -> CascadeResult:
    trials = list(_trials(exam, cases, cheap))
    passed = [trial for trial in trials if trial.passes]
    if not passed:
        return _none("at no cut it is as good as the encoder on a share worth having")
    best = min(passed, key=lambda trial: trial.cut)
    return CascadeResult(Cascade(whole, cheap.confidence, best.cut), asdict(best))


@dataclass(frozen=True)
class _Trial:
    """What a cut would do."""

    cut: float
    share: float  # of the left-out phrasings
    accuracy: float | None  # on that share
    encoder_accuracy: float | None  # on the same
    handoff_recall: list[float]  # near, far, labelled, as far as there are any
    encoder_handoff_recall: list[float]
    auroc: list[float]  # of telling left-out phrasings from these
    encoder_auroc: list[float]

    @property
    def passes(self) -> bool:
        """Whether the cascade may answer from this cut on."""
        if self.share < LEAST_SHARE or self.accuracy is None or self.encoder_accuracy is None:
            return False
        return (
            self.accuracy >= self.encoder_accuracy
            and _hold(self.handoff_recall, self.encoder_handoff_recall, RECALL_MARGIN)
            and _hold(self.auroc, self.encoder_auroc, SCOPE_MARGIN)
        )


def _hold(ours: Sequence[float], theirs: Sequence[float], margin: float) -> bool:
    return all(a >= b - margin for a, b in zip(ours, theirs, strict=True))


@dataclass(frozen=True)
class _Both:
    """What cheap model and index say of the same questions."""

    right: Flags
    index_right: Flags
    sure: Doubles
    index_sure: Doubles
    scope: Doubles
    index_scope: Doubles


def _trials(exam: CascadeInputs, cases: CalibrationSet, cheap: Calibration) -> Iterator[_Trial]:
    inside = [_both(cases.known, exam.cases.known, cheap, exam.index)]
    outside = [
        _both(ours, theirs, cheap, exam.index)
        for ours, theirs in (
            (cases.near, exam.cases.near),
            (cases.out_of_scope, exam.cases.out_of_scope),
        )
        if len(ours.right)
    ]
    if len(cases.labelled.right):
        asked = _both(cases.labelled, exam.cases.labelled, cheap, exam.index)
        in_scope = cases.labelled_in_scope
        inside.append(_some(asked, in_scope))
        if not in_scope.all():
            outside.append(_some(asked, ~in_scope))
    for cut in _CUTS[exam.index.threshold <= _CUTS]:
        yield _trial(round(float(cut), DECIMALS), inside, outside, exam.index.threshold)


def _both(
    ours: LabelledPredictions, theirs: LabelledPredictions, cheap: Calibration, index: Calibration
) -> _Both:
    sure, scope = cheap.confidence.chances(ours.features)
    index_sure, index_scope = index.confidence.chances(theirs.features)
    return _Both(ours.right, theirs.right, sure, index_sure, scope, index_scope)


def _some(both: _Both, chosen: Flags) -> _Both:
    return _Both(**{name: column[chosen] for name, column in vars(both).items()})


def _trial(cut: float, inside: list[_Both], outside: list[_Both], threshold: float) -> _Trial:
    known, taken = inside[0], np.concatenate([part.sure >= cut for part in inside])
    right = np.concatenate([part.right for part in inside])[taken]
    index_right = np.concatenate([part.index_right for part in inside])[taken]
    return _Trial(
        cut=cut,
        share=_mean(known.sure >= cut) or 0.0,
        accuracy=_mean(right),
        encoder_accuracy=_mean(index_right),
        handoff_recall=[
            _recall(np.where(p.sure >= cut, p.sure, p.index_sure), threshold) for p in outside
        ],
        encoder_handoff_recall=[_recall(part.index_sure, threshold) for part in outside],
        auroc=[_auroc(_scope(known, cut), _scope(part, cut)) for part in outside],
        encoder_auroc=[_auroc(known.index_scope, part.index_scope) for part in outside],
    )


def _scope(both: _Both, cut: float) -> Doubles:
    mixed: Doubles = np.where(both.sure >= cut, both.scope, both.index_scope)
    return mixed


def _recall(sure: Doubles, threshold: float) -> float:
    return round(float((sure < threshold).mean()), DECIMALS)


def _auroc(inside: Doubles, outside: Doubles) -> float:
    true = np.arange(len(inside) + len(outside)) < len(inside)
    return round(float(roc_auc_score(true, np.r_[inside, outside])), DECIMALS)


def _mean(flags: Flags) -> float | None:
    return round(float(flags.mean()), DECIMALS) if len(flags) else None
