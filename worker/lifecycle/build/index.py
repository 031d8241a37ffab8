"""A calibrated index from a knowledge base and an encoder.

The encoder reads all texts here: every phrasing and answer text, the out-of-scope questions,
and the labelled questions if there are any. Then the index is fitted and calibrated, and the
cascade is fitted.

Not covered: training of the encoder, and the bundle's files (`build_bundle`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from worker.lifecycle.build.calibrate import Calibration, CalibrationSet, calibrate
from worker.lifecycle.build.cascade import CascadeInputs, CascadeResult, make_cascade
from worker.lifecycle.build.fit import (
    FittedIndex,
    Flags,
    LabelledPredictions,
    Rows,
    fit,
    fit_index,
    fit_trial,
    predict_as_new,
)
from worker.lifecycle.build.options import BuildOptions
from worker.lifecycle.inputs.labelled_questions import Labelled
from worker.lifecycle.inputs.out_of_scope_questions import read_out_of_scope_questions
from worker.model.bundle.bundle import Entry
from worker.model.encoder.base import Encoder
from worker.model.encoder.embed import EmbedProgress, embed
from worker.model.retrieval import lexicon as lexicons
from worker.model.retrieval.index import Floats, Index
from worker.model.retrieval.ivf import IvfIndex
from worker.model.retrieval.knowledge_base import KnowledgeBase
from worker.text.normalization import normalize_for_match

# An out-of-scope question that is more similar to a row than this may have an entry here.
_MAX_SIMILARITY = 0.7
_NEAREST = 2  # the column of the features that holds the similarity of the nearest row


@dataclass(frozen=True)
class IndexResult:
    """An index, the embeddings of its rows, its calibration and its cascade."""

    index: Index
    embeddings: Floats  # (rows, dimensions)
    calibration: Calibration
    cascade: CascadeResult
    ivf: IvfIndex | None = None  # with too many rows for exact search


@dataclass(frozen=True)
class EncoderTrial:
    """An encoder that was tuned without some phrasings, and those phrasings."""

    encoder: Encoder
    held_out: Flags  # (phrasings,)


@dataclass(frozen=True)
class _Embedded:
    """The texts that an encoder has read, with their embeddings."""

    rows: Rows
    out_of_scope: list[str]  # normalized
    out_of_scope_embeddings: Floats
    labelled: list[str]  # normalized
    labelled_embeddings: Floats


def make_index(
    encoder: Encoder,
    entries: list[Entry],
    options: BuildOptions,
    *,
    trial: EncoderTrial | None = None,
    on_progress: EmbedProgress,
) -> IndexResult:
    """Embed all texts, fit and calibrate the index, and fit the cascade.

    Calibration uses exact search at any size. An IVF index for faster search is added if
    there are more phrasings than `options.max_exact_search`.

    With a trial, parameters and calibration come from the trial's encoder and its held-out
    phrasings, because an encoder looks too good on the phrasings that it was tuned on.
    """
    knowledge = KnowledgeBase.of(entries)
    embedded = _embed_all(
        trial.encoder if trial else encoder, knowledge, options.labelled, on_progress
    )
    lexicon = lexicons.learn(embedded.rows.texts[: embedded.rows.phrasings])
    if trial is None:
        fitted, rows = fit(embedded.rows, lexicon), embedded.rows
        index = fitted.index
    else:
        fitted = fit_trial(embedded.rows, lexicon, trial.held_out)
        rows = _rows(knowledge, embed(encoder, knowledge.rows, on_progress))
        index = fit_index(rows, lexicon, fitted.index.parameters)
    inputs = _calibrated(embedded, fitted, trial, _expected(entries, options.labelled), options)
    cascade = (
        make_cascade(inputs, options.precision_target)
        if options.cascade
        else CascadeResult.disabled()
    )
    large = index.head is None and rows.phrasings > options.max_exact_search
    ivf = IvfIndex.of(rows.embeddings) if large else None
    return IndexResult(index, rows.embeddings, inputs.index, cascade, ivf)


def _embed_all(
    encoder: Encoder,
    knowledge: KnowledgeBase,
    labelled: Sequence[Labelled],
    on_progress: EmbedProgress,
) -> _Embedded:
    out_of_scope = read_out_of_scope_questions()
    questions = [question.question for question in labelled]
    embeddings = embed(encoder, [*knowledge.rows, *out_of_scope, *questions], on_progress)
    ends = np.cumsum([len(knowledge.rows), len(out_of_scope)])
    of_rows, of_out_of_scope, of_labelled = np.split(embeddings, ends)
    return _Embedded(
        _rows(knowledge, of_rows),
        [normalize_for_match(text) for text in out_of_scope],
        of_out_of_scope,
        [normalize_for_match(text) for text in questions],
        of_labelled,
    )


def _rows(knowledge: KnowledgeBase, embeddings: Floats) -> Rows:
    return Rows(
        np.asarray(knowledge.row_entries, np.int64),
        [normalize_for_match(text) for text in knowledge.rows],
        len(knowledge.phrasings),
        embeddings,
    )


def _calibrated(
    embedded: _Embedded,
    fitted: FittedIndex,
    trial: EncoderTrial | None,
    expected: Sequence[frozenset[int]],
    options: BuildOptions,
) -> CascadeInputs:
    """Calibrate the index, and return the calibration and its questions."""
    out_of_scope, texts = _out_of_scope(fitted.index, embedded)
    questions = CalibrationSet(
        known=fitted.known,
        near=fitted.near,
        out_of_scope=out_of_scope,
        labelled=predict_as_new(
            fitted.index, embedded.labelled, embedded.labelled_embeddings, expected
        ),
        labelled_in_scope=np.array([bool(entries) for entries in expected], bool),
    )
    return CascadeInputs(
        embedded.rows,
        trial.held_out if trial else None,
        fitted,
        questions,
        calibrate(questions, options.precision_target),
        out_of_scope=texts,
        labelled=embedded.labelled,
        expected=expected,
    )


def _out_of_scope(index: Index, embedded: _Embedded) -> tuple[LabelledPredictions, list[str]]:
    """Return the predictions and texts of the out-of-scope questions.

    Questions that resemble a row are left out.
    """
    texts = embedded.out_of_scope
    nothing: list[frozenset[int]] = [frozenset()] * len(texts)
    predictions = predict_as_new(index, texts, embedded.out_of_scope_embeddings, nothing)
    kept = np.flatnonzero(predictions.features[:, _NEAREST] < _MAX_SIMILARITY)
    return (
        LabelledPredictions(predictions.features[kept], predictions.right[kept]),
        [texts[i] for i in kept],
    )


def _expected(entries: list[Entry], labelled: Sequence[Labelled]) -> list[frozenset[int]]:
    index_of = {entry.id: i for i, entry in enumerate(entries)}
    return [frozenset(index_of[id_] for id_ in question.expected) for question in labelled]
