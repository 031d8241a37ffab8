"""Reader of a knowledge base: JSON lines, with one entry in each.

    {"id", "answer", "questions": [...], "language"?, "tags"?, "url"?}

Errors name the line. Two entries may share a phrasing, as those of real shops do.
`shared_phrasings` finds such phrasings for a warning, because a question that equals one
matches both entries.
"""

from __future__ import annotations

import difflib
import json
from collections.abc import Iterator
from dataclasses import fields
from pathlib import Path
from typing import Any

from core.errors import KnowledgeInvalid
from worker.model.bundle.bundle import Entry
from worker.text.normalization import normalize_for_match

_FIELDS = tuple(field.name for field in fields(Entry))
_REQUIRED = ("id", "answer", "questions")


class _Fault(Exception):
    """The fault of one line."""


def read_knowledge(path: Path) -> list[Entry]:
    """Read a knowledge base.

    Raises:
        KnowledgeInvalid: the file cannot be read or a line is wrong; it names the line.
    """
    entries: list[Entry] = []
    line_of: dict[str, int] = {}
    for number, raw in _lines(path):
        try:
            entry = _entry(_object(raw))
        except _Fault as fault:
            raise KnowledgeInvalid(str(path), str(fault), line=number) from None
        if entry.id in line_of:
            problem = f"the id {entry.id!r} is on line {line_of[entry.id]} already"
            raise KnowledgeInvalid(str(path), problem, line=number)
        line_of[entry.id] = number
        entries.append(entry)
    if not entries:
        raise KnowledgeInvalid(str(path), "the file has no entries")
    return entries


def shared_phrasings(entries: list[Entry]) -> list[tuple[str, str, str]]:
    """Return each phrasing that two entries have, with the ids of both."""
    first: dict[str, str] = {}
    shared = []
    for entry in entries:
        for text in entry.questions:
            other = first.setdefault(normalize_for_match(text) or text, entry.id)
            if other != entry.id:
                shared.append((text, other, entry.id))
    return shared


def _lines(path: Path) -> Iterator[tuple[int, bytes]]:
    try:
        content = path.read_bytes()
    except OSError as error:
        raise KnowledgeInvalid(str(path), error.strerror or str(error)) from error
    lines = content.removeprefix(b"\xef\xbb\xbf").split(b"\n")
    return ((number, line) for number, line in enumerate(lines, start=1) if line.strip())


def _object(raw: bytes) -> dict[str, Any]:
    try:
        value = json.loads(raw.decode("utf-8"), object_pairs_hook=_without_duplicates)
    except UnicodeDecodeError as error:
        raise _Fault(f"not UTF-8 (byte {error.start + 1})") from error
    except json.JSONDecodeError as error:
        raise _Fault(f"not JSON: {error.msg} (column {error.colno})") from error
    except RecursionError as error:
        raise _Fault("not an entry: nested too deep") from error
    except ValueError as error:
        raise _Fault("not an entry: a number has too many digits") from error
    if not isinstance(value, dict):
        raise _Fault('not a JSON object like {"id": …, "answer": …, "questions": […]}')
    return value


def _without_duplicates(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    names = [name for name, _ in pairs]
    duplicates = [name for name in names if names.count(name) > 1]
    if duplicates:
        raise _Fault(f"the field {duplicates[0]!r} appears twice")
    return dict(pairs)


def _entry(value: dict[str, Any]) -> Entry:
    for name in value:
        if name not in _FIELDS:
            raise _Fault(_unknown(name))
    for name in _REQUIRED:
        if name not in value:
            raise _Fault(f"the field {name!r} is missing")
    return Entry(
        id=_text(value["id"], "id"),
        answer=_text(value["answer"], "answer"),
        questions=_texts(value["questions"], "questions", least=1),
        language=_optional_text(value, "language"),
        tags=_texts(value.get("tags") or [], "tags", least=0),
        url=_optional_text(value, "url"),
    )


def _unknown(name: str) -> str:
    near = difflib.get_close_matches(name, _FIELDS, n=1)
    hint = f"did you mean {near[0]!r}?" if near else f"the fields are {', '.join(_FIELDS)}"
    return f"unknown field {name!r}; {hint}"


def _text(value: object, name: str) -> str:
    if not isinstance(value, str):
        raise _Fault(f"{name!r} must be a text, not {_kind(value)}")
    if not value.strip():
        raise _Fault(f"{name!r} is blank")
    try:
        value.encode()
    except UnicodeEncodeError as error:
        raise _Fault(f"{name!r} contains half of a surrogate pair") from error
    return value.strip()


def _optional_text(value: dict[str, Any], name: str) -> str | None:
    return None if value.get(name) is None else _text(value[name], name)


def _texts(value: object, name: str, *, least: int) -> list[str]:
    if not isinstance(value, list):
        raise _Fault(f"{name!r} must be a list of texts, not {_kind(value)}")
    if len(value) < least:
        raise _Fault(f"{name!r} is empty")
    texts = [_text(item, f"{name}[{index}]") for index, item in enumerate(value)]
    return list(dict.fromkeys(texts))


def _kind(value: object) -> str:
    if value is None:
        return "null"
    names = {bool: "true or false", int: "a number", float: "a number", str: "a text"}
    return names.get(type(value), "a list" if isinstance(value, list) else "an object")
