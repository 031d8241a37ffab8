"""Packed passes for bf16 on CUDA: concatenated questions, no padding.

PyTorch's variable-length FlashAttention gets the ends of the questions, so that tokens see only
their own question. On the CPU, which only tests use, attention runs question by question.

A CUDA device sums in another order for another shape, which would show in bf16. Each pass is
therefore filled up to one number of tokens, and each product has one shape: an embedding
depends neither on its neighbors nor on its position.

Not run on a CUDA device yet. `PackedEncoder.of` therefore compares a few questions with each
computed alone whenever an encoder is loaded, and returns None if they differ.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import accumulate
from typing import Any

import structlog
import torch
from torch.nn.attention.varlen import varlen_attn
from torch.nn.functional import normalize, scaled_dot_product_attention
from transformers import AttentionInterface, AttentionMaskInterface

from worker.model.encoder.base import Pooling

log = structlog.get_logger()

ATTENTION = "answermill_packed"

TOKENS = 8_192  # of every pass; higher: a single question takes longer, many go faster

_FILLING = 64  # tokens of a filling question; higher: more attention is wasted
_MIN_COSINE = 0.99  # of packed and separate embeddings; bf16 alone leaves 0.999
_PROBE_TOKENS = 24  # of the longest question that `PackedEncoder.of` compares

_Tokens = Sequence[Sequence[int]]


@dataclass(frozen=True)
class PackedEncoder:
    """A transformer that computes packed passes."""

    model: Any  # transformers is untyped
    pooling: Pooling
    longest: int  # tokens of a question; the same for every pass
    tokens: int = TOKENS

    @classmethod
    def of(cls, model: Any, pooling: Pooling, longest: int) -> PackedEncoder | None:  # noqa: ANN401 - transformers is untyped
        """Switch a transformer to packed attention, if that is exact enough.

        Otherwise the transformer stays unchanged, and the result is None. Embeddings may differ
        for an architecture with its own way to count positions or to find neighboring tokens.
        """
        packed = cls(model, pooling, longest)
        original = model.config._attn_implementation  # noqa: SLF001 - there is no public getter
        problem = packed._find_problem()
        if not problem:
            return packed
        log.warning("passes not packed", architecture=model.config.model_type, problem=problem)
        model.set_attn_implementation(original)
        return None

    def _find_problem(self) -> str:
        """Switch to packed attention, and return a problem with it or ""."""
        most = min(self.longest, _PROBE_TOKENS)
        probes = [[5 + i % 7 for i in range(length)] for length in (3, most, most // 2)]
        separate = torch.cat([_unit(_states(self.model, ids), self.pooling) for ids in probes])
        try:
            self.model.set_attn_implementation(ATTENTION)
            cosines = (separate * self.encode(probes)).sum(dim=1)
        except Exception as error:  # noqa: BLE001 - each architecture fails in its own way
            return type(error).__name__
        return "" if cosines.min() > _MIN_COSINE else "other embeddings"

    def encode(self, tokens: _Tokens) -> torch.Tensor:
        """Return (questions, dimensions), rows of length 1."""
        return torch.cat([self._pass(part) for part in self._parts(tokens)])

    def _parts(self, tokens: _Tokens) -> Iterator[list[Sequence[int]]]:
        part: list[Sequence[int]] = []
        size = 0
        for ids in tokens:
            if part and size + len(ids) > self.tokens:
                yield part
                part, size = [], 0
            part.append(ids)
            size += len(ids)
        yield part

    def _pass(self, tokens: _Tokens) -> torch.Tensor:
        unused = self.tokens - sum(map(len, tokens))
        sizes = [_FILLING] * (unused // _FILLING) + [unused % _FILLING] * (unused % _FILLING > 0)
        filled = [*tokens, *([tokens[0][0]] * size for size in sizes)]
        with torch.inference_mode():
            states = self._states(filled)
            if self.pooling is Pooling.CLS:
                pooled = states[[0, *accumulate(map(len, tokens[:-1]))]]
            else:
                pooled = _means(states, [len(ids) for ids in filled])[: len(tokens)]
            return normalize(pooled, dim=1)

    def _states(self, tokens: _Tokens) -> torch.Tensor:
        """Return (all tokens, dimensions) in fp32."""
        device = self.model.device
        ends = [0, *accumulate(map(len, tokens))]
        first = _first_position(self.model)
        ids = [token for question in tokens for token in question]
        positions = [first + i for question in tokens for i in range(len(question))]
        inputs = torch.tensor([ids, positions], device=device)
        states: torch.Tensor = self.model(
            input_ids=inputs[:1],
            position_ids=inputs[1:],
            ends=torch.tensor(ends, dtype=torch.int32, device=device),
            longest=max(self.longest, _FILLING),
        ).last_hidden_state
        return states[0].float()


def attend(
    module: torch.nn.Module,  # noqa: ARG001 - transformers' signature
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    mask: None,  # noqa: ARG001
    *,
    ends: torch.Tensor,
    longest: int,
    scaling: float | None = None,
    **_: object,
) -> tuple[torch.Tensor, None]:
    """Attend within questions.

    Args:
        module: not used, as is `mask`.
        query: (1, heads, tokens, size), as are `key` and `value`.
        key: see `query`.
        value: see `query`.
        mask: None.
        ends: (questions + 1,): the first token of each question, then the number of tokens.
        longest: tokens of the longest question.
        scaling: factor of the products; None: the default of torch.

    Returns:
        (1, tokens, heads, size), and None in place of the attention's weights.
    """
    if query.is_cuda:
        q, k, v = (part[0].transpose(0, 1) for part in (query, key, value))
        # One split, as torch would choose their number by the other questions of the pass.
        attended: Any = varlen_attn(
            q, k, v, ends, ends, longest, longest, scale=scaling, num_splits=1
        )
        return attended[None], None
    sizes = ends.diff().tolist()
    split = (torch.split(part, sizes, dim=2) for part in (query, key, value))
    questions = zip(*split, strict=True)
    parts = [scaled_dot_product_attention(q, k, v, scale=scaling) for q, k, v in questions]
    return torch.cat(parts, dim=2).transpose(1, 2), None


def _no_mask(*_: object, **__: object) -> None:
    """Return no mask, as packed attention takes none."""


AttentionInterface.register(ATTENTION, attend)
AttentionMaskInterface.register(ATTENTION, _no_mask)


def _states(model: Any, ids: Sequence[int]) -> torch.Tensor:  # noqa: ANN401 - transformers is untyped
    with torch.inference_mode():
        states: torch.Tensor = model(
            input_ids=torch.tensor([list(ids)], device=model.device)
        ).last_hidden_state
    return states.float()


def _unit(states: torch.Tensor, pooling: Pooling) -> torch.Tensor:
    return normalize(states[:, 0] if pooling is Pooling.CLS else states.mean(dim=1), dim=1)


def _means(states: torch.Tensor, sizes: Sequence[int]) -> torch.Tensor:
    lengths = torch.tensor(sizes, device=states.device)
    means: torch.Tensor = torch.segment_reduce(states, "mean", lengths=lengths, axis=0)
    return means


def _first_position(model: Any) -> int:  # noqa: ANN401 - transformers is untyped
    """Return the position number of a question's first token.

    RoBERTa and its relatives begin after the number of the padding.
    """
    padding = getattr(getattr(model, "embeddings", None), "padding_idx", None)
    return 0 if padding is None else int(padding) + 1
