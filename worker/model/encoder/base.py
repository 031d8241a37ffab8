"""The types of an encoder: tokens in, embeddings of length 1 out.

Each engine has a module of its own, which `worker.model.encoder.open` imports only for a bundle
that names the engine, so a worker with an ONNX bundle never imports torch. An embedding does
not depend on the pass that computed it, nor on its position there. An encoder offers several
pass budgets, from which `worker.inference.pass_size` chooses by measurement.
"""

from __future__ import annotations

from collections.abc import Sequence
from enum import StrEnum
from typing import TYPE_CHECKING, NamedTuple, Protocol

from core.settings.value_parsers import Device

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from worker.inference.protocol import PassBudget


class Engine(StrEnum):
    """The library that computes the encoder."""

    TORCH = "torch"
    ONNX = "onnx"


class Precision(StrEnum):
    """The numeric precision of the encoder's arithmetic."""

    FP32 = "fp32"
    BF16 = "bf16"
    INT8 = "int8"


class Pooling(StrEnum):
    """How the states of a question's tokens become its one embedding."""

    MEAN = "mean"
    CLS = "cls"  # that of the first token


class EncoderKind(NamedTuple):
    """An engine and a precision."""

    engine: Engine
    precision: Precision

    def __str__(self) -> str:
        return f"{self.engine} {self.precision}"


KINDS = (  # the supported combinations
    EncoderKind(Engine.TORCH, Precision.FP32),
    EncoderKind(Engine.TORCH, Precision.BF16),
    EncoderKind(Engine.ONNX, Precision.FP32),
    EncoderKind(Engine.ONNX, Precision.INT8),
)


class Encoder(Protocol):
    """A loaded encoder."""

    @property
    def dimensions(self) -> int:
        """The length of an embedding."""

    @property
    def device(self) -> Device:
        """The device that computes."""

    @property
    def budgets(self) -> Sequence[PassBudget]:
        """The budgets of a pass to choose from. The first suits any machine."""

    def tokenize(self, texts: Sequence[str]) -> list[list[int]]:
        """Return the tokens of each text, special ones included, truncated."""

    def encode(self, tokens: Sequence[Sequence[int]]) -> NDArray[np.float32]:
        """Run one pass: (questions, dimensions), rows of length 1."""


def first_line(error: Exception) -> str:
    """Return the first line of an error's message, or the error's class."""
    lines = str(error).strip().splitlines()
    return lines[0] if lines else type(error).__name__
