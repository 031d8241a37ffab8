"""A loaded model version: what a worker holds, and how it decides.

First a phrasing that the question equals, then the entry that fits best. Below the
threshold a question is handed off, with the reason; the best entry is kept, so that a human
sees it. A text of several sentences that is not understood as a whole is read part by part.
Every question is decided by itself.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

from db.entities import Answer, RunnerUp, Status, Via
from worker.model.bundle import Bundle
from worker.model.cascade import Cascade
from worker.model.cascade import read as read_cascade
from worker.model.cells import FILE, Cells
from worker.model.confidence import Confidence, Curve
from worker.model.encoder import Encoder, open_encoder
from worker.model.knowledge import Knowledge, is_small_talk
from worker.model.language import language
from worker.model.lexical import Lexicon, unseen_weight
from worker.model.reasons import Reason
from worker.model.retrieval import Floats, Index, Retrieval
from worker.model.shortlist import Shortlist
from worker.model.text import Script, normalise, sentences
from worker.model.verdict import Verdict, verdicts
from worker.passes import PassBudget

_EVENS = 0.5


@dataclass(frozen=True)
class LoadedModel:
    """One model version, ready to answer."""

    version: str  # NAME@NUMBER
    kind: str  # of encoder: its engine and its precision
    encoder: Encoder
    index: Index | Shortlist
    knowledge: Knowledge
    confidence: Confidence
    threshold: float
    languages: frozenset[str]  # ISO 639-1, that the knowledge base speaks
    budget: PassBudget
    cascade: Cascade | None = None
    scope_cut: float = _EVENS  # with less scope, what is handed off is out of scope
    runners_up: int = 0  # stored with every result
    rates: Mapping[int, float] = field(default_factory=dict)  # measured: `worker.model.pace`

    def without_pass(self, texts: Sequence[str]) -> list[Answer | None]:
        """Return the answers that need no pass, None for the other texts."""
        answers = [self._at_once(text) for text in texts]
        left = [place for place, answer in enumerate(answers) if answer is None]
        if self.cascade is not None and left:
            told = self.cascade.judge([normalise(texts[i]) for i in left], self._ranks)
            for place, verdict in zip(left, told, strict=True):
                if verdict.sure >= max(self.cascade.cut, self.threshold):
                    answers[place] = replace(self._answer(verdict), via=Via.CASCADE)
        return answers

    def tokenize(self, texts: Sequence[str]) -> list[list[int]]:
        """Return the tokens of each text, the longest texts cut."""
        return self.encoder.tokenize(texts)

    def encode(self, tokens: Sequence[Sequence[int]]) -> Floats:
        """Run one pass: (questions, dimensions)."""
        return self.encoder.encode(tokens)

    def decide(self, texts: Sequence[str], embeddings: Floats) -> list[Answer]:
        """Return an answer for each text and its embedding."""
        verdicts = self.judge(texts, embeddings)
        return [self._decide(*pair) for pair in zip(texts, verdicts, strict=True)]

    def judge(self, texts: Sequence[str], embeddings: Floats) -> list[Verdict]:
        """Return what the index says of each text and its embedding."""
        evidence = self.index.judge([normalise(text) for text in texts], embeddings, self._ranks)
        return verdicts(evidence, *self.confidence.judge(evidence))

    @property
    def _ranks(self) -> int:
        return 1 + max(1, self.runners_up)

    def _at_once(self, text: str) -> Answer | None:
        equal = self._equal(text)
        if equal is not None:
            return replace(self._answer(equal), via=Via.PHRASING)
        return None if normalise(text) else Answer(Status.HANDED_OFF, reason=Reason.EMPTY)

    def _equal(self, text: str) -> Verdict | None:
        place = self.knowledge.equal(text)
        if place is None:
            return None
        return Verdict([(self.knowledge.entry_of[place], place, 1.0)], 1.0, 1.0)

    def _decide(self, text: str, verdict: Verdict) -> Answer:
        known = self._at_once(text)
        if known is not None:
            return known
        if verdict.sure >= self.threshold:
            return self._answer(verdict)
        return self._by_parts(text) or self._hand_off(verdict, self._reason(text, verdict))

    def _by_parts(self, text: str) -> Answer | None:
        """Return what is clear part by part: one answer beside small talk, or several."""
        parts = sentences(text)
        clear = [found for part in parts if (found := self._alone(part))] if len(parts) > 1 else []
        meant = {found.ranked[0][0]: found for found in clear if not self._is_small_talk(found)}
        if len(meant) > 1:
            first, *others = meant.values()
            return self._hand_off(first, Reason.SEVERAL_QUESTIONS, others)
        if meant and len(clear) == len(parts):
            return self._answer(next(iter(meant.values())))
        return None

    def _alone(self, part: str) -> Verdict | None:
        """Return what a part means, if it is clear by itself; it goes in a pass of its own."""
        equal = self._equal(part)
        if equal is not None:
            return equal
        verdict = self.judge([part], self.encode(self.tokenize([part])))[0]
        return verdict if verdict.sure >= self.threshold else None

    def _is_small_talk(self, verdict: Verdict) -> bool:
        return is_small_talk(self.knowledge.entries[verdict.ranked[0][0]])

    def _reason(self, text: str, verdict: Verdict) -> Reason:
        if verdict.scope >= self.scope_cut:
            return Reason.AMBIGUOUS
        spoken = language(text)
        foreign = spoken is not None and spoken not in self.languages
        return Reason.WRONG_LANGUAGE if foreign else Reason.OUT_OF_SCOPE

    def _answer(self, verdict: Verdict) -> Answer:
        entry = self.knowledge.entries[verdict.ranked[0][0]]
        return Answer(
            Status.ANSWERED,
            entry.answer,
            entry.id,
            self.knowledge.phrasings[verdict.ranked[0][1]],
            verdict.sure,
            url=entry.url,
            runners_up=self._candidates(verdict.ranked[1 : 1 + self.runners_up]),
            scope=verdict.scope,
            via=Via.PASS,
        )

    def _hand_off(self, verdict: Verdict, reason: Reason, others: Sequence[Verdict] = ()) -> Answer:
        entry = self.knowledge.entries[verdict.ranked[0][0]]
        named = 1 if reason is Reason.AMBIGUOUS else 0
        beside = [other.ranked[0] for other in others]
        beside += verdict.ranked[1 : 1 + max(named, self.runners_up)]
        return Answer(
            Status.HANDED_OFF,
            None,
            entry.id,
            self.knowledge.phrasings[verdict.ranked[0][1]],
            verdict.sure,
            reason=reason,
            url=entry.url,
            runners_up=self._candidates(beside),
            scope=verdict.scope,
            via=Via.PASS,
        )

    def _candidates(self, ranked: list[tuple[int, int, float]]) -> tuple[RunnerUp, ...] | None:
        entries, phrasings = self.knowledge.entries, self.knowledge.phrasings
        named = {
            entry: RunnerUp(entries[entry].id, phrasings[phrasing], score)
            for entry, phrasing, score in ranked
        }
        return tuple(named.values()) or None


def load(bundle: Bundle, version: str, threads: int = 0, runners_up: int = 0) -> LoadedModel:
    """Load a verified bundle.

    Args:
        bundle: what to load.
        version: NAME@NUMBER, what results will name it by.
        threads: of the arithmetic; 0 leaves the engine its default.
        runners_up: how many more entries are stored with every result.

    Raises:
        BundleInvalid: an array of it has the wrong shape.
        ExtraMissing: it is a large one, and faiss is not installed.
        EncoderInvalid: its encoder is none that we can run.
    """
    manifest = bundle.manifest
    encoder = open_encoder(bundle, threads)
    knowledge = Knowledge.of(bundle.entries())
    return LoadedModel(
        version=version,
        kind=f"{manifest.engine} {manifest.precision}",
        encoder=encoder,
        index=_index(bundle, knowledge),
        knowledge=knowledge,
        confidence=_confidence(bundle),
        threshold=manifest.threshold,
        languages=frozenset(manifest.languages),
        budget=encoder.budgets[0],
        cascade=_cascade(bundle, knowledge),
        scope_cut=_EVENS if manifest.scope_cut is None else manifest.scope_cut,
        runners_up=runners_up,
    )


def _cascade(bundle: Bundle, knowledge: Knowledge) -> Cascade | None:
    phrasings = [normalise(text) for text in knowledge.phrasings]
    return read_cascade(bundle, phrasings, knowledge.entry_of)


def _index(bundle: Bundle, knowledge: Knowledge) -> Index | Shortlist:
    rows = len(knowledge.rows)
    codes = bundle.array("codes")
    idf = bundle.array("idf", len(codes))
    head = bundle.array("head", rows, len(knowledge.entries)) if bundle.has("head") else None
    dimensions = bundle.manifest.dimensions
    index = Index.of(
        parameters=_parameters(bundle),
        entry_of=knowledge.row_entries,
        texts=[normalise(text) for text in knowledge.rows],
        phrasings=len(knowledge.phrasings),
        embeddings=bundle.array("embeddings", rows, dimensions),
        lexicon=Lexicon(codes, idf, unseen_weight(len(knowledge.phrasings))),
        head=head,
    )
    if FILE not in bundle.manifest.files:
        return index
    return Shortlist(index, Cells.read(bundle.path / FILE, rows, dimensions))


def _parameters(bundle: Bundle) -> Retrieval:
    written = bundle.manifest.retrieval
    lexical = {Script(name): weight for name, weight in written["lexical"].items()}
    return Retrieval(**written | {"lexical": lexical})


def _confidence(bundle: Bundle) -> Confidence:
    return Confidence(
        **{name: Curve(**curve) for name, curve in bundle.manifest.confidence.items()}
    )
