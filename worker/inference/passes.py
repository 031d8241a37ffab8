"""Form passes, and answer texts with them.

The cost of a pass is its longest question times its number of questions, so questions of
similar length share a pass. A pass that runs out of memory is split into halves.
Not covered: the computation: the model is an argument.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, TypeVar

from worker.inference.memory import is_out_of_memory
from worker.inference.protocol import AnsweringModel, PassBudget
from worker.text.normalization import normalize_whitespace

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from core.domain.result import Answer

_T = TypeVar("_T")

_DECIDE_TOGETHER = 128


def form_passes(lengths: Sequence[int], budget: PassBudget) -> list[list[int]]:
    """Return passes, as lists of indices into `lengths` (in tokens).

    The longest texts come first, so that memory peaks at the beginning. A text longer than the
    whole budget gets its own pass.
    """
    return list(_passes(lengths, lambda: budget))


def _passes(lengths: Sequence[int], budget: Callable[[], PassBudget]) -> Iterator[list[int]]:
    """Form passes lazily, with the current budget of each moment."""
    order = sorted(range(len(lengths)), key=lambda i: -lengths[i])
    start = 0
    while start < len(order):
        current, longest = budget(), lengths[order[start]]
        size = max(1, min(current.questions, current.tokens // max(1, longest)))
        yield order[start : start + size]
        start += size


def answer_texts(
    model: AnsweringModel,
    texts: Sequence[str],
    on_pass: Callable[[int], None] | None = None,
    *,
    decide_together: int = _DECIDE_TOGETHER,
) -> list[Answer]:
    """Answer texts in the given order, and compute equal texts once.

    Args:
        model: answers.
        texts: the questions; none of them is blank.
        on_pass: receives the number of answered texts, several times and at the end.
        decide_together: minimum number of texts that are decided together. Higher: fewer, faster
            decisions; later calls of `on_pass`.
    """
    positions: dict[str, list[int]] = {}
    for position, text in enumerate(texts):
        positions.setdefault(normalize_whitespace(text), []).append(position)
    answers: dict[int, Answer] = {}

    def add(answered: Iterable[tuple[str, Answer]]) -> None:
        for text, answer in answered:
            answers.update(dict.fromkeys(positions[text], answer))
        if on_pass:
            on_pass(len(answers))

    unique = list(positions)
    without_encoder = zip(unique, model.answer_without_encoder(unique), strict=True)
    known = {text: answer for text, answer in without_encoder if answer is not None}
    if known:
        add(known.items())
    unknown = [text for text in unique if text not in known]
    for answered in _answer_passes(model, unknown, decide_together):
        add(answered)
    return [answers[position] for position in range(len(texts))]


def answer_in_passes(model: AnsweringModel, texts: Sequence[str]) -> None:
    """Answer different texts in passes, to measure the passes."""
    for _ in _answer_passes(model, texts):
        pass


def _answer_passes(
    model: AnsweringModel, texts: Sequence[str], decide_together: int = _DECIDE_TOGETHER
) -> Iterator[list[tuple[str, Answer]]]:
    import numpy as np  # a worker's parent imports this module, and must not import numpy

    tokens = model.tokenize(texts) if texts else []
    undecided: list[str] = []
    encoded: list[NDArray[np.float32]] = []

    def decide() -> list[tuple[str, Answer]]:
        texts, embeddings = undecided, np.concatenate(encoded)
        answers = _split_on_out_of_memory(
            lambda i, j: model.decide(texts[i:j], embeddings[i:j]), 0, len(texts)
        )
        return list(zip(texts, answers, strict=True))

    for members in _passes([len(ids) for ids in tokens], lambda: model.budget):
        chosen = [tokens[i] for i in members]
        encoded += _split_on_out_of_memory(lambda i, j: [model.encode(chosen[i:j])], 0, len(chosen))  # noqa: B023 - called at once
        undecided += [texts[i] for i in members]
        # Small passes are decided together, because deciding is faster with many questions.
        if len(undecided) >= decide_together:
            yield decide()
            undecided, encoded = [], []
    if undecided:
        yield decide()


def _split_on_out_of_memory(
    compute: Callable[[int, int], list[_T]], first: int, last: int
) -> list[_T]:
    """Compute a range at once, or in halves, recursively, if memory runs out."""
    try:
        return compute(first, last)
    except (MemoryError, RuntimeError) as error:
        if last - first == 1 or not is_out_of_memory(error):
            raise
    # Outside the handler, because the error keeps the data of the failed pass in memory.
    middle = (first + last) // 2
    return _split_on_out_of_memory(compute, first, middle) + _split_on_out_of_memory(
        compute, middle, last
    )
