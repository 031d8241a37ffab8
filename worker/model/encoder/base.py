"""What an encoder is: tokens in, embeddings of length 1 out; and how a bundle's is opened.

Two engines compute it, each in a module of its own that is imported only for a bundle
which names it, so a worker with an ONNX bundle never imports torch. An embedding does not
depend on the pass that it was computed in, nor on its place there. How large passes are best is
for `worker.inference.pass_size` to measure, among the budgets that an encoder offers.
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
    """What computes the encoder."""

    TORCH = "torch"
    ONNX = "onnx"


class Precision(StrEnum):
    """Of the encoder's arithmetic."""

    FP32 = "fp32"
    BF16 = "bf16"
    INT8 = "int8"


class Pooling(StrEnum):
    """How the embeddings of a question's tokens become its one embedding."""

    MEAN = "mean"
    CLS = "cls"  # the first token's


class EncoderKind(NamedTuple):
    """An engine and what it computes in."""

    engine: Engine
    precision: Precision

    def __str__(self) -> str:
        return f"{self.engine} {self.precision}"


# What goes with what.
KINDS = (
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
        """What it computes on."""

    @property
    def budgets(self) -> Sequence[PassBudget]:
        """How much may go into one pass, to choose from; the first goes well everywhere."""

    def tokenize(self, texts: Sequence[str]) -> list[list[int]]:
        """Return the tokens of each text, special ones included, the longest texts cut."""

    def encode(self, tokens: Sequence[Sequence[int]]) -> NDArray[np.float32]:
        """Run one pass: (questions, dimensions), rows of length 1."""


def first_line(error: Exception) -> str:
    """Return what a library's long complaint begins with."""
    lines = str(error).strip().splitlines()
    return lines[0] if lines else type(error).__name__
