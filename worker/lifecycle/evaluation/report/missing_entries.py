"""Questions that have no entry, in clusters that suggest new entries.

Questions labelled as far from the knowledge base are left out. Questions that were answered
nevertheless count as well, because their answers were wrong.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from core.domain.result import Answer, Status
from worker.inference.passes import form_passes
from worker.lifecycle.evaluation.report.clusters import MAX_QUESTIONS, cluster
from worker.lifecycle.inputs.labelled_questions import Labelled, QuestionScope
from worker.text.normalization import normalize_for_match

if TYPE_CHECKING:
    from worker.inference.protocol import AnsweringModel
    from worker.lifecycle.evaluation.report.clusters import Floats


@dataclass(frozen=True)
class MissingEntry:
    """Questions that one new entry might answer."""

    size: int
    answered: int  # wrongly
    words: list[str]  # distinctive words
    central: list[str]  # the questions closest to the center


@dataclass(frozen=True)
class MissingEntries:
    """The clusters of questions without an entry."""

    questions: int
    clustered: int  # fewer than `questions` if there are too many
    groups: list[MissingEntry]  # the largest first


def find_missing_entries(
    model: AnsweringModel,
    labelled: Sequence[Labelled],
    answers: Sequence[Answer],
    question_chars: int,
) -> MissingEntries:
    """Cluster the questions that have no entry.

    Args:
        model: the version, for embeddings.
        labelled: the questions.
        answers: the answers, in the same order.
        question_chars: longest question, in characters; a longer one has no embedding.
    """
    questions = _without_entry(labelled, answers, question_chars)
    sample = [questions[i] for i in _spread(len(questions))]
    texts = [text for text, _ in sample]
    groups = [
        MissingEntry(
            size=len(group.members),
            answered=sum(sample[i][1] for i in group.members),
            words=group.words,
            central=[texts[i] for i in group.central],
        )
        for group in (cluster(texts, _embed(model, texts)) if texts else [])
    ]
    return MissingEntries(len(questions), len(sample), groups)


def _without_entry(
    labelled: Sequence[Labelled], answers: Sequence[Answer], question_chars: int
) -> list[tuple[str, bool]]:
    """Return near questions without an entry, and True if answered."""
    return [
        (row.question, answer.status is Status.ANSWERED)
        for row, answer in zip(labelled, answers, strict=True)
        if not row.expected
        and row.scope is not QuestionScope.FAR
        and len(row.question) <= question_chars
        and normalize_for_match(row.question)
    ]


def _spread(count: int) -> list[int]:
    """Return at most `MAX_QUESTIONS` indexes below `count`, evenly spread."""
    step = max(1.0, count / MAX_QUESTIONS)
    return [int(number * step) for number in range(min(count, MAX_QUESTIONS))]


def _embed(model: AnsweringModel, texts: Sequence[str]) -> Floats:
    tokens = model.tokenize(texts)
    rows: list[Floats] = [np.empty(0, np.float32)] * len(texts)
    for members in form_passes([len(ids) for ids in tokens], model.budget):
        embeddings = model.encode([tokens[i] for i in members])
        for i, row in zip(members, embeddings, strict=True):
            rows[i] = row
    return np.stack(rows)
