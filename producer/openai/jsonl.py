"""OpenAI's batch files: requests as questions, results as responses, line by line.

A request's question is its last user message (`/v1/chat/completions`) or its input
(`/v1/responses`); its `custom_id` is the key. Whatever else it says, such as a model or a
temperature, is passed over: the version in production answers. An answer becomes the
assistant's message. A hand-off becomes a refusal, as a model says that it will not answer.
What failed, was cancelled or expired is told as an error.

The forms are those of https://platform.openai.com/docs/api-reference/batch.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import sqlalchemy as sa

from core.domain.result import Status
from core.errors import SourceInvalid
from producer.question_files.rows import json_rows, opened
from producer.results.pages import Page

CHAT, RESPONSES = "/v1/chat/completions", "/v1/responses"
ENDPOINTS = (CHAT, RESPONSES)
_ERRORS = {
    Status.FAILED: "answermill_failed",
    Status.CANCELLED: "batch_cancelled",
    Status.EXPIRED: "batch_expired",
}


def requests(path: Path, shown: str) -> Iterator[tuple[int, str, dict[str, Any]]]:
    """Read a file of requests: each row, the endpoint, and what becomes a question.

    Raises:
        SourceInvalid: with the row of the first fault of form.
    """
    with opened(path, shown) as stream:
        for row, found in json_rows(stream, shown):
            endpoint, body = found.get("url"), found.get("body")
            if found.get("method") != "POST" or endpoint not in ENDPOINTS:
                problem = f"it is no POST to {' or '.join(ENDPOINTS)}"
                raise SourceInvalid(shown, problem, row=row)
            text = _question(body) if isinstance(body, dict) else None
            if text is None:
                raise SourceInvalid(shown, "there is no user message with a text", row=row)
            yield row, str(endpoint), {"key": found.get("custom_id"), "question": text}


def _question(body: dict[str, Any]) -> str | None:
    told = body.get("messages", body.get("input"))
    if isinstance(told, str):
        return told
    if not isinstance(told, list):
        return None
    asked = [one for one in told if isinstance(one, dict) and one.get("role") == "user"]
    return _text(asked[-1].get("content")) if asked else None


def _text(content: object) -> str | None:
    if isinstance(content, str):
        return content
    if not isinstance(content, list):
        return None
    parts = [part.get("text") for part in content if isinstance(part, dict)]
    texts = [part for part in parts if isinstance(part, str)]
    return "\n".join(texts) if texts else None


def output(pages: Iterable[Page], batch: str, endpoint: str) -> Iterator[bytes]:
    """Write the lines of the output file: what was answered or handed off."""
    for page in pages:
        lines = (_line(row, batch, endpoint) for row in page if row.status not in _ERRORS)
        yield b"".join(json.dumps(one, ensure_ascii=False).encode() + b"\n" for one in lines)


def errors(pages: Iterable[Page], batch: str) -> Iterator[bytes]:
    """Write the lines of the error file: what failed, was cancelled or expired."""
    for page in pages:
        lines = (_error(row, batch) for row in page if row.status in _ERRORS)
        yield b"".join(json.dumps(one, ensure_ascii=False).encode() + b"\n" for one in lines)


def _line(row: sa.Row[Any], batch: str, endpoint: str) -> dict[str, Any]:
    body = _chat(row, batch) if endpoint == CHAT else _response(row, batch)
    told = {name: row._mapping[name] for name in _TOLD}  # noqa: SLF001 - Row's public mapping
    request = f"{batch}_{row.position}"
    return {
        "id": f"batch_req_{request}",
        "custom_id": row.key,
        "response": {
            "status_code": 200,
            "request_id": request,
            "body": {**body, "answermill": told},
        },
        "error": None,
    }


_TOLD = ("status", "entry_id", "matched", "confidence", "reason", "url")


def _chat(row: sa.Row[Any], batch: str) -> dict[str, Any]:
    message = {"role": "assistant", "content": row.answer, "refusal": _refusal(row)}
    usage = {"prompt_tokens": 0, "completion_tokens": 0, "total_tokens": 0}
    return {
        "id": f"chatcmpl-{batch}_{row.position}",
        "object": "chat.completion",
        "created": int(row.answered_at.timestamp()),
        "model": row.model_version,
        "choices": [{"index": 0, "message": message, "logprobs": None, "finish_reason": "stop"}],
        "usage": usage,
    }


def _response(row: sa.Row[Any], batch: str) -> dict[str, Any]:
    refusal = _refusal(row)
    content: dict[str, Any] = {"type": "output_text", "text": row.answer, "annotations": []}
    if refusal is not None:
        content = {"type": "refusal", "refusal": refusal}
    message = {
        "id": f"msg_{batch}_{row.position}",
        "type": "message",
        "role": "assistant",
        "status": "completed",
        "content": [content],
    }
    return {
        "id": f"resp_{batch}_{row.position}",
        "object": "response",
        "created_at": int(row.answered_at.timestamp()),
        "status": "completed",
        "model": row.model_version,
        "output": [message],
    }


def _refusal(row: sa.Row[Any]) -> str | None:
    return f"a person must answer this: {row.reason}" if row.status == Status.HANDED_OFF else None


def _error(row: sa.Row[Any], batch: str) -> dict[str, Any]:
    status = Status(row.status)
    return {
        "id": f"batch_req_{batch}_{row.position}",
        "custom_id": row.key,
        "response": None,
        "error": {"code": _ERRORS[status], "message": row.error or f"the question is {status}"},
    }
