"""Fit of the cascade, and the check that it may answer.

The classifier (`worker.lifecycle.build.linear_svm`) predicts the same questions as the index:
left-out phrasings, phrasings of left-out entries, out-of-scope questions and labelled ones.
Its confidence is calibrated on them as the index's is.

The cascade answers from a confidence threshold on: the least one at which the classifier is at
least as accurate as the index on the questions it would answer, and at which classifier and
encoder together hand off as well as the encoder alone, except for a small margin. That
threshold is at least the version's. If no threshold gives a useful share, there is no cascade.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from sklearn.metrics import roc_auc_score

from worker.lifecycle.build.calibrate import (
    MIN_QUESTIONS,
    Calibration,
    CalibrationSet,
    calibrate,
)
from worker.lifecycle.build.fit import FittedIndex, Flags, LabelledPredictions, Rows
from worker.lifecycle.build.linear_svm import CrossValidation, groups_of, parts_of, predict
from worker.model.cascade import ngrams
from worker.model.cascade.classifier import Cascade, LinearClassifier
from worker.model.retrieval.confidence import DECIMALS, Doubles
from worker.model.retrieval.index import Ints

MIN_SHARE = 0.1  # of phrasings; a smaller share does not pay for reading the others twice
RECALL_MARGIN = 0.005  # by which hand-off recall may fall
AUROC_MARGIN = 0.01  # by which the AUROC of the scope may fall
MAX_PHRASINGS = 20_000  # with more, the fit takes minutes
MAX_WEIGHTS = 20_000_000  # 80 MB

_CUTS = np.r_[np.arange(0.5, 0.95, 0.02), np.arange(0.95, 0.9985, 0.0025)]


@dataclass(frozen=True)
class CascadeInputs:
    """The questions that the index predicted, and its predictions."""

    rows: Rows
    held_out: Flags | None  # (phrasings,): not seen by a trial's encoder; None: no trial
    fitted: FittedIndex
    questions: CalibrationSet
    index: Calibration
    out_of_scope: Sequence[str]  # normalized; those of `questions`
    labelled: Sequence[str]  # the same
    expected: Sequence[frozenset[int]]  # of the labelled


@dataclass(frozen=True)
class CascadeResult:
    """The cascade, or None, and the metrics or the reason for None."""

    cascade: Cascade | None
    metrics: dict[str, Any]

    @classmethod
    def disabled(cls) -> CascadeResult:
        """Return the result for `--no-cascade`."""
        return _none("--no-cascade")


def make_cascade(inputs: CascadeInputs, precision_target: float) -> CascadeResult:
    """Fit the classifier, calibrate it, and choose its confidence threshold."""
    rows = inputs.rows
    texts, entry_of = rows.texts[: rows.phrasings], rows.entry_of[: rows.phrasings]
    if refusal := _refusal(inputs, entry_of):
        return _none(refusal)
    grams = ngrams.learn(texts)
    if len(grams.codes) * (int(entry_of.max()) + 1) > MAX_WEIGHTS:
        return _none("it would take too many weights")
    validation = CrossValidation(grams, texts, entry_of)
    classifier = validation.fit(np.ones(len(texts), bool))
    questions = _predict(inputs, validation, classifier)
    calibration = calibrate(questions, precision_target)
    if not (calibration.metrics["calibrated"] and inputs.index.metrics["calibrated"]):
        return _none("there are too few questions to calibrate it on")
    return _choose_cut(inputs, questions, calibration, classifier)


def _none(reason: str) -> CascadeResult:
    return CascadeResult(None, {"share": 0.0, "off": reason})


def _refusal(inputs: CascadeInputs, entry_of: Ints) -> str | None:
    if len(entry_of) > MAX_PHRASINGS:
        return f"there are more than {MAX_PHRASINGS:,} phrasings"
    count = min(len(inputs.fitted.known.right), len(inputs.fitted.near.right))
    return None if count >= MIN_QUESTIONS else "there are too few phrasings to evaluate it on"


def _predict(
    inputs: CascadeInputs, validation: CrossValidation, classifier: LinearClassifier
) -> CalibrationSet:
    entry_of, held_out, fitted = validation.entry_of, inputs.held_out, inputs.fitted
    learnable = np.ones(len(entry_of), bool) if held_out is None else ~held_out
    parts = parts_of(entry_of) if held_out is None else held_out.astype(np.int64)
    groups = groups_of(entry_of)
    nothing: list[frozenset[int]] = [frozenset()] * len(inputs.out_of_scope)
    return CalibrationSet(
        known=validation.predict_left_out(fitted.known_rows, parts, learnable, in_scope=True),
        near=validation.predict_left_out(fitted.near_rows, groups, learnable, in_scope=False),
        out_of_scope=predict(classifier, inputs.out_of_scope, nothing),
        labelled=predict(classifier, inputs.labelled, inputs.expected),
        labelled_in_scope=inputs.questions.labelled_in_scope,
    )


def _choose_cut(
    inputs: CascadeInputs,
    questions: CalibrationSet,
    calibration: Calibration,
    classifier: LinearClassifier,
) -> CascadeResult:
    passed = [trial for trial in _trials(inputs, questions, calibration) if trial.passes]
    if not passed:
        return _none("at no threshold is it as good as the encoder on a useful share")
    best = min(passed, key=lambda trial: trial.cut)
    return CascadeResult(Cascade(classifier, calibration.confidence, best.cut), asdict(best))


@dataclass(frozen=True)
class _Trial:
    """The metrics of the cascade at one confidence threshold."""

    cut: float
    share: float  # of the left-out phrasings
    accuracy: float | None  # on that share
    encoder_accuracy: float | None  # on the same
    handoff_recall: list[float]  # near, out of scope, labelled, if there are any
    encoder_handoff_recall: list[float]
    auroc: list[float]  # left-out phrasings against each of these
    encoder_auroc: list[float]

    @property
    def passes(self) -> bool:
        """Whether the cascade may answer from this threshold on."""
        if self.share < MIN_SHARE or self.accuracy is None or self.encoder_accuracy is None:
            return False
        return (
            self.accuracy >= self.encoder_accuracy
            and _within(self.handoff_recall, self.encoder_handoff_recall, RECALL_MARGIN)
            and _within(self.auroc, self.encoder_auroc, AUROC_MARGIN)
        )


def _within(ours: Sequence[float], theirs: Sequence[float], margin: float) -> bool:
    return all(a >= b - margin for a, b in zip(ours, theirs, strict=True))


@dataclass(frozen=True)
class _PairedPredictions:
    """The predictions of classifier and index for the same questions."""

    right: Flags
    index_right: Flags
    confidence: Doubles
    index_confidence: Doubles
    scope: Doubles
    index_scope: Doubles

    def subset(self, chosen: Flags) -> _PairedPredictions:
        return _PairedPredictions(**{name: column[chosen] for name, column in vars(self).items()})

    def mixed_scope(self, cut: float) -> Doubles:
        """Return the scope from whichever of the two answers at that threshold."""
        mixed: Doubles = np.where(self.confidence >= cut, self.scope, self.index_scope)
        return mixed

    def mixed_confidence(self, cut: float) -> Doubles:
        """Return the confidence of whichever of the two answers at that threshold."""
        mixed: Doubles = np.where(self.confidence >= cut, self.confidence, self.index_confidence)
        return mixed


def _pair(
    ours: LabelledPredictions,
    theirs: LabelledPredictions,
    calibration: Calibration,
    index: Calibration,
) -> _PairedPredictions:
    confidence, scope = calibration.confidence.chances(ours.features)
    index_confidence, index_scope = index.confidence.chances(theirs.features)
    return _PairedPredictions(
        ours.right, theirs.right, confidence, index_confidence, scope, index_scope
    )


def _trials(
    inputs: CascadeInputs, questions: CalibrationSet, calibration: Calibration
) -> Iterator[_Trial]:
    index, theirs = inputs.index, inputs.questions
    inside = [_pair(questions.known, theirs.known, calibration, index)]
    pairs = ((questions.near, theirs.near), (questions.out_of_scope, theirs.out_of_scope))
    outside = [_pair(*pair, calibration, index) for pair in pairs if len(pair[0].right)]
    if len(questions.labelled.right):
        labelled = _pair(questions.labelled, theirs.labelled, calibration, index)
        in_scope = questions.labelled_in_scope
        inside.append(labelled.subset(in_scope))
        if not in_scope.all():
            outside.append(labelled.subset(~in_scope))
    for cut in _CUTS[index.threshold <= _CUTS]:
        yield _trial(round(float(cut), DECIMALS), inside, outside, index.threshold)


def _trial(
    cut: float,
    inside: list[_PairedPredictions],
    outside: list[_PairedPredictions],
    threshold: float,
) -> _Trial:
    known, chosen = inside[0], np.concatenate([part.confidence >= cut for part in inside])
    right = np.concatenate([part.right for part in inside])[chosen]
    index_right = np.concatenate([part.index_right for part in inside])[chosen]
    return _Trial(
        cut=cut,
        share=_mean(known.confidence >= cut) or 0.0,
        accuracy=_mean(right),
        encoder_accuracy=_mean(index_right),
        handoff_recall=[_recall(part.mixed_confidence(cut), threshold) for part in outside],
        encoder_handoff_recall=[_recall(part.index_confidence, threshold) for part in outside],
        auroc=[_auroc(known.mixed_scope(cut), part.mixed_scope(cut)) for part in outside],
        encoder_auroc=[_auroc(known.index_scope, part.index_scope) for part in outside],
    )


def _recall(confidence: Doubles, threshold: float) -> float:
    return round(float((confidence < threshold).mean()), DECIMALS)


def _auroc(inside: Doubles, outside: Doubles) -> float:
    in_scope = np.arange(len(inside) + len(outside)) < len(inside)
    return round(float(roc_auc_score(in_scope, np.r_[inside, outside])), DECIMALS)


def _mean(flags: Flags) -> float | None:
    return round(float(flags.mean()), DECIMALS) if len(flags) else None
