"""The encoder on ONNX Runtime: fp32, or int8 with dynamic quantisation.

Imports neither torch nor transformers. In int8 each layer's activations are scaled by the
range that they have in this pass, so one question a pass is all that goes: with company,
an embedding would depend on its neighbours. In fp32 rows of a pass do not see each other.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime as ort
from numpy.typing import NDArray
from tokenizers import Tokenizer

from db.errors import EncoderInvalid
from worker.model.encoder import Pooling, Precision, first_line
from worker.model.tokens import Ints, load_tokenizer, padded, tokenize
from worker.passes import PassBudget

GRAPH = "model.onnx"

# What the graph takes and gives.
IDS, MASK, STATES = "input_ids", "attention_mask", "states"

# When tried, eight questions a pass were a third faster than one; more pad more.
_BUDGETS = {
    Precision.FP32: PassBudget(tokens=512, questions=8),
    Precision.INT8: PassBudget(tokens=1, questions=1),
}

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
    budget: PassBudget

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
            threads: of this encoder; 0: one per core.
            max_tokens: a longer text is cut.
            pooling: how the encoder was trained.
            precision: what the graph computes in.

        Raises:
            EncoderInvalid: the files are no encoder that ONNX Runtime can run.
        """
        tokenizer = load_tokenizer(folder, max_tokens)
        session = _open(folder, threads)
        return cls(session, tokenizer, pooling, _pad(folder), _BUDGETS[precision])

    @property
    def dimensions(self) -> int:
        """The length of an embedding."""
        return int(self.session.get_outputs()[0].shape[-1])

    def tokenize(self, texts: Sequence[str]) -> list[list[int]]:
        """Return the tokens of each text, special ones included."""
        return tokenize(self.tokenizer, texts)

    def encode(self, tokens: Sequence[Sequence[int]]) -> NDArray[np.float32]:
        """Run one pass: (questions, dimensions), rows of length 1."""
        ids, mask = padded(tokens, self.pad)
        (states,) = self.session.run([STATES], {IDS: ids, MASK: mask})
        pooled = _pool(states, mask, self.pooling)
        unit: NDArray[np.float32] = pooled / np.linalg.norm(pooled, axis=1, keepdims=True)
        return unit


def _open(folder: Path, threads: int) -> Any:  # noqa: ANN401 - onnxruntime is untyped
    options = ort.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.execution_mode = ort.ExecutionMode.ORT_SEQUENTIAL
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_ENABLE_ALL
    options.log_severity_level = _FATAL  # its errors reach us as exceptions
    # Spinning threads keep neighbours from the core (docs/log.md).
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
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
