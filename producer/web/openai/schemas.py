"""Schemas of the OpenAI-compatible API: its file and batch objects.

Sources: https://platform.openai.com/docs/api-reference/files/object and …/batch/object.

Not covered: attributes of OpenAI's objects that have no meaning here.
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, Field

from producer.openai.jsonl import ENDPOINTS
from producer.web.api.schemas import StrictModel

PREFIX = "/openai/v1"
_MAX_METADATA = 512  # characters of a value, OpenAI's limit

_MetadataValue = Annotated[str, Field(max_length=_MAX_METADATA)]


class FilePath(BaseModel):
    """A file, by its id."""

    file: str


class OpenAIBatchPath(BaseModel):
    """A batch, by its id."""

    batch: str


class ListObjectsQuery(BaseModel):
    """A page of a list. Other parameters of OpenAI's clients are ignored."""

    limit: Annotated[int, Field(ge=1, le=100)] = 20
    after: str | None = None


class CreateOpenAIBatchBody(StrictModel):
    """The file to create a batch from."""

    input_file_id: str
    endpoint: Literal[ENDPOINTS]  # type: ignore[valid-type]  # a tuple of literals
    completion_window: Literal["24h"]
    metadata: Annotated[dict[str, _MetadataValue], Field(max_length=16)] | None = None


class FileResponse(BaseModel):
    """An uploaded file, or the output of a batch."""

    id: str
    object: str = "file"
    bytes: int
    created_at: int
    filename: str
    purpose: str
    status: str = "processed"


class FilesResponse(BaseModel):
    """Files, newest first."""

    object: str = "list"
    data: list[FileResponse]
    has_more: bool


class DeletedFileResponse(BaseModel):
    """A file that was deleted."""

    id: str
    object: str = "file"
    deleted: bool = True


class RequestCounts(BaseModel):
    """The numbers of requests of a batch."""

    total: int
    completed: int
    failed: int


class OpenAIBatchResponse(BaseModel):
    """A batch in the form of OpenAI's batch object."""

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


class OpenAIBatchesResponse(BaseModel):
    """Batches, newest first."""

    object: str = "list"
    data: list[OpenAIBatchResponse]
    has_more: bool
