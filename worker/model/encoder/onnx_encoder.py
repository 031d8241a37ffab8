"""The encoder on ONNX Runtime: fp32, or int8 with dynamic quantization.

Imports neither torch nor transformers. A pass is split into one part for each thread, which one
thread computes alone, so that no core waits for another within a layer (docs/log.md).

In int8, the runtime scales the activations of a layer by their range over the whole part. Each
question is therefore a part of its own: its embedding would otherwise depend on its neighbors.
In fp32, rows of one part do not influence each other.
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

# Names of the graph's inputs and of its output.
IDS, MASK, STATES = "input_ids", "attention_mask", "states"

# Questions of a pass for each thread, the default first. Higher: more padding. In int8 there is
# nothing to choose, as questions are computed one by one.
_SIZES = {Precision.FP32: (8, 1, 4, 16), Precision.INT8: (32,)}
_TOKENS = 1_024  # padded tokens of a pass for each thread; higher: more memory

_Tokens = Sequence[Sequence[int]]
_Map = Callable[[Callable[[slice], None], Iterable[slice]], Iterable[None]]

# The runtime's layer norm with the fused sum takes three times as long as the separate two.
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
    one_by_one: bool  # each question is a part of its own
    map: _Map

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
            folder: the folder; nothing is downloaded and no code of it is run.
            threads: threads of this encoder; 0: one.
            max_tokens: a longer text is truncated.
            pooling: the pooling that the encoder was trained with.
            precision: the precision of the graph.

        Raises:
            EncoderInvalid: the files are not an encoder that ONNX Runtime can run.
        """
        threads = max(1, threads)
        return cls(
            session=_open_session(folder),
            tokenizer=load_tokenizer(folder, max_tokens),
            pooling=pooling,
            pad=_read_pad_token(folder),
            threads=threads,
            budgets=tuple(
                PassBudget(_TOKENS * threads, size * threads) for size in _SIZES[precision]
            ),
            one_by_one=precision is Precision.INT8,
            map=map if threads == 1 else ThreadPoolExecutor(threads, "encoder").map,
        )

    @property
    def device(self) -> Device:
        """The device that computes."""
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

        def compute(part: slice) -> None:
            pooled[part] = self._pooled(tokens[part])

        list(self.map(compute, self._parts(len(tokens))))
        unit: NDArray[np.float32] = pooled / np.linalg.norm(pooled, axis=1, keepdims=True)
        return unit

    def _parts(self, count: int) -> list[slice]:
        """Return the questions of a pass that each thread computes."""
        if self.one_by_one:  # interleaved, as the questions are sorted by length
            return [slice(first, None, self.threads) for first in range(min(self.threads, count))]
        size = math.ceil(count / self.threads)
        return [slice(start, start + size) for start in range(0, count, size)]

    def _pooled(self, tokens: _Tokens) -> NDArray[np.float32]:
        if self.one_by_one:
            questions = (np.array([ids], np.int32) for ids in tokens)
            states = [self._states(ids, np.ones_like(ids))[0] for ids in questions]
            return _pool_each(states, self.pooling)
        ids, mask = padded(tokens, self.pad)
        return _pool(self._states(ids, mask), mask, self.pooling)

    def _states(self, ids: Ints, mask: Ints) -> NDArray[np.float32]:
        states: NDArray[np.float32]
        (states,) = self.session.run([STATES], {IDS: ids, MASK: mask})
        return states


def _open_session(folder: Path) -> Any:  # noqa: ANN401 - onnxruntime is untyped
    options = ort.SessionOptions()
    options.intra_op_num_threads = 1  # parts run in parallel instead
    options.inter_op_num_threads = 1
    options.execution_mode = ort.ExecutionMode.ORT_SEQUENTIAL
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_ENABLE_ALL
    options.log_severity_level = _FATAL  # errors are raised as exceptions
    try:
        return ort.InferenceSession(
            str(folder / GRAPH),
            options,
            providers=["CPUExecutionProvider"],
            disabled_optimizers=_SLOWER,
        )
    except Exception as error:  # the runtime has half a dozen classes without a common base
        raise EncoderInvalid(str(folder), f"{GRAPH}: {first_line(error)}") from error


def _read_pad_token(folder: Path) -> int:
    try:
        config = json.loads((folder / "config.json").read_bytes())
        return int(config.get("pad_token_id") or 0)
    except (OSError, ValueError, AttributeError, TypeError) as error:
        raise EncoderInvalid(str(folder), f"config.json: {first_line(error)}") from error


def _pool(states: NDArray[np.float32], mask: Ints, pooling: Pooling) -> NDArray[np.float32]:
    if pooling is Pooling.CLS:
        return states[:, 0]
    weights = mask.astype(np.float32)[:, :, None]
    # numpy sums token by token, so that the padding after a question adds exact zeros.
    pooled: NDArray[np.float32] = (states * weights).sum(axis=1) / weights.sum(axis=1)
    return pooled


def _pool_each(states: Sequence[NDArray[np.float32]], pooling: Pooling) -> NDArray[np.float32]:
    """Pool questions that were computed one by one: (tokens, dimensions) each."""
    if pooling is Pooling.CLS:
        return np.stack([question[0] for question in states])
    tokens = [len(question) for question in states]
    sums = np.add.reduceat(np.concatenate(states), np.cumsum([0, *tokens[:-1]]))
    counts = np.array(tokens, np.float32)[:, None]
    means: NDArray[np.float32] = np.divide(sums, counts)
    return means
