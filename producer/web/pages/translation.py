"""What the page says, in English and in Chinese.

The English sentence is the key to the Chinese one; a test sees to it that every sentence of
the templates and of this package has one, and no other. What stands in a table's column, such
as a status, has its words in both languages. What can't be done is told in English in both,
as the HTTP API does.
"""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path

from flask import request, session

LANGUAGES = {"en": "English", "zh": "中文"}
_FILES = {"en": "english.json", "zh": "chinese.json"}


@cache
def catalogue(code: str) -> dict[str, str]:
    """Return what is said in a language for each sentence and each word of a table."""
    file = Path(__file__).with_name(_FILES[code])
    found: dict[str, str] = json.loads(file.read_text(encoding="utf-8"))
    return found


def language() -> str:
    """Return what the visitor has chosen, else what the browser asks for first."""
    chosen = session.get("language")
    if chosen in LANGUAGES:
        return str(chosen)
    return request.accept_languages.best_match(list(LANGUAGES), "en") or "en"


def translate(text: str, **values: object) -> str:
    """Say it in the visitor's language; `{name}` stands for the value of that name."""
    said = catalogue(language()).get(text, text)
    return said.format(**values) if values else said
