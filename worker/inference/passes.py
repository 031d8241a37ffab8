"""Forming passes, and answering texts with them.

A pass costs its longest question times its count, so questions of like length go together. One
that there is no memory for is halved.
Pure: the model is an argument, and nothing here knows how it computes.
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

_DECIDED = 128  # questions that are decided together at least; more: progress is told later


def form_passes(lengths: Sequence[int], budget: PassBudget) -> list[list[int]]:
    """Put the indices of all lengths, in tokens, into passes.

    The longest come first, so that memory peaks at the beginning. One longer than the
    whole budget gets a pass of its own.
    """
    return list(_passes(lengths, lambda: budget))


def _passes(lengths: Sequence[int], budget: Callable[[], PassBudget]) -> Iterator[list[int]]:
    """Form passes one by one, each by the budget of its moment."""
    order = sorted(range(len(lengths)), key=lambda i: -lengths[i])
    start = 0
    while start < len(order):
        now, longest = budget(), lengths[order[start]]
        room = max(1, min(now.questions, now.tokens // max(1, longest)))
        yield order[start : start + room]
        start += room


def answer_texts(
    model: AnsweringModel, texts: Sequence[str], on_pass: Callable[[int], None] | None = None
) -> list[Answer]:
    """Answer texts, none of them blank, in the order given; equal ones are computed once.

    Args:
        model: what answers.
        texts: the questions.
        on_pass: hears now and then, and at the end, how many of the texts are answered.
    """
    places: dict[str, list[int]] = {}
    for place, text in enumerate(texts):
        places.setdefault(normalize_whitespace(text), []).append(place)
    answers: dict[int, Answer] = {}

    def settle(found: Iterable[tuple[str, Answer]]) -> None:
        for text, answer in found:
            answers.update(dict.fromkeys(places[text], answer))
        if on_pass:
            on_pass(len(answers))

    unique = list(places)
    known = zip(unique, model.answer_without_encoder(unique), strict=True)
    at_once = {text: answer for text, answer in known if answer is not None}
    if at_once:
        settle(at_once.items())
    for found in _answer_passes(model, [text for text in unique if text not in at_once]):
        settle(found)
    return [answers[place] for place in range(len(texts))]


def answer_in_passes(model: AnsweringModel, texts: Sequence[str]) -> None:
    """Answer different texts, each in a pass, though it might need none: to time the passes."""
    for _ in _answer_passes(model, texts):
        pass


def _answer_passes(
    model: AnsweringModel, texts: Sequence[str]
) -> Iterator[list[tuple[str, Answer]]]:
    import numpy as np  # not where it is only known what a model is: a worker's parent

    tokens = model.tokenize(texts) if texts else []
    asked: list[str] = []
    encoded: list[NDArray[np.float32]] = []

    def decided() -> list[tuple[str, Answer]]:
        texts, embeddings = asked, np.concatenate(encoded)
        answers = _split_on_out_of_memory(
            lambda i, j: model.decide(texts[i:j], embeddings[i:j]), 0, len(texts)
        )
        return list(zip(texts, answers, strict=True))

    for members in _passes([len(ids) for ids in tokens], lambda: model.budget):
        chosen = [tokens[i] for i in members]
        encoded += _split_on_out_of_memory(lambda i, j: [model.encode(chosen[i:j])], 0, len(chosen))  # noqa: B023 - called at once
        asked += [texts[i] for i in members]
        # Small passes are decided together: what knows no pass likes many questions.
        if len(asked) >= _DECIDED:
            yield decided()
            asked, encoded = [], []
    if asked:
        yield decided()


def _split_on_out_of_memory(
    compute: Callable[[int, int], list[_T]], first: int, last: int
) -> list[_T]:
    """Compute a range at once, or half by half if there is no memory for it, and so on."""
    try:
        return compute(first, last)
    except (MemoryError, RuntimeError) as error:
        if last - first == 1 or not is_out_of_memory(error):
            raise
    # Behind the handler: until it ends, the error holds what was in memory.
    middle = (first + last) // 2
    return _split_on_out_of_memory(compute, first, middle) + _split_on_out_of_memory(
        compute, middle, last
    )
