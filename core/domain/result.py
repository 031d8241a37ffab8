"""CAPTION core.domain.result."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum


class Status(StrEnum):
    """How a question ended."""

    ANSWERED = "answered"
    HANDED_OFF = "handed_off"  # a human must take it; `reason` says why
    FAILED = "failed"  # it could not be processed; `error` says why
    CANCELLED = "cancelled"
    EXPIRED = "expired"


class AnswerSource(StrEnum):
    """How an answer came about."""

    PHRASING = "phrasing"  # the question equals a known one
    CASCADE = "cascade"  # the cheap model of the version was sure enough
    PASS = "pass"  # noqa: S105 - the encoder read it
    CACHE = "cache"  # this process had answered the same text before


@dataclass(frozen=True, slots=True)
class RunnerUp:
    """An entry that nearly was the answer."""

    entry_id: str
    matched: str  # its nearest known phrasing
    score: float  # comparable with the other runners-up of the question


@dataclass(frozen=True, slots=True)
class Answer:
    """What the model says to one question."""

    status: Status
    answer: str | None = None
    entry_id: str | None = None  # also the nearest entry of a hand-off
    matched: str | None = None  # the known phrasing that decided
    confidence: float | None = None  # 0 to 1
    reason: str | None = None  # of a hand-off
    error: str | None = None  # of a failure
    url: str | None = None  # where the entry can be read
    runners_up: tuple[RunnerUp, ...] | None = None  # the best first; None: not asked for
    scope: float | None = None  # 0 to 1: the chance that any entry fits; not stored
    via: AnswerSource | None = field(default=None, compare=False)  # not stored


@dataclass(frozen=True, slots=True)
class Result:
    """The one final row of a question."""

    position: int
    key: str
    answer: Answer
    model_version: str | None
    answered_at: datetime
