"""A loaded model version: what a worker holds, and how it decides.

First a phrasing that the question equals, then the entry that fits best. Below the
threshold a question is handed off, with the reason; the best entry is kept, so that a human
sees it. A text of several sentences that is not understood as a whole is read part by part.
Every question is decided by itself.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from core.domain.handoff import Reason
from core.domain.result import Answer, AnswerSource, RunnerUp, Status
from worker.inference.passes import form_passes
from worker.inference.protocol import PassBudget
from worker.model.cascade.classifier import Cascade
from worker.model.encoder.base import Encoder
from worker.model.prediction import Prediction, predictions
from worker.model.retrieval.confidence import Confidence
from worker.model.retrieval.index import BLOCK, Floats, Index
from worker.model.retrieval.knowledge_base import KnowledgeBase, is_small_talk
from worker.model.retrieval.shortlist import Shortlist
from worker.model.thread_pool import ThreadPool
from worker.text.language_id import language
from worker.text.normalization import normalize_for_match, sentences

EVENS = 0.5  # of a chance


@dataclass(frozen=True)
class LoadedModel:
    """One model version, ready to answer."""

    version: str  # NAME@NUMBER
    kind: str  # of encoder: its engine and its precision
    encoder: Encoder
    index: Index | Shortlist
    knowledge: KnowledgeBase
    confidence: Confidence
    threshold: float
    languages: frozenset[str]  # ISO 639-1, that the knowledge base speaks
    budget: PassBudget
    cascade: Cascade | None = None
    scope_cut: float = EVENS  # with less scope, what is handed off is out of scope
    runners_up: int = 0  # stored with every result
    pool: ThreadPool = field(default_factory=ThreadPool)
    rates: Mapping[int, float] = field(
        default_factory=dict
    )  # measured: `worker.inference.pass_size`

    def answer_without_encoder(self, texts: Sequence[str]) -> list[Answer | None]:
        """Return the answers that need no pass, None for the other texts."""
        answers = [self._at_once(text) for text in texts]
        left = [place for place, answer in enumerate(answers) if answer is None]
        if self.cascade is not None and left:
            cascade, plain = self.cascade, [normalize_for_match(texts[i]) for i in left]
            told = self.pool.share(
                lambda part: cascade.classify(plain[part], self._ranks), len(left), BLOCK
            )
            for place, verdict in zip(left, told, strict=True):
                if verdict.confidence >= max(cascade.confidence_threshold, self.threshold):
                    answers[place] = self._answer(verdict, AnswerSource.CASCADE)
        return answers

    def tokenize(self, texts: Sequence[str]) -> list[list[int]]:
        """Return the tokens of each text, the longest texts cut."""
        return self.encoder.tokenize(texts)

    def encode(self, tokens: Sequence[Sequence[int]]) -> Floats:
        """Run one pass: (questions, dimensions)."""
        return self.encoder.encode(tokens)

    def decide(self, texts: Sequence[str], embeddings: Floats) -> list[Answer]:
        """Return an answer for each text and its embedding."""
        verdicts = self.predict(texts, embeddings)
        pairs = list(zip(texts, verdicts, strict=True))
        known = [self._known(*pair) for pair in pairs]
        unclear = [text for text, answer in zip(texts, known, strict=True) if answer is None]
        meant = self._parts(unclear)
        return [
            answer or self._by_parts(meant[pair[0]]) or self._hand_off(pair[1], self._reason(*pair))
            for pair, answer in zip(pairs, known, strict=True)
        ]

    def predict(self, texts: Sequence[str], embeddings: Floats) -> list[Prediction]:
        """Return what the index says of each text and its embedding."""
        plain = [normalize_for_match(text) for text in texts]

        def work(part: slice) -> list[Prediction]:
            evidence = self.index.search(plain[part], embeddings[part], self._ranks)
            return predictions(evidence, *self.confidence.estimate(evidence))

        return self.pool.share(work, len(plain), BLOCK)

    @property
    def _ranks(self) -> int:
        return 1 + max(1, self.runners_up)

    def _at_once(self, text: str) -> Answer | None:
        equal = self._equal(text)
        if equal is not None:
            return self._answer(equal, AnswerSource.PHRASING)
        return None if normalize_for_match(text) else Answer(Status.HANDED_OFF, reason=Reason.EMPTY)

    def _equal(self, text: str) -> Prediction | None:
        place = self.knowledge.equal(text)
        if place is None:
            return None
        return Prediction([(self.knowledge.entry_of[place], place, 1.0)], 1.0, 1.0)

    def _known(self, text: str, verdict: Prediction) -> Answer | None:
        answer = self._at_once(text)
        if answer is not None:
            return answer
        return self._answer(verdict) if verdict.confidence >= self.threshold else None

    def _parts(self, texts: Sequence[str]) -> dict[str, list[Prediction | None]]:
        """Return what each part of each text means, None where it is not clear by itself.

        The parts of all texts go in passes together. A text of one part has none.
        """
        parts = {text: found if len(found := sentences(text)) > 1 else [] for text in texts}
        different = list(dict.fromkeys(part for found in parts.values() for part in found))
        meant = {part: self._equal(part) for part in different}
        unknown = [part for part in different if meant[part] is None]
        tokens = self.tokenize(unknown) if unknown else []
        for members in form_passes([len(ids) for ids in tokens], self.budget):
            asked = [unknown[i] for i in members]
            told = self.predict(asked, self.encode([tokens[i] for i in members]))
            clear = (verdict if verdict.confidence >= self.threshold else None for verdict in told)
            meant.update(zip(asked, clear, strict=True))
        return {text: [meant[part] for part in found] for text, found in parts.items()}

    def _by_parts(self, parts: Sequence[Prediction | None]) -> Answer | None:
        """Return what is clear part by part: one answer beside small talk, or several."""
        clear = [found for found in parts if found]
        meant = {found.ranked[0][0]: found for found in clear if not self._is_small_talk(found)}
        if len(meant) > 1:
            first, *others = meant.values()
            return self._hand_off(first, Reason.SEVERAL_QUESTIONS, others)
        if meant and len(clear) == len(parts):
            return self._answer(next(iter(meant.values())))
        return None

    def _is_small_talk(self, verdict: Prediction) -> bool:
        return is_small_talk(self.knowledge.entries[verdict.ranked[0][0]])

    def _reason(self, text: str, verdict: Prediction) -> Reason:
        if verdict.in_scope_probability >= self.scope_cut:
            return Reason.AMBIGUOUS
        spoken = language(text)
        foreign = spoken is not None and spoken not in self.languages
        return Reason.WRONG_LANGUAGE if foreign else Reason.OUT_OF_SCOPE

    def _answer(self, verdict: Prediction, via: AnswerSource = AnswerSource.PASS) -> Answer:
        entry = self.knowledge.entries[verdict.ranked[0][0]]
        return Answer(
            Status.ANSWERED,
            entry.answer,
            entry.id,
            self.knowledge.phrasings[verdict.ranked[0][1]],
            verdict.confidence,
            url=entry.url,
            runners_up=self._candidates(verdict.ranked[1 : 1 + self.runners_up]),
            scope=verdict.in_scope_probability,
            via=via,
        )

    def _hand_off(
        self, verdict: Prediction, reason: Reason, others: Sequence[Prediction] = ()
    ) -> Answer:
        entry = self.knowledge.entries[verdict.ranked[0][0]]
        named = 1 if reason is Reason.AMBIGUOUS else 0
        beside = [other.ranked[0] for other in others]
        beside += verdict.ranked[1 : 1 + max(named, self.runners_up)]
        return Answer(
            Status.HANDED_OFF,
            None,
            entry.id,
            self.knowledge.phrasings[verdict.ranked[0][1]],
            verdict.confidence,
            reason=reason,
            url=entry.url,
            runners_up=self._candidates(beside),
            scope=verdict.in_scope_probability,
            via=AnswerSource.PASS,
        )

    def _candidates(self, ranked: list[tuple[int, int, float]]) -> tuple[RunnerUp, ...] | None:
        entries, phrasings = self.knowledge.entries, self.knowledge.phrasings
        named = {
            entry: RunnerUp(entries[entry].id, phrasings[phrasing], score)
            for entry, phrasing, score in ranked
        }
        return tuple(named.values()) or None
