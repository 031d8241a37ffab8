"""From a knowledge base and an encoder to a calibrated index.

Whatever is read by the encoder is read here: every phrasing and answer text, the far
questions, and the labelled questions if there are any.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from worker.lifecycle.build.calibrate import Calibration, CalibrationSet, calibrate
from worker.lifecycle.build.cascade import CascadeInputs, CascadeResult, make_cascade
from worker.lifecycle.build.fit import (
    Fitted,
    Flags,
    LabelledPredictions,
    Rows,
    fit,
    fit_index,
    predict_as_new,
    try_out,
)
from worker.lifecycle.inputs.labelled_questions import Labelled
from worker.lifecycle.inputs.out_of_scope_questions import read_out_of_scope_questions
from worker.model.bundle.bundle import Entry
from worker.model.encoder.base import Encoder
from worker.model.encoder.embed import EmbedProgress, embed
from worker.model.retrieval import lexicon as lexical
from worker.model.retrieval.index import Floats, Index, Ints
from worker.model.retrieval.ivf import IvfIndex
from worker.model.retrieval.knowledge_base import KnowledgeBase
from worker.text.normalization import normalize_for_match

# A far question that resembles a row more than this may have an entry here.
_HAS_AN_ENTRY = 0.7
_NEAREST = 2  # the column of the features

# Beyond so many phrasings each question is compared with a shortlist (docs/log.md).
MOST_EXACT = 100_000


@dataclass(frozen=True)
class IndexResult:
    """An index, the embeddings that it was made of, and what calibration says of it."""

    index: Index
    embeddings: Floats  # (rows, dimensions)
    calibration: Calibration
    cascade: CascadeResult
    cells: IvfIndex | None = None  # where there are too many rows to compare with each


@dataclass(frozen=True)
class EncoderTrial:
    """An encoder that was tuned without some phrasings, which can be asked therefore."""

    encoder: Encoder
    held_out: Flags  # (phrasings,)


@dataclass(frozen=True)
class _Read:
    """What an encoder has read."""

    rows: Rows
    out_of_scope_questions: list[str]
    out_of_scope: Floats  # their embeddings
    labelled: Floats  # those of the labelled questions


def make_index(
    encoder: Encoder,
    entries: list[Entry],
    *,
    trial: EncoderTrial | None = None,
    labelled: Sequence[Labelled] = (),
    precision_target: float,
    on_progress: EmbedProgress,
    cascade: bool = True,
    most_exact: int = MOST_EXACT,
) -> IndexResult:
    """Embed all that is known, fit the index, calibrate it; fit a cascade if wanted and worth it.

    Calibration compares with every row, however many there are; with more phrasings than
    `most_exact` cells are made for those who answer.

    With a trial, whatever is chosen is chosen and calibrated by the trial's encoder on what
    was held out from it: the phrasings that an encoder was tuned on flatter it.
    """
    knowledge = KnowledgeBase.of(entries)
    read = _read(trial.encoder if trial else encoder, knowledge, labelled, on_progress)
    lexicon = lexical.learn(read.rows.texts[: read.rows.phrasings])
    if trial is None:
        fitted, rows = fit(read.rows, lexicon), read.rows
        index = fitted.index
    else:
        fitted = try_out(read.rows, lexicon, trial.held_out)
        rows = _rows(knowledge, embed(encoder, knowledge.rows, on_progress))
        index = fit_index(rows, lexicon, fitted.index.parameters)
    far, are_far = _out_of_scope(fitted, read.out_of_scope_questions, read.out_of_scope)
    expected = _expected(entries, labelled)
    cases = _cases(fitted, far, labelled, expected, read)
    calibration = calibrate(cases, precision_target)
    large = index.head is None and rows.phrasings > most_exact
    cells = IvfIndex.of(rows.embeddings) if large else None
    if not cascade:
        return IndexResult(index, rows.embeddings, calibration, CascadeResult.unwanted(), cells)
    exam = CascadeInputs(
        read.rows,
        trial.held_out if trial else None,
        fitted,
        cases,
        calibration,
        out_of_scope=[normalize_for_match(read.out_of_scope_questions[place]) for place in are_far],
        labelled=[normalize_for_match(question.question) for question in labelled],
        expected=expected,
    )
    made = make_cascade(exam, precision_target)
    return IndexResult(index, rows.embeddings, calibration, made, cells)


def _read(
    encoder: Encoder,
    knowledge: KnowledgeBase,
    labelled: Sequence[Labelled],
    on_progress: EmbedProgress,
) -> _Read:
    far = read_out_of_scope_questions()
    asked = [question.question for question in labelled]
    read = embed(encoder, [*knowledge.rows, *far, *asked], on_progress)
    of_rows, of_far, of_asked = np.split(read, np.cumsum([len(knowledge.rows), len(far)]))
    return _Read(_rows(knowledge, of_rows), far, of_far, of_asked)


def _rows(knowledge: KnowledgeBase, embeddings: Floats) -> Rows:
    return Rows(
        np.asarray(knowledge.row_entries, np.int64),
        [normalize_for_match(text) for text in knowledge.rows],
        len(knowledge.phrasings),
        embeddings,
    )


def _cases(
    fitted: Fitted,
    far: LabelledPredictions,
    labelled: Sequence[Labelled],
    expected: Sequence[frozenset[int]],
    read: _Read,
) -> CalibrationSet:
    texts = [normalize_for_match(question.question) for question in labelled]
    return CalibrationSet(
        known=fitted.known,
        near=fitted.missing,
        out_of_scope=far,
        labelled=predict_as_new(fitted.index, texts, read.labelled, expected),
        labelled_in_scope=np.array([bool(question.expected) for question in labelled], bool),
    )


def _out_of_scope(
    fitted: Fitted, texts: Sequence[str], embeddings: Floats
) -> tuple[LabelledPredictions, Ints]:
    """Ask the far questions; return what came of those that are far, and their places."""
    nothing: list[frozenset[int]] = [frozenset()] * len(texts)
    asked = predict_as_new(
        fitted.index, [normalize_for_match(text) for text in texts], embeddings, nothing
    )
    far = np.flatnonzero(asked.features[:, _NEAREST] < _HAS_AN_ENTRY)
    return LabelledPredictions(asked.features[far], asked.right[far]), far


def _expected(entries: list[Entry], labelled: Sequence[Labelled]) -> list[frozenset[int]]:
    place = {entry.id: i for i, entry in enumerate(entries)}
    return [frozenset(place[id_] for id_ in question.expected) for question in labelled]
