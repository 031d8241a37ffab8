"""The encoder on ONNX Runtime: fp32, or int8 with dynamic quantisation.

Imports neither torch nor transformers. A pass is computed in parts, as many at once as there
are threads, each part by one thread: no core waits for another in the middle of a layer
(docs/log.md). In int8 each layer's activations are scaled by the range that they have among
what is computed together, so each question is a part of its own: an embedding would depend on
its neighbours otherwise. In fp32 rows that are computed together do not see each other.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime as ort
from numpy.typing import NDArray
from tokenizers import Tokenizer

from core.errors import EncoderInvalid
from core.settings.value_parsers import Device
from worker.inference.protocol import PassBudget
from worker.model.encoder.base import Pooling, Precision, first_line
from worker.model.encoder.tokenizer import Ints, load_tokenizer, padded, tokenize

GRAPH = "model.onnx"

# What the graph takes and gives.
IDS, MASK, STATES = "input_ids", "attention_mask", "states"

# Questions of a pass for each thread, the one to take unmeasured first. More of them pad more.
# In int8 they are computed one by one all the same.
_SIZES = {Precision.FP32: (8, 1, 4, 16), Precision.INT8: (32,)}
_TOKENS = 1_024  # padded, of a pass, for each thread; more: more memory

_Tokens = Sequence[Sequence[int]]
_Map = Callable[[Callable[[slice], None], Iterable[slice]], Iterable[None]]

# The runtime's layer norm with the sum fused into it takes three times as long as apart.
_SLOWER = ["SkipLayerNormFusion"]

_FATAL = 4


@dataclass(frozen=True)
class OnnxEncoder:
    """A loaded encoder."""

    session: Any  # onnxruntime is untyped
    tokenizer: Tokenizer
    pooling: Pooling
    pad: int
    threads: int
    budgets: tuple[PassBudget, ...]
    alone: bool  # each question is a part of its own
    compute: _Map

    @classmethod
    def load(
        cls,
        folder: Path,
        threads: int = 0,
        *,
        max_tokens: int,
        pooling: Pooling,
        precision: Precision = Precision.FP32,
    ) -> OnnxEncoder:
        """Load config.json, model.onnx and tokenizer.json from a folder.

        Args:
            folder: where they are; nothing is fetched and no code of it is run.
            threads: of this encoder; 0: one.
            max_tokens: a longer text is cut.
            pooling: how the encoder was trained.
            precision: what the graph computes in.

        Raises:
            EncoderInvalid: the files are no encoder that ONNX Runtime can run.
        """
        threads = max(1, threads)
        return cls(
            session=_open(folder),
            tokenizer=load_tokenizer(folder, max_tokens),
            pooling=pooling,
            pad=_pad(folder),
            threads=threads,
            budgets=tuple(
                PassBudget(_TOKENS * threads, size * threads) for size in _SIZES[precision]
            ),
            alone=precision is Precision.INT8,
            compute=map if threads == 1 else ThreadPoolExecutor(threads, "encoder").map,
        )

    @property
    def device(self) -> Device:
        """What it computes on."""
        return Device.CPU

    @property
    def dimensions(self) -> int:
        """The length of an embedding."""
        return int(self.session.get_outputs()[0].shape[-1])

    def tokenize(self, texts: Sequence[str]) -> list[list[int]]:
        """Return the tokens of each text, special ones included."""
        return tokenize(self.tokenizer, texts)

    def encode(self, tokens: _Tokens) -> NDArray[np.float32]:
        """Run one pass: (questions, dimensions), rows of length 1."""
        pooled = np.empty((len(tokens), self.dimensions), np.float32)

        def work(part: slice) -> None:
            pooled[part] = self._pooled(tokens[part])

        list(self.compute(work, self._parts(len(tokens))))
        unit: NDArray[np.float32] = pooled / np.linalg.norm(pooled, axis=1, keepdims=True)
        return unit

    def _parts(self, count: int) -> list[slice]:
        """Return which questions of a pass each thread computes."""
        if self.alone:  # in turns, as they come sorted by length
            return [slice(first, None, self.threads) for first in range(min(self.threads, count))]
        size = math.ceil(count / self.threads)
        return [slice(start, start + size) for start in range(0, count, size)]

    def _pooled(self, tokens: _Tokens) -> NDArray[np.float32]:
        if self.alone:
            asked = (np.array([ids], np.int32) for ids in tokens)
            states = [self._states(ids, np.ones_like(ids))[0] for ids in asked]
            return _pool_each(states, self.pooling)
        ids, mask = padded(tokens, self.pad)
        return _pool(self._states(ids, mask), mask, self.pooling)

    def _states(self, ids: Ints, mask: Ints) -> NDArray[np.float32]:
        (states,) = self.session.run([STATES], {IDS: ids, MASK: mask})
        found: NDArray[np.float32] = states
        return found


def _open(folder: Path) -> Any:  # noqa: ANN401 - onnxruntime is untyped
    options = ort.SessionOptions()
    options.intra_op_num_threads = 1  # the parts of a pass are what is computed at once
    options.inter_op_num_threads = 1
    options.execution_mode = ort.ExecutionMode.ORT_SEQUENTIAL
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_ENABLE_ALL
    options.log_severity_level = _FATAL  # its errors reach us as exceptions
    try:
        return ort.InferenceSession(
            str(folder / GRAPH),
            options,
            providers=["CPUExecutionProvider"],
            disabled_optimizers=_SLOWER,
        )
    except Exception as error:  # the runtime raises half a dozen of its own
        raise EncoderInvalid(str(folder), f"{GRAPH}: {first_line(error)}") from error


def _pad(folder: Path) -> int:
    try:
        config = json.loads((folder / "config.json").read_bytes())
        return int(config.get("pad_token_id") or 0)
    except (OSError, ValueError, AttributeError, TypeError) as error:
        raise EncoderInvalid(str(folder), f"config.json: {first_line(error)}") from error


def _pool(states: NDArray[np.float32], mask: Ints, pooling: Pooling) -> NDArray[np.float32]:
    if pooling is Pooling.CLS:
        return states[:, 0]
    kept = mask.astype(np.float32)[:, :, None]
    # The sum goes token by token, so that padding behind a question adds exact zeros.
    pooled: NDArray[np.float32] = (states * kept).sum(axis=1) / kept.sum(axis=1)
    return pooled


def _pool_each(states: Sequence[NDArray[np.float32]], pooling: Pooling) -> NDArray[np.float32]:
    """Pool questions that were computed by themselves: (tokens, dimensions) each."""
    if pooling is Pooling.CLS:
        return np.stack([one[0] for one in states])
    tokens = [len(one) for one in states]
    sums = np.add.reduceat(np.concatenate(states), np.cumsum([0, *tokens[:-1]]))
    counts = np.array(tokens, np.float32)[:, None]
    means: NDArray[np.float32] = np.divide(sums, counts)
    return means
