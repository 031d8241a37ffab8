"""Options of a build, without the packages that a build needs.

Not covered: checks of the option values (`worker.lifecycle.cli.build`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING

from worker.model.encoder.base import EncoderKind, Engine, Precision

if TYPE_CHECKING:
    from worker.lifecycle.inputs.labelled_questions import Labelled

PRECISION_TARGET = 0.95  # share of the answers; higher: fewer wrong answers, more hand-offs

# Phrasings. Higher: exact search in larger knowledge bases, slower answers (docs/log.md).
MAX_EXACT_SEARCH = 100_000


_FP32 = EncoderKind(Engine.TORCH, Precision.FP32)


class Tune(StrEnum):
    """The part of a version that is trained on the phrasings."""

    NONE = "none"
    HEAD = "head"  # the classifier on the embeddings
    ENCODER = "encoder"  # the encoder too, which takes minutes


@dataclass(frozen=True)
class BuildOptions:
    """Options of a build."""

    encoder: str | None = None  # a folder or a Hub id; None: the encoder that ships
    layers: int | None = None  # layers that distillation keeps; None: no distillation
    tune: Tune = Tune.HEAD
    labelled: Sequence[Labelled] = ()  # questions for calibration, in addition to the phrasings
    precision_target: float = PRECISION_TARGET
    kind: EncoderKind = _FP32
    cascade: bool = True  # fit a cascade, and keep it if it passes its checks
    max_exact_search: int = MAX_EXACT_SEARCH  # with more phrasings: search a shortlist only


DEFAULTS = BuildOptions()
