"""Identify the language of a text by letters and n-grams, with py3langid.

py3langid implements langid.py. Short texts are hard to identify, so a language counts only if
it is more probable than all others together.
Not covered: texts in several languages.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from functools import cache
from typing import Any

_MIN_PROBABILITY = 0.5

# In writing, these are hard to distinguish from Mandarin. ISO 639 counts them as Chinese, too.
_CHINESE = frozenset({"cdo", "cjy", "gan", "hak", "hsn", "lzh", "mnp", "nan", "wuu", "yue"})
_NONE = "zxx"  # no linguistic content, such as random key presses
_MIN_SHARE = 0.05  # of the identified texts; a smaller share may be wrong identifications


def language(text: str) -> str | None:
    """Return the ISO 639 code, or None if the language is unknown.

    Every Chinese language is zh.
    """
    code, probability = _identifier().classify(text)
    if probability <= _MIN_PROBABILITY or code == _NONE:
        return None
    return "zh" if code in _CHINESE else str(code)


def languages(texts: Iterable[str]) -> frozenset[str]:
    """Return the languages of more than a few of the texts."""
    counts = Counter(code for text in texts if (code := language(text)))
    return frozenset(code for code, count in counts.items() if count >= _MIN_SHARE * counts.total())


@cache
def _identifier() -> Any:  # noqa: ANN401 - py3langid is untyped
    # Loading takes a second. It is deferred until the first hand-off needs it.
    from py3langid.langid import MODEL_FILE, LanguageIdentifier

    return LanguageIdentifier.from_model_file(MODEL_FILE, norm_probs=True)
