"""What the OpenAI-compatible API speaks of: the objects of OpenAI's own, as far as they go.

https://platform.openai.com/docs/api-reference/files/object and …/batch/object.
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, Field

from producer.openai.jsonl import ENDPOINTS
from producer.web.api.schemas import Strict

PREFIX = "/openai/v1"
_LONGEST_METADATA = 512  # characters of a value, as at OpenAI

_Text = Annotated[str, Field(max_length=_LONGEST_METADATA)]


class FilePath(BaseModel):
    """A file's id."""

    file: str


class BatchObjectPath(BaseModel):
    """A batch's id."""

    batch: str


class ListQuery(BaseModel):
    """Which part of a list; what else a client asks for is passed over."""

    limit: Annotated[int, Field(ge=1, le=100)] = 20
    after: str | None = None


class CreateBatchBody(Strict):
    """Which file to make a batch of."""

    input_file_id: str
    endpoint: Literal[ENDPOINTS]  # type: ignore[valid-type]  # a tuple of literals
    completion_window: Literal["24h"]
    metadata: Annotated[dict[str, _Text], Field(max_length=16)] | None = None


class FileObject(BaseModel):
    """A file."""

    id: str
    object: str = "file"
    bytes: int
    created_at: int
    filename: str
    purpose: str
    status: str = "processed"


class FileList(BaseModel):
    """Files, the newest first."""

    object: str = "list"
    data: list[FileObject]
    has_more: bool


class DeletedFile(BaseModel):
    """A file that is no more."""

    id: str
    object: str = "file"
    deleted: bool = True


class RequestCounts(BaseModel):
    """A batch's requests."""

    total: int
    completed: int
    failed: int


class BatchObject(BaseModel):
    """A batch, as OpenAI tells of it."""

    id: str
    object: str = "batch"
    endpoint: str
    errors: None = None
    input_file_id: str
    completion_window: str = "24h"
    status: str
    output_file_id: str | None = None
    error_file_id: str | None = None
    created_at: int
    in_progress_at: int | None = None
    expires_at: int | None = None
    completed_at: int | None = None
    expired_at: int | None = None
    cancelled_at: int | None = None
    request_counts: RequestCounts
    metadata: dict[str, str] | None = None


class BatchList(BaseModel):
    """Batches, the newest first."""

    object: str = "list"
    data: list[BatchObject]
    has_more: bool
