"""What requests and responses about batches are made of, for checking and for the document."""

from __future__ import annotations

from datetime import timedelta
from typing import Annotated, Any, Literal, TypeVar

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    ValidationInfo,
    field_validator,
    model_validator,
)

from core.domain.batch import Lane
from core.domain.result import Status
from producer.question_files import validation

_T = TypeVar("_T")

MOST_QUESTIONS = 10_000  # in a JSON document; more are uploaded as a file
_LONGEST_DEADLINE = 365 * 86_400  # seconds
_LONGEST_CLASS = 200  # characters
_MOST = 1 << 53  # beyond which JSON's numbers are not exact

Position = Annotated[int, Field(ge=0, lt=_MOST)]
Format = Literal["csv", "jsonl", "parquet"]


class Strict(BaseModel):
    """What refuses names that it does not know: a typo never falls back to a default."""

    model_config = ConfigDict(extra="forbid")


class NewQuestion(Strict):
    """A question to be asked."""

    question: str
    key: str | None = None
    language: Annotated[str, Field(max_length=100)] | None = None
    metadata: dict[str, Any] | None = None

    @field_validator("question")
    @classmethod
    def _storable(cls, value: str) -> str:
        return _without(validation.question_fault(value), value)

    @field_validator("key")
    @classmethod
    def _fit_for_a_key(cls, value: str) -> str:
        return _without(validation.key_of(value)[1], value)

    @model_validator(mode="after")
    def _storable_extras(self) -> NewQuestion:
        return _without(validation.extras_fault(self.language, self.metadata), self)


def _without(fault: str | None, value: _T) -> _T:
    if fault is not None:
        raise ValueError(fault)
    return value


class NewQuestions(Strict):
    """Questions to be asked."""

    questions: Annotated[list[NewQuestion], Field(min_length=1, max_length=MOST_QUESTIONS)]


class BatchPath(BaseModel):
    """A batch's id or name."""

    batch: str


class ListBatchesQuery(Strict):
    """Which batches."""

    limit: Annotated[int, Field(ge=1, le=100)] = 20
    before: Annotated[Position, Field(description="A batch's id.")] | None = None


class CreateBatchQuery(Strict):
    """How a batch is to be read and run."""

    name: str | None = None
    lane: Lane = Lane.BULK
    deadline_seconds: Annotated[int, Field(gt=0, le=_LONGEST_DEADLINE)] | None = None
    text: Annotated[str, Field(description="Of an upload: the text's column.")] | None = None
    key: Annotated[str, Field(description="Of an upload: the key's column.")] | None = None
    open: Annotated[
        bool, Field(description="Make an empty batch that takes questions until it is sealed.")
    ] = False

    webhook: (
        Annotated[str, Field(max_length=2_000, description="Where its end is told: https://….")]
        | None
    ) = None

    @property
    def deadline(self) -> timedelta | None:
        """How long answers are of use."""
        seconds = self.deadline_seconds
        return None if seconds is None else timedelta(seconds=seconds)


class AppendQuery(Strict):
    """Where questions are thought to go."""

    after: (
        Annotated[Position, Field(description="Refuse unless the batch has this many questions.")]
        | None
    ) = None


class ResultsQuery(Strict):
    """Which results."""

    since: Annotated[Annotated[int, Field(ge=0, lt=1 << 62)], Field(description="A cursor.")] = 0
    status: Status | None = None
    limit: Annotated[int, Field(ge=1, le=1_000)] = 100


class DownloadQuery(Strict):
    """Which results, and how they are written."""

    format: Format = "csv"
    status: Status | None = None


class RetryQuery(Strict):
    """Which questions run again."""

    status: Literal["failed", "handed_off"] = "failed"
    error: (
        Annotated[
            str,
            Field(max_length=_LONGEST_CLASS, description="Of what failed, this class of error."),
        ]
        | None
    ) = None
    dry_run: Annotated[bool, Field(description="Tell how many it would be; change nothing.")] = (
        False
    )

    @field_validator("error")
    @classmethod
    def _of_what_failed(cls, value: str | None, info: ValidationInfo) -> str | None:
        if value is not None and not value.isprintable():
            raise ValueError("it has characters that can't be shown")
        if value is not None and info.data.get("status") == "handed_off":
            raise ValueError("it is of what failed, not of what was handed off")
        return value


class CreatedBatch(BaseModel):
    """A batch, as it was made or found."""

    batch: int
    name: str
    questions: int
    resumed: bool
    already: bool


class BatchResponse(BaseModel):
    """Where a batch stands."""

    batch: int
    name: str
    lane: str
    state: str
    questions: int
    answered: int
    handed_off: int
    failed: int
    cancelled: int
    expired: int
    queued: int
    running: int
    questions_per_second: float | None
    eta_seconds: float | None
    oldest_waiting_seconds: float | None


class BatchesResponse(BaseModel):
    """Where batches stand, the newest first."""

    batches: list[BatchResponse]


class DeliveryResponse(BaseModel):
    """A message about a batch's end."""

    delivery: int
    batch: int
    message: Annotated[str, Field(description="The header `webhook-id`, whatever the attempt.")]
    event: str
    state: Annotated[str, Field(description="`waiting`, `delivered` or `given up`.")]
    attempts: int
    status: Annotated[int | None, Field(description="Of the last response.")]
    error: str | None
    created_at: str
    next_at: str | None
    delivered_at: str | None


class DeliveriesResponse(BaseModel):
    """Messages about a batch's end, the oldest first."""

    deliveries: list[DeliveryResponse]


class DeliveryPath(BatchPath):
    """A batch, and one of its messages."""

    delivery: Annotated[int, Field(ge=0, lt=_MOST)]


class RetryResponse(BaseModel):
    """How many questions run again, or would."""

    batch: int
    questions: int
    dry_run: bool


class ResultResponse(BaseModel):
    """A question and its one final result."""

    key: str
    question: str
    status: str
    answer: str | None
    entry_id: str | None
    matched: str | None
    confidence: float | None
    reason: str | None
    error: str | None
    model_version: str | None
    answered_at: str
    position: int
    cursor: int
    url: str | None
    runners_up: list[dict[str, Any]] | None
    desk_answer: Annotated[str | None, Field(description="What a person answered.")]
    desk_entry_id: str | None
    desk_by: str | None
    desk_at: str | None


class ResultsResponse(BaseModel):
    """Results in the order of their cursors."""

    results: list[ResultResponse]
    next: Annotated[int, Field(description="The cursor to go on from.")]
    finished: Annotated[bool, Field(description="No more will come.")]
