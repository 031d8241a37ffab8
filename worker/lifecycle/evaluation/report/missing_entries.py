"""The questions that most need a new entry: those that have none, in clusters.

Where the file tells that a question is far from the knowledge base it is left out. Those
that were answered all the same count as well: their answers were wrong.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from core.domain.result import Answer, Status
from worker.inference.passes import form_passes
from worker.lifecycle.evaluation.report.clusters import MOST, cluster
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
    words: list[str]  # what tells them from the others
    central: list[str]  # the questions most like the rest


@dataclass(frozen=True)
class MissingEntries:
    """What the knowledge base lacks."""

    questions: int
    clustered: int  # fewer where there are very many
    groups: list[MissingEntry]  # the largest first


def find_missing_entries(
    model: AnsweringModel,
    labelled: Sequence[Labelled],
    answers: Sequence[Answer],
    question_chars: int,
) -> MissingEntries:
    """Cluster the questions that have no entry.

    Args:
        model: embeds them.
        labelled: the questions.
        answers: what came, in the same order.
        question_chars: longer ones are left out, as nobody embeds them.
    """
    lacking = [
        (row.question, answer.status is Status.ANSWERED)
        for row, answer in zip(labelled, answers, strict=True)
        if not row.expected
        and row.scope is not QuestionScope.FAR
        and len(row.question) <= question_chars
        and normalize_for_match(row.question)
    ]
    picked = [lacking[place] for place in _spread(len(lacking))]
    texts = [text for text, _ in picked]
    groups = [
        MissingEntry(
            size=len(found.members),
            answered=sum(picked[place][1] for place in found.members),
            words=found.words,
            central=[texts[place] for place in found.central],
        )
        for found in (cluster(texts, _embed(model, texts)) if texts else [])
    ]
    return MissingEntries(len(lacking), len(picked), groups)


def _spread(count: int) -> list[int]:
    """Return at most `MOST` places among so many, evenly spread."""
    step = max(1.0, count / MOST)
    return [int(place * step) for place in range(min(count, MOST))]


def _embed(model: AnsweringModel, texts: Sequence[str]) -> Floats:
    tokens = model.tokenize(texts)
    rows: list[Floats] = [np.empty(0, np.float32)] * len(texts)
    for members in form_passes([len(ids) for ids in tokens], model.budget):
        for place, row in zip(members, model.encode([tokens[i] for i in members]), strict=True):
            rows[place] = row
    return np.stack(rows)
