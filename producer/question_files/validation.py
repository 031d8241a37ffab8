"""Validation of questions, keys, languages and metadata.

A function returns the fault, or None if the value can be stored.
"""

from __future__ import annotations

import json
import re

LONGEST_QUESTION = 1_000_000  # characters
LONGEST_KEY = 500  # characters: an index entry of PostgreSQL has at most 2,704 bytes

# PostgreSQL stores neither in a text. A byte that is not UTF-8 is read as a lone surrogate.
_UNSTORABLE = re.compile("[\x00\ud800-\udfff]")
_FIRST_ESCAPED, _LAST_ESCAPED = "\udc80", "\udcff"

_KINDS = {bool: "true or false", int: "a number", float: "a number", dict: "an object"}


def storage_fault(text: str) -> str | None:
    """Return the first character that cannot be stored, as a fault."""
    if text.isascii() and "\0" not in text:
        return None
    match = _UNSTORABLE.search(text)
    if match is None:
        return None
    if match[0] == "\0":
        return "the text contains a NUL character; if the file is UTF-16, convert it to UTF-8"
    if _FIRST_ESCAPED <= match[0] <= _LAST_ESCAPED:
        byte = ord(match[0]) - 0xDC00
        example = "for example with `iconv -f GB18030 -t UTF-8`"
        return f"byte 0x{byte:02x} is not UTF-8; convert the file to UTF-8, {example}"
    return "the text contains half a character (a lone surrogate)"


def question_fault(value: object) -> str | None:
    """Return why the value cannot be a question. A blank text can be one."""
    if not isinstance(value, str):
        return "the question is missing" if value is None else f"the question is {_kind(value)}"
    if len(value) > LONGEST_QUESTION:
        return f"the question has {len(value):,} characters, more than {LONGEST_QUESTION:,}"
    return storage_fault(value)


def key_of(value: object) -> tuple[str, str | None]:
    """Return the value as a key, and why it cannot be one."""
    if isinstance(value, int | float) and not isinstance(value, bool):
        return str(value), None
    if not isinstance(value, str):
        return "", "the key is missing" if value is None else f"the key is {_kind(value)}"
    if not value:
        return "", "the key is empty"
    if len(value) > LONGEST_KEY:
        return "", f"the key has {len(value):,} characters, more than {LONGEST_KEY}"
    return value, storage_fault(value)


def extras_fault(language: object, metadata: object) -> str | None:
    """Return why the language or the metadata cannot be stored."""
    if language is not None and not isinstance(language, str):
        return f"the language is {_kind(language)}"
    serialized = json.dumps(metadata, ensure_ascii=False) if metadata else ""
    return storage_fault(f"{language or ''}{serialized}")


def _kind(value: object) -> str:
    return f"{_KINDS.get(type(value), f'of the type {type(value).__name__}')}, not text"
