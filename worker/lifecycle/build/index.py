"""From a knowledge base and an encoder to a calibrated index.

Whatever is read by the encoder is read here: every phrasing and answer text, the far
questions, and the labelled questions if there are any.
"""

from __future__ import annotations
from worker.model.encoder.embed import Progress
from worker.model.encoder.embed import embed

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from worker.lifecycle.build.calibrate import Calibration, Cases, calibrate
from worker.lifecycle.build.cascade import Exam, Made, make_cascade
from worker.lifecycle.inputs.out_of_scope_questions import read_far_questions
from worker.lifecycle.build.fit import Asked, Fitted, Flags, Rows, ask, fit, fit_index, try_out
from worker.lifecycle.inputs.labelled_questions import Labelled
from worker.model.retrieval import lexicon as lexical
from worker.model.bundle.bundle import Entry
from worker.model.retrieval.ivf import Cells
from worker.model.encoder.base import Encoder
from worker.model.retrieval.knowledge_base import Knowledge
from worker.model.retrieval.index import Floats, Index, Ints
from worker.text.normalization import normalise
from worker.inference.passes import form_passes


# A far question that resembles a row more than this may have an entry here.
_HAS_AN_ENTRY = 0.7
_NEAREST = 2  # the column of the features

# Beyond so many phrasings each question is compared with a shortlist (docs/log.md).
MOST_EXACT = 100_000


@dataclass(frozen=True)
class Indexed:
    """An index, the embeddings that it was made of, and what calibration says of it."""

    index: Index
    embeddings: Floats  # (rows, dimensions)
    calibration: Calibration
    cascade: Made
    cells: Cells | None = None  # where there are too many rows to compare with each


@dataclass(frozen=True)
class Trial:
    """An encoder that was tuned without some phrasings, which can be asked therefore."""

    encoder: Encoder
    held_out: Flags  # (phrasings,)


@dataclass(frozen=True)
class _Read:
    """What an encoder has read."""

    rows: Rows
    far_questions: list[str]
    far: Floats  # their embeddings
    labelled: Floats  # those of the labelled questions


def make_index(
    encoder: Encoder,
    entries: list[Entry],
    *,
    trial: Trial | None = None,
    labelled: Sequence[Labelled] = (),
    precision_target: float,
    on_progress: Progress,
    cascade: bool = True,
    most_exact: int = MOST_EXACT,
) -> Indexed:
    """Embed all that is known, fit the index, calibrate it; fit a cascade if wanted and worth it.

    Calibration compares with every row, however many there are; with more phrasings than
    `most_exact` cells are made for those who answer.

    With a trial, whatever is chosen is chosen and calibrated by the trial's encoder on what
    was held out from it: the phrasings that an encoder was tuned on flatter it.
    """
    knowledge = Knowledge.of(entries)
    read = _read(trial.encoder if trial else encoder, knowledge, labelled, on_progress)
    lexicon = lexical.learn(read.rows.texts[: read.rows.phrasings])
    if trial is None:
        fitted, rows = fit(read.rows, lexicon), read.rows
        index = fitted.index
    else:
        fitted = try_out(read.rows, lexicon, trial.held_out)
        rows = _rows(knowledge, embed(encoder, knowledge.rows, on_progress))
        index = fit_index(rows, lexicon, fitted.index.parameters)
    far, are_far = _far(fitted, read.far_questions, read.far)
    expected = _expected(entries, labelled)
    cases = _cases(fitted, far, labelled, expected, read)
    calibration = calibrate(cases, precision_target)
    large = index.head is None and rows.phrasings > most_exact
    cells = Cells.of(rows.embeddings) if large else None
    if not cascade:
        return Indexed(index, rows.embeddings, calibration, Made.unwanted(), cells)
    exam = Exam(
        read.rows,
        trial.held_out if trial else None,
        fitted,
        cases,
        calibration,
        far=[normalise(read.far_questions[place]) for place in are_far],
        labelled=[normalise(question.question) for question in labelled],
        expected=expected,
    )
    made = make_cascade(exam, precision_target)
    return Indexed(index, rows.embeddings, calibration, made, cells)


def _read(
    encoder: Encoder,
    knowledge: Knowledge,
    labelled: Sequence[Labelled],
    on_progress: Progress,
) -> _Read:
    far = read_far_questions()
    asked = [question.question for question in labelled]
    read = embed(encoder, [*knowledge.rows, *far, *asked], on_progress)
    of_rows, of_far, of_asked = np.split(read, np.cumsum([len(knowledge.rows), len(far)]))
    return _Read(_rows(knowledge, of_rows), far, of_far, of_asked)


def _rows(knowledge: Knowledge, embeddings: Floats) -> Rows:
    return Rows(
        np.asarray(knowledge.row_entries, np.int64),
        [normalise(text) for text in knowledge.rows],
        len(knowledge.phrasings),
        embeddings,
    )


def _cases(
    fitted: Fitted,
    far: Asked,
    labelled: Sequence[Labelled],
    expected: Sequence[frozenset[int]],
    read: _Read,
) -> Cases:
    texts = [normalise(question.question) for question in labelled]
    return Cases(
        known=fitted.known,
        near=fitted.missing,
        far=far,
        labelled=ask(fitted.index, texts, read.labelled, expected),
        labelled_in_scope=np.array([bool(question.expected) for question in labelled], bool),
    )




def _far(fitted: Fitted, texts: Sequence[str], embeddings: Floats) -> tuple[Asked, Ints]:
    """Ask the far questions; return what came of those that are far, and their places."""
    nothing: list[frozenset[int]] = [frozenset()] * len(texts)
    asked = ask(fitted.index, [normalise(text) for text in texts], embeddings, nothing)
    far = np.flatnonzero(asked.features[:, _NEAREST] < _HAS_AN_ENTRY)
    return Asked(asked.features[far], asked.right[far]), far


def _expected(entries: list[Entry], labelled: Sequence[Labelled]) -> list[frozenset[int]]:
    place = {entry.id: i for i, entry in enumerate(entries)}
    return [frozenset(place[id_] for id_ in question.expected) for question in labelled]
