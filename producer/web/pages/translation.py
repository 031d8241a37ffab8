"""Translation of the pages into English and Chinese.

The English sentence is the key of the Chinese catalog. A test checks that the catalog has every
sentence of the templates and of this package, and no other. Words from table columns, such as a
status, can have entries in both catalogs.

Not covered: error messages, which are in English as in the HTTP API.
"""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path

from flask import request, session

LANGUAGES = {"en": "English", "zh": "中文"}
_FILES = {"en": "english.json", "zh": "chinese.json"}


@cache
def catalog(code: str) -> dict[str, str]:
    """Return the translations into a language, by sentence or column value."""
    file = Path(__file__).with_name(_FILES[code])
    translations: dict[str, str] = json.loads(file.read_text(encoding="utf-8"))
    return translations


def language() -> str:
    """Return the language of the user, by choice or browser preference."""
    chosen = session.get("language")
    if chosen in LANGUAGES:
        return str(chosen)
    return request.accept_languages.best_match(list(LANGUAGES), "en") or "en"


def translate(text: str, **values: object) -> str:
    """Return a sentence in the language of the user, with its values."""
    translated = catalog(language()).get(text, text)
    return translated.format(**values) if values else translated
