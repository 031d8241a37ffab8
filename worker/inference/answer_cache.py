"""An answer cache: what a question got from a model version, it gets again without arithmetic.

An answer depends on nothing but the version and the text that `worker.inference.passes` hands over, so
results are the same with the cache and without it. The key is a hash of both: no question's
text is kept, and no answer crosses over to another version. What is asked least lately goes
first. One cache belongs to one process and is used by one thread at a time; what another
process has answered isn't known here (docs/how-to/tune.md says why).
"""

from __future__ import annotations

import hashlib
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from core.domain.result import Answer, AnswerSource
from worker.inference.protocol import ModelWrapper

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from worker.inference.protocol import AnsweringModel

_KEY_BYTES = 16  # two of a hundred million texts share a key once in 10^22


class AnswerCache:
    """Answers by model version and text, so many at most."""

    def __init__(self, entries: int) -> None:
        """Hold nothing yet.

        Args:
            entries: how many answers are kept; 0: none.
        """
        self._entries = entries
        self._answers: OrderedDict[bytes, Answer] = OrderedDict()

    def __len__(self) -> int:
        return len(self._answers)

    def find(self, version: str, text: str) -> Answer | None:
        """Return what the version has answered to the text, if that is still known."""
        key = _key(version, text)
        found = self._answers.get(key)
        if found is None:
            return None
        self._answers.move_to_end(key)
        return replace(found, via=AnswerSource.CACHE)

    def keep(self, version: str, text: str, answer: Answer) -> None:
        """Keep an answer, and let the ones go that were asked for least lately."""
        key = _key(version, text)
        self._answers[key] = answer
        self._answers.move_to_end(key)
        while len(self._answers) > self._entries:
            self._answers.popitem(last=False)


def _key(version: str, text: str) -> bytes:
    # The version's length parts the two: no other pair makes the same bytes.
    whole = f"{len(version)}:{version}{text}".encode()
    return hashlib.blake2b(whole, digest_size=_KEY_BYTES).digest()


class CachedModel(ModelWrapper):
    """A model that remembers its answers."""

    def __init__(self, model: AnsweringModel, cache: AnswerCache) -> None:
        super().__init__(model)
        self._cache = cache

    def answer_without_encoder(self, texts: Sequence[str]) -> list[Answer | None]:
        """Return the answers that need no pass, None for the other texts."""
        answers = [self._cache.find(self.version, text) for text in texts]
        unknown = [place for place, answer in enumerate(answers) if answer is None]
        new = self._model.answer_without_encoder([texts[place] for place in unknown])
        for place, answer in zip(unknown, new, strict=True):
            if answer is not None:
                answers[place] = answer
                self._cache.keep(self.version, texts[place], answer)
        return answers

    def decide(self, texts: Sequence[str], embeddings: NDArray[np.float32]) -> list[Answer]:
        """Return an answer for each text and its embedding, and remember it."""
        answers = self._model.decide(texts, embeddings)
        for text, answer in zip(texts, answers, strict=True):
            self._cache.keep(self.version, text, answer)
        return answers
