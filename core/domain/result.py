"""Results: the answer of the model to a question, and its final row."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum


class Status(StrEnum):
    """The end of a question."""

    ANSWERED = "answered"
    HANDED_OFF = "handed_off"  # a human must answer; `reason` states why
    FAILED = "failed"  # the question could not be processed; `error` states why
    CANCELLED = "cancelled"
    EXPIRED = "expired"


class AnswerSource(StrEnum):
    """The part of the model that produced an answer."""

    PHRASING = "phrasing"  # the question equals a known phrasing
    CASCADE = "cascade"  # the confidence of the cascade was above its threshold
    PASS = "pass"  # noqa: S105 - a pass of the encoder, not a password
    CACHE = "cache"  # this process had answered the same text


@dataclass(frozen=True, slots=True)
class RunnerUp:
    """An entry that was close to being the answer."""

    entry_id: str
    matched: str  # its nearest known phrasing
    score: float  # comparable with the other runners-up of the question


@dataclass(frozen=True, slots=True)
class Answer:
    """The answer of the model to one question."""

    status: Status
    answer: str | None = None
    entry_id: str | None = None  # also the nearest entry of a hand-off
    matched: str | None = None  # the known phrasing that decided
    confidence: float | None = None  # 0 to 1
    reason: str | None = None  # of a hand-off
    error: str | None = None  # of a failure
    url: str | None = None  # of a page with the entry
    runners_up: tuple[RunnerUp, ...] | None = None  # best first; None: not requested
    in_scope_probability: float | None = None  # 0 to 1, that any entry matches; not stored
    via: AnswerSource | None = field(default=None, compare=False)  # not stored


@dataclass(frozen=True, slots=True)
class Result:
    """The one final row of a question."""

    position: int
    key: str
    answer: Answer
    model_version: str | None
    answered_at: datetime
