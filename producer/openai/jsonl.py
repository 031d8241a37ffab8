"""Batch files of OpenAI: requests in, responses out.

The question of a request is its last user message (`/v1/chat/completions`) or its input
(`/v1/responses`); its `custom_id` is the key. Other fields, such as a model or a temperature, are
ignored: the active model version answers. An answer becomes the assistant's message. A hand-off
becomes a refusal. A failed, cancelled or expired question becomes an error.

Source of the formats: https://platform.openai.com/docs/api-reference/batch
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import sqlalchemy as sa

from core.domain.result import Status
from core.errors import SourceInvalid
from producer.question_files.rows import json_rows, open_text
from producer.results.pages import Page

CHAT, RESPONSES = "/v1/chat/completions", "/v1/responses"
ENDPOINTS = (CHAT, RESPONSES)
_ERRORS = {
    Status.FAILED: "answermill_failed",
    Status.CANCELLED: "batch_cancelled",
    Status.EXPIRED: "batch_expired",
}
_RESULT_FIELDS = ("status", "entry_id", "matched", "confidence", "reason", "url")


def requests(path: Path, display_name: str) -> Iterator[tuple[int, str, dict[str, Any]]]:
    """Read a file of requests: each row, its endpoint, and its question.

    Raises:
        SourceInvalid: a row is not a request; the error names the first one.
    """
    with open_text(path, display_name) as stream:
        for row, item in json_rows(stream, display_name):
            endpoint, body = item.get("url"), item.get("body")
            if item.get("method") != "POST" or endpoint not in ENDPOINTS:
                problem = f"the request is not a POST to {' or '.join(ENDPOINTS)}"
                raise SourceInvalid(display_name, problem, row=row)
            text = _question(body) if isinstance(body, dict) else None
            if text is None:
                problem = "the request has no user message with a text"
                raise SourceInvalid(display_name, problem, row=row)
            yield row, str(endpoint), {"key": item.get("custom_id"), "question": text}


def _question(body: dict[str, Any]) -> str | None:
    messages = body.get("messages", body.get("input"))
    if isinstance(messages, str):
        return messages
    if not isinstance(messages, list):
        return None
    of_users = [
        message
        for message in messages
        if isinstance(message, dict) and message.get("role") == "user"
    ]
    return _text(of_users[-1].get("content")) if of_users else None


def _text(content: object) -> str | None:
    if isinstance(content, str):
        return content
    if not isinstance(content, list):
        return None
    parts = [part.get("text") for part in content if isinstance(part, dict)]
    texts = [part for part in parts if isinstance(part, str)]
    return "\n".join(texts) if texts else None


def output(pages: Iterable[Page], batch: str, endpoint: str) -> Iterator[bytes]:
    """Yield the lines of the output file: answered and handed-off questions."""
    for page in pages:
        rows = (row for row in page if row.status not in _ERRORS)
        yield _encoded(_output_line(row, batch, endpoint) for row in rows)


def errors(pages: Iterable[Page], batch: str) -> Iterator[bytes]:
    """Yield the lines of the error file: questions without an answer."""
    for page in pages:
        rows = (row for row in page if row.status in _ERRORS)
        yield _encoded(_error_line(row, batch) for row in rows)


def _encoded(lines: Iterable[dict[str, Any]]) -> bytes:
    return b"".join(json.dumps(line, ensure_ascii=False).encode() + b"\n" for line in lines)


def _output_line(row: sa.Row[Any], batch: str, endpoint: str) -> dict[str, Any]:
    body = _chat(row, batch) if endpoint == CHAT else _response(row, batch)
    result = {name: row._mapping[name] for name in _RESULT_FIELDS}  # noqa: SLF001 - Row's public mapping
    request = f"{batch}_{row.position}"
    return {
        "id": f"batch_req_{request}",
        "custom_id": row.key,
        "response": {
            "status_code": 200,
            "request_id": request,
            "body": {**body, "answermill": result},
        },
        "error": None,
    }


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


def _error_line(row: sa.Row[Any], batch: str) -> dict[str, Any]:
    status = Status(row.status)
    return {
        "id": f"batch_req_{batch}_{row.position}",
        "custom_id": row.key,
        "response": None,
        "error": {"code": _ERRORS[status], "message": row.error or f"the question is {status}"},
    }
