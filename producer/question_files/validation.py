"""What can be stored as a question, a key, a language or metadata, and what is wrong if not."""

from __future__ import annotations

import json
import re

LONGEST_QUESTION = 1_000_000  # characters
LONGEST_KEY = 500  # characters: an index entry of PostgreSQL holds 2,704 bytes

# PostgreSQL's text holds neither. A byte that is no UTF-8 is read as a lone surrogate, too.
_UNSTORABLE = re.compile("[\x00\ud800-\udfff]")
_FIRST_ESCAPED, _LAST_ESCAPED = "\udc80", "\udcff"

_KINDS = {bool: "true or false", int: "a number", float: "a number", dict: "an object"}


def storage_fault(text: str) -> str | None:
    """Say what is in the text that can't be stored, None when nothing is."""
    if text.isascii() and "\0" not in text:
        return None
    found = _UNSTORABLE.search(text)
    if found is None:
        return None
    if found[0] == "\0":
        return "there is a NUL character in it; if the file is UTF-16, convert it to UTF-8"
    if _FIRST_ESCAPED <= found[0] <= _LAST_ESCAPED:
        byte = ord(found[0]) - 0xDC00
        example = "from GB18030 for example by `iconv -f GB18030 -t UTF-8`"
        return f"byte 0x{byte:02x} is no UTF-8; convert the file to UTF-8, {example}"
    return "there is half a character (a lone surrogate) in it"


def question_fault(value: object) -> str | None:
    """Say why this can't be a question, None when it can; a blank one can."""
    if not isinstance(value, str):
        return "there is no question" if value is None else f"the question is {_kind(value)}"
    if len(value) > LONGEST_QUESTION:
        return f"the question has {len(value):,} characters, more than {LONGEST_QUESTION:,}"
    return storage_fault(value)


def key_of(value: object) -> tuple[str, str | None]:
    """Return the value as a key, and why it can't be one, None when it can."""
    if isinstance(value, int | float) and not isinstance(value, bool):
        return str(value), None
    if not isinstance(value, str):
        return "", "there is no key" if value is None else f"the key is {_kind(value)}"
    if not value:
        return "", "the key is empty"
    if len(value) > LONGEST_KEY:
        return "", f"the key has {len(value):,} characters, more than {LONGEST_KEY}"
    return value, storage_fault(value)


def extras_fault(language: object, metadata: object) -> str | None:
    """Say why language or metadata can't be stored, None when they can."""
    if language is not None and not isinstance(language, str):
        return f"the language is {_kind(language)}"
    known = json.dumps(metadata, ensure_ascii=False) if metadata else ""
    return storage_fault(f"{language or ''}{known}")


def _kind(value: object) -> str:
    return f"{_KINDS.get(type(value), f'of the type {type(value).__name__}')}, not text"
