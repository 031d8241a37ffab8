"""Answers and hand-offs, built from predictions.

`worker.model.loaded_model` makes the decision. This module fills in its result: the text of the
entry, the matched phrasing, the runners-up, and the reason of a hand-off. A hand-off names the
best entry, so that an agent sees it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from core.domain.handoff import Reason
from core.domain.result import Answer, AnswerSource, RunnerUp, Status
from worker.model.prediction import Prediction, RankedEntry
from worker.model.retrieval.knowledge_base import KnowledgeBase, is_small_talk
from worker.text.language_id import language
from worker.text.normalization import normalize_for_match


@dataclass(frozen=True)
class AnswerBuilder:
    """The parts of a model version that the content of an answer depends on."""

    knowledge: KnowledgeBase
    languages: frozenset[str]  # ISO 639-1, of the knowledge base
    scope_threshold: float  # a hand-off with a lower in-scope probability is out of scope
    runners_up: int  # stored with every result

    def exact(self, text: str) -> Prediction | None:
        """Return a certain prediction if the text equals a phrasing, else None."""
        phrasing = self.knowledge.equal(text)
        if phrasing is None:
            return None
        return Prediction([(self.knowledge.entry_of[phrasing], phrasing, 1.0)], 1.0, 1.0)

    def without_prediction(self, text: str) -> Answer | None:
        """Return the answer to a known phrasing or an unreadable text, else None."""
        exact = self.exact(text)
        if exact is not None:
            return self.answered(exact, AnswerSource.PHRASING)
        return None if normalize_for_match(text) else Answer(Status.HANDED_OFF, reason=Reason.EMPTY)

    def answered(self, prediction: Prediction, via: AnswerSource = AnswerSource.PASS) -> Answer:
        """Return the answer of the best entry."""
        entry, phrasing, _ = prediction.ranked[0]
        best = self.knowledge.entries[entry]
        return Answer(
            Status.ANSWERED,
            best.answer,
            best.id,
            self.knowledge.phrasings[phrasing],
            prediction.confidence,
            url=best.url,
            runners_up=self._runners_up(prediction.ranked[1 : 1 + self.runners_up]),
            in_scope_probability=prediction.in_scope_probability,
            via=via,
        )

    def handed_off(
        self, prediction: Prediction, reason: Reason, others: Sequence[Prediction] = ()
    ) -> Answer:
        """Return a hand-off with the best entry of each prediction."""
        entry, phrasing, _ = prediction.ranked[0]
        best = self.knowledge.entries[entry]
        at_least = 1 if reason is Reason.AMBIGUOUS else 0
        candidates = [other.ranked[0] for other in others]
        candidates += prediction.ranked[1 : 1 + max(at_least, self.runners_up)]
        return Answer(
            Status.HANDED_OFF,
            None,
            best.id,
            self.knowledge.phrasings[phrasing],
            prediction.confidence,
            reason=reason,
            url=best.url,
            runners_up=self._runners_up(candidates),
            in_scope_probability=prediction.in_scope_probability,
            via=AnswerSource.PASS,
        )

    def reason(self, text: str, prediction: Prediction) -> Reason:
        """Return the reason to hand off a text with too little confidence."""
        if prediction.in_scope_probability >= self.scope_threshold:
            return Reason.AMBIGUOUS
        detected = language(text)
        is_foreign = detected is not None and detected not in self.languages
        return Reason.WRONG_LANGUAGE if is_foreign else Reason.OUT_OF_SCOPE

    def is_small_talk(self, prediction: Prediction) -> bool:
        """Return whether the best entry is small talk."""
        return is_small_talk(self.knowledge.entries[prediction.ranked[0][0]])

    def _runners_up(self, candidates: Sequence[RankedEntry]) -> tuple[RunnerUp, ...] | None:
        entries, phrasings = self.knowledge.entries, self.knowledge.phrasings
        by_entry = {
            entry: RunnerUp(entries[entry].id, phrasings[phrasing], score)
            for entry, phrasing, score in candidates
        }
        return tuple(by_entry.values()) or None
