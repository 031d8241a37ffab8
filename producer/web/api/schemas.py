"""Schemas of the requests and responses about batches.

They validate requests and describe both in the OpenAPI document. A name ends in Path, Query, Body
or Response, for the part of HTTP that it describes.

Not covered: hand-offs (`handoffs`), single questions (`questions`) and the OpenAI-compatible API.
"""

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

MAX_QUESTIONS = 10_000  # of one JSON document; an upload may have more
_MAX_DEADLINE_SECONDS = 365 * 86_400
_MAX_ERROR_CLASS = 200  # characters
_JSON_LIMIT = 1 << 53  # the first integer that JSON numbers do not represent exactly

JsonInteger = Annotated[int, Field(ge=0, lt=_JSON_LIMIT)]
Format = Literal["csv", "jsonl", "parquet"]


class StrictModel(BaseModel):
    """A schema that refuses unknown names, so a typo is an error."""

    model_config = ConfigDict(extra="forbid")


class NewQuestion(StrictModel):
    """A question to store."""

    question: str
    key: str | None = None
    language: Annotated[str, Field(max_length=100)] | None = None
    metadata: dict[str, Any] | None = None

    @field_validator("question")
    @classmethod
    def _check_text(cls, value: str) -> str:
        return _without_fault(validation.question_fault(value), value)

    @field_validator("key")
    @classmethod
    def _check_key(cls, value: str) -> str:
        return _without_fault(validation.key_of(value)[1], value)

    @model_validator(mode="after")
    def _check_extras(self) -> NewQuestion:
        return _without_fault(validation.extras_fault(self.language, self.metadata), self)


def _without_fault(fault: str | None, value: _T) -> _T:
    if fault is not None:
        raise ValueError(fault)
    return value


class QuestionsBody(StrictModel):
    """Questions to store."""

    questions: Annotated[list[NewQuestion], Field(min_length=1, max_length=MAX_QUESTIONS)]


class BatchPath(BaseModel):
    """A batch, by id or name."""

    batch: str


class ListBatchesQuery(StrictModel):
    """A page of the list of batches."""

    limit: Annotated[int, Field(ge=1, le=100)] = 20
    before: Annotated[JsonInteger, Field(description="Only batches with a lower id.")] | None = None


class CreateBatchQuery(StrictModel):
    """How to read and run a batch."""

    name: str | None = None
    lane: Lane = Lane.BULK
    deadline_seconds: Annotated[int, Field(gt=0, le=_MAX_DEADLINE_SECONDS)] | None = None
    text: Annotated[str, Field(description="Column of the question in an upload.")] | None = None
    key: Annotated[str, Field(description="Column of the key in an upload.")] | None = None
    open: Annotated[
        bool, Field(description="Create an empty batch that accepts questions until it is sealed.")
    ] = False
    webhook: (
        Annotated[str, Field(max_length=2_000, description="URL to notify when the batch ends.")]
        | None
    ) = None

    @property
    def deadline(self) -> timedelta | None:
        """Return the time after which remaining questions expire."""
        seconds = self.deadline_seconds
        return None if seconds is None else timedelta(seconds=seconds)


class AppendQuery(StrictModel):
    """A guard against appending the same questions twice."""

    after: (
        Annotated[
            JsonInteger, Field(description="Refuse unless the batch has this number of questions.")
        ]
        | None
    ) = None


class ResultsQuery(StrictModel):
    """A page of results."""

    since: Annotated[
        int, Field(ge=0, lt=1 << 62, description="Cursor of the last result read.")
    ] = 0
    status: Status | None = None
    limit: Annotated[int, Field(ge=1, le=1_000)] = 100


class DownloadQuery(StrictModel):
    """A selection of results and a file format."""

    format: Format = "csv"
    status: Status | None = None


class RetryQuery(StrictModel):
    """A selection of questions to retry."""

    status: Literal["failed", "handed_off"] = "failed"
    error: (
        Annotated[
            str,
            Field(
                max_length=_MAX_ERROR_CLASS,
                description="Only questions that failed with this error class.",
            ),
        ]
        | None
    ) = None
    dry_run: Annotated[bool, Field(description="Only count the questions.")] = False

    @field_validator("error")
    @classmethod
    def _check_error(cls, value: str | None, info: ValidationInfo) -> str | None:
        if value is not None and not value.isprintable():
            raise ValueError("the error class contains characters that are not printable")
        if value is not None and info.data.get("status") == "handed_off":
            raise ValueError(
                "an error class selects failed questions; use status=failed or omit `error`"
            )
        return value


class CreatedBatchResponse(BaseModel):
    """A batch that was created or already existed."""

    batch: int
    name: str
    questions: int
    resumed: bool
    already: bool


class BatchResponse(BaseModel):
    """The status of a batch."""

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
    """The status of batches, newest first."""

    batches: list[BatchResponse]


class DeliveryResponse(BaseModel):
    """The delivery of a webhook message about the end of a batch."""

    delivery: int
    batch: int
    message: Annotated[
        str, Field(description="Value of the header `webhook-id`, the same for every attempt.")
    ]
    event: str
    state: Annotated[str, Field(description="`waiting`, `delivered` or `given up`.")]
    attempts: int
    status: Annotated[int | None, Field(description="HTTP status of the last response.")]
    error: str | None
    created_at: str
    next_at: str | None
    delivered_at: str | None


class DeliveriesResponse(BaseModel):
    """The webhook deliveries of a batch, oldest first."""

    deliveries: list[DeliveryResponse]


class DeliveryPath(BatchPath):
    """A batch and one of its webhook deliveries."""

    delivery: JsonInteger


class RetryResponse(BaseModel):
    """The number of questions that are retried, or would be."""

    batch: int
    questions: int
    dry_run: bool


class ResultResponse(BaseModel):
    """A question and its final result."""

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
    desk_answer: Annotated[str | None, Field(description="Answer by an agent.")]
    desk_entry_id: str | None
    desk_by: str | None
    desk_at: str | None


class ResultsResponse(BaseModel):
    """A page of results in the order of their cursors."""

    results: list[ResultResponse]
    next: Annotated[int, Field(description="Value of `since` for the next page.")]
    finished: Annotated[bool, Field(description="True if there are no more results.")]
