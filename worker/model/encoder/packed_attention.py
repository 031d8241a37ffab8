"""The questions of a pass one behind the other, none padded to the length of another: for CUDA.

Attention is told where each question begins, so that its tokens see only each other: PyTorch's
variable-length FlashAttention on a card. On the CPU, where only tests come here, it goes
question by question.

A card sums up in another order for another shape, which in bf16 would show in an answer. So
every pass has the same number of tokens, filled up with some that nobody asked about, and every
product the same shape: what a question gets depends neither on its neighbours nor on its place.

No card was at hand when this was written. `PackedEncoder.of` therefore compares a few questions with
each computed by itself, whenever an encoder is loaded, and gives none where they differ, as
they may with an architecture that counts its positions or finds its neighbours in a way of
its own.
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

TOKENS = 8_192  # of every pass; more: a lone question takes longer, many go faster

_FILLING = 64  # tokens of a question that nobody asked; more: more attention for nothing
_ALIKE = 0.99  # cosine of two ways to compute the same; bf16 alone leaves 0.999

_Tokens = Sequence[Sequence[int]]


@dataclass(frozen=True)
class PackedEncoder:
    """A transformer whose passes are packed."""

    model: Any  # transformers is untyped
    pooling: Pooling
    longest: int  # tokens of a question; the same for every pass
    tokens: int = TOKENS

    @classmethod
    def of(cls, model: Any, pooling: Pooling, longest: int) -> PackedEncoder | None:  # noqa: ANN401 - transformers is untyped
        """Give a transformer the attention that packing takes; None, and as it was, if it can't."""
        packing = cls(model, pooling, longest)
        most = min(longest, 24)
        probes = [[5 + place % 7 for place in range(length)] for length in (3, most, most // 2)]
        own = model.config._attn_implementation  # noqa: SLF001 - there is no other way to ask
        alone = torch.cat([_unit(_states(model, ids), pooling) for ids in probes])
        try:
            model.set_attn_implementation(ATTENTION)
            together = packing.encode(probes)
            problem = "" if (alone * together).sum(dim=1).min() > _ALIKE else "other embeddings"
        except Exception as error:  # noqa: BLE001 - each architecture fails in its own way
            problem = type(error).__name__
        if not problem:
            return packing
        log.warning("passes not packed", architecture=model.config.model_type, problem=problem)
        model.set_attn_implementation(own)
        return None

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
        left = self.tokens - sum(map(len, tokens))
        sizes = [_FILLING] * (left // _FILLING) + [left % _FILLING] * (left % _FILLING > 0)
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
        positions = [first + place for ids in tokens for place in range(len(ids))]
        given = torch.tensor([[one for ids in tokens for one in ids], positions], device=device)
        states: torch.Tensor = self.model(
            input_ids=given[:1],
            position_ids=given[1:],
            ends=torch.tensor(ends, dtype=torch.int32, device=device),
            longest=max(self.longest, _FILLING),
        ).last_hidden_state
        return states[0].float()


def _attend(
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
    """Attend within questions: (1, heads, tokens, size) each, to (1, tokens, heads, size)."""
    if query.is_cuda:
        q, k, v = (part[0].transpose(0, 1) for part in (query, key, value))
        # One split: how many there were would depend on the neighbours.
        found: Any = varlen_attn(q, k, v, ends, ends, longest, longest, scale=scaling, num_splits=1)
        return found[None], None
    sizes = ends.diff().tolist()
    split = (torch.split(part, sizes, dim=2) for part in (query, key, value))
    questions = zip(*split, strict=True)
    parts = [scaled_dot_product_attention(q, k, v, scale=scaling) for q, k, v in questions]
    return torch.cat(parts, dim=2).transpose(1, 2), None


def _no_mask(*_: object, **__: object) -> None:
    """Say that attention takes no mask."""


AttentionInterface.register(ATTENTION, _attend)
AttentionMaskInterface.register(ATTENTION, _no_mask)


def _states(model: Any, ids: Sequence[int]) -> torch.Tensor:  # noqa: ANN401 - transformers is untyped
    with torch.inference_mode():
        found: torch.Tensor = model(
            input_ids=torch.tensor([list(ids)], device=model.device)
        ).last_hidden_state
    return found.float()


def _unit(states: torch.Tensor, pooling: Pooling) -> torch.Tensor:
    return normalize(states[:, 0] if pooling is Pooling.CLS else states.mean(dim=1), dim=1)


def _means(states: torch.Tensor, sizes: Sequence[int]) -> torch.Tensor:
    lengths = torch.tensor(sizes, device=states.device)
    means: torch.Tensor = torch.segment_reduce(states, "mean", lengths=lengths, axis=0)
    return means


def _first_position(model: Any) -> int:  # noqa: ANN401 - transformers is untyped
    """Return what a question's first token is counted as; RoBERTa's kin begin behind padding."""
    padding = getattr(getattr(model, "embeddings", None), "padding_idx", None)
    return 0 if padding is None else int(padding) + 1
