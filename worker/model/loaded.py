"""A loaded model version: what a worker holds, and how it decides.

First a phrasing that the question equals, then the vote of the nearest. Below the
threshold a question is handed off; the nearest entry is kept, so that a human sees it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from db.entities import Answer, Status
from worker.model import confidence
from worker.model.bundle import Bundle, Entry
from worker.model.confidence import Reason
from worker.model.encoder import CPU_BUDGET, Pooling, TorchEncoder
from worker.model.lexical import Lexicon, unseen_weight
from worker.model.retrieval import Floats, Index, Retrieval
from worker.model.text import Script, normalise, script
from worker.passes import PassBudget


@dataclass(frozen=True)
class Knowledge:
    """The entries, their phrasings in one list, and which of those speak for one entry."""

    entries: list[Entry]
    phrasings: list[str]
    entry_of: list[int]  # a phrasing's
    exact: dict[str, int]  # a normalised phrasing's place

    @classmethod
    def of(cls, entries: list[Entry]) -> Knowledge:
        """Put the phrasings of all entries in one list."""
        pairs = [(text, i) for i, entry in enumerate(entries) for text in entry.questions]
        phrasings, entry_of = [text for text, _ in pairs], [i for _, i in pairs]
        exact: dict[str, int] = {}
        shared: set[str] = set()
        for place, text in enumerate(phrasings):
            first = exact.setdefault(_key(text), place)
            if entry_of[first] != entry_of[place]:
                shared.add(_key(text))
        unshared = {key: place for key, place in exact.items() if key not in shared}
        return cls(entries, phrasings, entry_of, unshared)

    def equal(self, text: str) -> int | None:
        """Return the place of a phrasing that the text equals, if it is of one entry only."""
        return self.exact.get(_key(text))


def _key(text: str) -> str:
    return normalise(text) or text.strip()


@dataclass(frozen=True)
class LoadedModel:
    """One model version, ready to answer."""

    version: str  # NAME@NUMBER
    encoder: TorchEncoder
    index: Index
    knowledge: Knowledge
    threshold: float
    budget: PassBudget = CPU_BUDGET

    def tokenize(self, texts: Sequence[str]) -> list[list[int]]:
        """Return the tokens of each text, the longest texts cut."""
        return self.encoder.tokenize(texts)

    def encode(self, tokens: Sequence[Sequence[int]]) -> Floats:
        """Run one pass: (questions, dimensions)."""
        return self.encoder.encode(tokens)

    def decide(self, texts: Sequence[str], embeddings: Floats) -> list[Answer]:
        """Return an answer for each text and its embedding."""
        normal = [normalise(text) for text in texts]
        nearest = self.index.nearest(normal, embeddings)
        phrasings, similarities = nearest.phrasing.tolist(), nearest.similarity.tolist()
        rows = zip(texts, phrasings, similarities, nearest.share.tolist(), strict=True)
        return [self._decide(*row) for row in rows]

    def _decide(self, text: str, phrasing: int, similarity: float, share: float) -> Answer:
        equal = self.knowledge.equal(text)
        if equal is not None:
            return self._answer(equal, 1.0)
        if not normalise(text):
            return Answer(Status.HANDED_OFF, reason=Reason.EMPTY)
        sure = confidence.confidence(script(text), similarity, share)
        if sure >= self.threshold:
            return self._answer(phrasing, sure)
        return self._hand_off(phrasing, sure, confidence.reason(script(text), similarity))

    def _answer(self, phrasing: int, sure: float) -> Answer:
        entry, matched = self._entry(phrasing)
        return Answer(Status.ANSWERED, entry.answer, entry.id, matched, sure, url=entry.url)

    def _hand_off(self, phrasing: int, sure: float, reason: Reason) -> Answer:
        entry, matched = self._entry(phrasing)
        return Answer(
            Status.HANDED_OFF, None, entry.id, matched, sure, reason=reason, url=entry.url
        )

    def _entry(self, phrasing: int) -> tuple[Entry, str]:
        entry = self.knowledge.entries[self.knowledge.entry_of[phrasing]]
        return entry, self.knowledge.phrasings[phrasing]


def load(bundle: Bundle, version: str, threads: int = 0) -> LoadedModel:
    """Load a verified bundle.

    Args:
        bundle: what to load.
        version: NAME@NUMBER, what results will name it by.
        threads: of torch, for the whole process; 0 leaves them as they are.

    Raises:
        BundleInvalid: an array of it has the wrong shape.
        EncoderInvalid: its encoder is none that we can run.
    """
    manifest = bundle.manifest
    encoder = TorchEncoder.load(
        bundle.encoder,
        threads,
        max_tokens=manifest.max_tokens,
        pooling=Pooling(manifest.pooling),
    )
    knowledge = Knowledge.of(bundle.entries())
    return LoadedModel(version, encoder, _index(bundle, knowledge), knowledge, manifest.threshold)


def _index(bundle: Bundle, knowledge: Knowledge) -> Index:
    count = len(knowledge.phrasings)
    codes = bundle.array("codes")
    lexicon = Lexicon(codes, bundle.array("idf", len(codes)), unseen_weight(count))
    return Index.of(
        parameters=_parameters(bundle),
        entry_of=knowledge.entry_of,
        embeddings=bundle.array("embeddings", count, bundle.manifest.dimensions),
        hubness=bundle.array("hubness", len(Script), count),
        lexicon=lexicon,
        spellings=lexicon.vectors([normalise(text) for text in knowledge.phrasings]),
    )


def _parameters(bundle: Bundle) -> Retrieval:
    written = bundle.manifest.retrieval
    lexical = {Script(name): weight for name, weight in written["lexical"].items()}
    return Retrieval(**written | {"lexical": lexical})
