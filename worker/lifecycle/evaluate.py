"""Measuring a model version on labelled questions: CSV, `question,expected`.

`expected` is an entry's id, several joined by `|`, or empty for "must be handed off".
Other columns are ignored. The definitions of the figures are in `Report`.
"""

from __future__ import annotations

import csv
import textwrap
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from db.entities import Answer, Status
from db.errors import SourceInvalid
from worker.model.confidence import Reason
from worker.passes import answer_texts

if TYPE_CHECKING:
    from worker.model.loaded import LoadedModel

QUESTION, EXPECTED = "question", "expected"
_BINS = 15


@dataclass(frozen=True)
class Labelled:
    """A question and the entries that would answer it; none: a human must."""

    question: str
    expected: frozenset[str]


@dataclass(frozen=True)
class Report:
    """What was measured; None where it isn't defined for these questions."""

    questions: int
    accuracy: float | None  # the best entry is an expected one; of those with an expected one
    answered: int
    precision: float | None  # of the answered, out of scope ones included
    coverage: float | None  # answered, of those with an expected entry
    handoff_recall: float | None  # handed off, of those without
    auroc: float | None  # of telling the two kinds apart by confidence
    ece: float | None  # expected calibration error of the best entry being right, 15 bins
    threshold: float
    questions_per_second: float | None


def read_labelled(path: Path, known: frozenset[str]) -> list[Labelled]:
    """Read labelled questions; rows count as in a spreadsheet, the header is row 1.

    Raises:
        SourceInvalid: naming the row and what is wrong with it.
    """
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            labelled = [_labelled(path, *numbered, known) for numbered in _rows(path, file)]
    except OSError as error:
        raise SourceInvalid(str(path), error.strerror or str(error)) from error
    except UnicodeDecodeError as error:
        raise SourceInvalid(str(path), "not UTF-8") from error
    if not labelled:
        raise SourceInvalid(str(path), "there is no question in it")
    return labelled


def _rows(path: Path, file: Iterator[str]) -> Iterator[tuple[int, dict[str, str]]]:
    reader = csv.DictReader(file, strict=True)
    try:
        for name in (QUESTION, EXPECTED):
            if name not in (found := reader.fieldnames or []):
                listed = textwrap.shorten(", ".join(found), 60, placeholder="…") or "none"
                raise SourceInvalid(str(path), f"no column {name!r}; there are: {listed}")
        yield from enumerate(reader, start=2)
    except csv.Error as error:
        raise SourceInvalid(str(path), f"not CSV: {error}", row=reader.line_num) from error


def _labelled(path: Path, row: int, cells: dict[str, str], known: frozenset[str]) -> Labelled:
    question = cells[QUESTION]
    if not (question or "").strip():
        raise SourceInvalid(str(path), "the question is blank", row=row)
    if cells[EXPECTED] is None:
        raise SourceInvalid(str(path), f"the column {EXPECTED!r} is missing", row=row)
    expected = frozenset(part.strip() for part in cells[EXPECTED].split("|")) - {""}
    if unknown := sorted(expected - known):
        raise SourceInvalid(str(path), f"the model has no entry {unknown[0]!r}", row=row)
    return Labelled(question, expected)


def evaluate(
    model: LoadedModel,
    labelled: Sequence[Labelled],
    question_chars: int,
    on_pass: Callable[[int], None] | None = None,
) -> Report:
    """Answer the questions as a worker would, and measure."""
    fit = [row.question for row in labelled if len(row.question) <= question_chars]
    answer_texts(model, fit[:1])  # the first pass is slower than all that follow
    started = time.perf_counter()
    answers = iter(answer_texts(model, fit, on_pass))
    seconds = time.perf_counter() - started
    too_long = Answer(Status.HANDED_OFF, reason=Reason.TOO_LONG)
    whole = [next(answers) if len(row.question) <= question_chars else too_long for row in labelled]
    rate = round(len(fit) / seconds, 1) if fit else None
    return measure(labelled, whole, model.threshold, rate)


def measure(
    labelled: Sequence[Labelled], answers: Sequence[Answer], threshold: float, rate: float | None
) -> Report:
    """Compare answers with what was expected."""
    pairs = list(zip(labelled, answers, strict=True))
    in_scope = np.array([bool(row.expected) for row, _ in pairs], bool)
    right = np.array([answer.entry_id in row.expected for row, answer in pairs], bool)
    answered = np.array([answer.status is Status.ANSWERED for answer in answers], bool)
    sure = np.array([answer.confidence or 0.0 for answer in answers])
    return Report(
        questions=len(pairs),
        accuracy=_share(right[in_scope]),
        answered=int(answered.sum()),
        precision=_share(right[answered]),
        coverage=_share(answered[in_scope]),
        handoff_recall=_share(~answered[~in_scope]),
        auroc=_auroc(in_scope, sure),
        ece=_calibration_error(sure, right),
        threshold=threshold,
        questions_per_second=rate,
    )


def _share(flags: NDArray[np.bool_]) -> float | None:
    return round(float(flags.mean()), 4) if len(flags) else None


def _auroc(in_scope: NDArray[np.bool_], sure: NDArray[np.float64]) -> float | None:
    if in_scope.all() or not in_scope.any():
        return None
    from sklearn.metrics import roc_auc_score  # a second to import

    return round(float(roc_auc_score(in_scope, sure)), 4)


def _calibration_error(sure: NDArray[np.float64], right: NDArray[np.bool_]) -> float | None:
    if not len(sure):
        return None
    bins = np.minimum((sure * _BINS).astype(np.int64), _BINS - 1)
    gaps = np.bincount(bins, weights=sure - right, minlength=_BINS)
    return round(float(np.abs(gaps).sum() / len(sure)), 4)
