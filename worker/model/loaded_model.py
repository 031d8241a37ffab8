"""A loaded model version, and how it decides between answer and hand-off.

A question that equals a phrasing is answered. Otherwise the best entry is answered if its
confidence is at least the threshold. A text of several sentences that is not clear as a whole
is decided sentence by sentence. Every other question is handed off. No decision depends on the
other questions of a pass. Not covered: the content of an answer
(`worker.model.answer_builder`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property

from core.domain.handoff import Reason
from core.domain.result import Answer, AnswerSource
from worker.inference.passes import form_passes
from worker.inference.protocol import PassBudget
from worker.model.answer_builder import AnswerBuilder
from worker.model.cascade.classifier import Cascade
from worker.model.encoder.base import Encoder
from worker.model.prediction import Prediction, predictions
from worker.model.retrieval.confidence import Confidence
from worker.model.retrieval.index import BLOCK, Floats, Index
from worker.model.retrieval.knowledge_base import KnowledgeBase
from worker.model.retrieval.shortlist import Shortlist
from worker.model.thread_pool import ThreadPool
from worker.text.normalization import normalize_for_match, sentences

DEFAULT_SCOPE_THRESHOLD = 0.5  # even odds


@dataclass(frozen=True)
class LoadedModel:
    """One model version, ready to answer."""

    version: str  # NAME@NUMBER
    kind: str  # engine and precision of the encoder
    encoder: Encoder
    index: Index | Shortlist
    knowledge: KnowledgeBase
    confidence: Confidence
    threshold: float
    languages: frozenset[str]  # ISO 639-1, of the knowledge base
    budget: PassBudget
    cascade: Cascade | None = None
    scope_threshold: float = DEFAULT_SCOPE_THRESHOLD  # see `AnswerBuilder`
    runners_up: int = 0  # stored with every result
    pool: ThreadPool = field(default_factory=ThreadPool)
    # Questions/s by the questions of a pass, as `worker.inference.pass_size` measured them.
    rates: Mapping[int, float] = field(default_factory=dict)

    def answer_without_encoder(self, texts: Sequence[str]) -> list[Answer | None]:
        """Return the answers that need no pass, None for the other texts."""
        answers = [self._builder.without_prediction(text) for text in texts]
        open_positions = [i for i, answer in enumerate(answers) if answer is None]
        if self.cascade is not None and open_positions:
            cascade = self.cascade
            threshold = max(cascade.confidence_threshold, self.threshold)
            plain = [normalize_for_match(texts[i]) for i in open_positions]
            cheap = self.pool.share(
                lambda part: cascade.classify(plain[part], self._ranks), len(plain), BLOCK
            )
            for position, prediction in zip(open_positions, cheap, strict=True):
                if prediction.confidence >= threshold:
                    answers[position] = self._builder.answered(prediction, AnswerSource.CASCADE)
        return answers

    def tokenize(self, texts: Sequence[str]) -> list[list[int]]:
        """Return the tokens of each text, the longest texts truncated."""
        return self.encoder.tokenize(texts)

    def encode(self, tokens: Sequence[Sequence[int]]) -> Floats:
        """Run one pass: (questions, dimensions)."""
        return self.encoder.encode(tokens)

    def decide(self, texts: Sequence[str], embeddings: Floats) -> list[Answer]:
        """Return an answer for each text and its embedding."""
        pairs = list(zip(texts, self.predict(texts, embeddings), strict=True))
        clear = [self._clear_answer(*pair) for pair in pairs]
        unclear = [text for text, answer in zip(texts, clear, strict=True) if answer is None]
        by_text = self._predict_sentences(unclear)
        return [
            answer or self._answer_by_sentences(by_text[pair[0]]) or self._unclear_hand_off(*pair)
            for pair, answer in zip(pairs, clear, strict=True)
        ]

    def predict(self, texts: Sequence[str], embeddings: Floats) -> list[Prediction]:
        """Return the prediction of the index for each text and its embedding."""
        plain = [normalize_for_match(text) for text in texts]

        def predict_part(part: slice) -> list[Prediction]:
            result = self.index.search(plain[part], embeddings[part], self._ranks)
            return predictions(result, *self.confidence.estimate(result))

        return self.pool.share(predict_part, len(plain), BLOCK)

    @cached_property
    def _builder(self) -> AnswerBuilder:
        return AnswerBuilder(self.knowledge, self.languages, self.scope_threshold, self.runners_up)

    @property
    def _ranks(self) -> int:
        return 1 + max(1, self.runners_up)

    def _clear_answer(self, text: str, prediction: Prediction) -> Answer | None:
        answer = self._builder.without_prediction(text)
        if answer is not None:
            return answer
        is_clear = prediction.confidence >= self.threshold
        return self._builder.answered(prediction) if is_clear else None

    def _unclear_hand_off(self, text: str, prediction: Prediction) -> Answer:
        return self._builder.handed_off(prediction, self._builder.reason(text, prediction))

    def _predict_sentences(self, texts: Sequence[str]) -> dict[str, list[Prediction | None]]:
        """Return the prediction for each sentence of each text, None if unclear.

        The sentences of all texts share passes. A text of one sentence gets an empty list.
        """
        split = {text: parts if len(parts := sentences(text)) > 1 else [] for text in texts}
        distinct = list(dict.fromkeys(part for parts in split.values() for part in parts))
        by_sentence = {part: self._builder.exact(part) for part in distinct}
        unknown = [part for part in distinct if by_sentence[part] is None]
        tokens = self.tokenize(unknown) if unknown else []
        for members in form_passes([len(ids) for ids in tokens], self.budget):
            in_pass = [unknown[i] for i in members]
            results = self.predict(in_pass, self.encode([tokens[i] for i in members]))
            clear = (each if each.confidence >= self.threshold else None for each in results)
            by_sentence.update(zip(in_pass, clear, strict=True))
        return {text: [by_sentence[part] for part in parts] for text, parts in split.items()}

    def _answer_by_sentences(self, parts: Sequence[Prediction | None]) -> Answer | None:
        """Return the answer of the clear sentences, None if they give none.

        Small talk is left out. Sentences with different answers are a hand-off.
        """
        clear = [part for part in parts if part]
        by_entry = {
            part.ranked[0][0]: part for part in clear if not self._builder.is_small_talk(part)
        }
        if len(by_entry) > 1:
            first, *others = by_entry.values()
            return self._builder.handed_off(first, Reason.SEVERAL_QUESTIONS, others)
        if by_entry and len(clear) == len(parts):
            return self._builder.answered(next(iter(by_entry.values())))
        return None
