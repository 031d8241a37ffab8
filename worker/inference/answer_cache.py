"""A cache of answers by model version and text.

An answer depends only on the version and on the text that `worker.inference.passes` hands
over, so results are the same with the cache and without it. The key is a hash of both: no
text is kept, and no answer of one version serves another. The answers that were not used for
longest are removed first. One cache belongs to one process, and one thread at a time uses it.
Not covered: a cache shared by several processes (docs/how-to/tune.md gives the reason).
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

_KEY_BYTES = 16  # two of a hundred million texts share a key with a probability of 10^-22


class AnswerCache:
    """A bounded number of answers by model version and text."""

    def __init__(self, entries: int) -> None:
        """Begin empty.

        Args:
            entries: the maximum number of answers; 0: no answer is kept.
        """
        self._entries = entries
        self._answers: OrderedDict[bytes, Answer] = OrderedDict()

    def __len__(self) -> int:
        return len(self._answers)

    def find(self, version: str, text: str) -> Answer | None:
        """Return the version's cached answer to the text, or None."""
        key = _key(version, text)
        answer = self._answers.get(key)
        if answer is None:
            return None
        self._answers.move_to_end(key)
        return replace(answer, via=AnswerSource.CACHE)

    def keep(self, version: str, text: str, answer: Answer) -> None:
        """Store an answer, and remove the least recently used ones."""
        key = _key(version, text)
        self._answers[key] = answer
        self._answers.move_to_end(key)
        while len(self._answers) > self._entries:
            self._answers.popitem(last=False)


def _key(version: str, text: str) -> bytes:
    # The version's length separates the two: no other pair gives the same bytes.
    pair = f"{len(version)}:{version}{text}".encode()
    return hashlib.blake2b(pair, digest_size=_KEY_BYTES).digest()


class CachedModel(ModelWrapper):
    """A model with an answer cache."""

    def __init__(self, model: AnsweringModel, cache: AnswerCache) -> None:
        super().__init__(model)
        self._cache = cache

    def answer_without_encoder(self, texts: Sequence[str]) -> list[Answer | None]:
        """Return the answers that need no pass, and None for the other texts."""
        answers = [self._cache.find(self.version, text) for text in texts]
        missing = [index for index, answer in enumerate(answers) if answer is None]
        new = self._model.answer_without_encoder([texts[index] for index in missing])
        for index, answer in zip(missing, new, strict=True):
            if answer is not None:
                answers[index] = answer
                self._cache.keep(self.version, texts[index], answer)
        return answers

    def decide(self, texts: Sequence[str], embeddings: NDArray[np.float32]) -> list[Answer]:
        """Return an answer for each text and its embedding, and cache it."""
        answers = self._model.decide(texts, embeddings)
        for text, answer in zip(texts, answers, strict=True):
            self._cache.keep(self.version, text, answer)
        return answers
