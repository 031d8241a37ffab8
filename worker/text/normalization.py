"""Text as retrieval sees it: one spelling for what people write in many, and its script.

Pure functions of one text. What the encoder reads is the text as it was written, tidied.
"""

from __future__ import annotations

import re
import unicodedata
from enum import StrEnum
from functools import lru_cache

_APOSTROPHES = frozenset("'’‘ʼ`´")
_READABLE = frozenset("LMN")  # letters, marks, numbers: the first letter of Unicode's categories
_CJK = "\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uac00-\ud7af\uf900-\ufaff"
_FIND_CJK = re.compile(f"[{_CJK}]")
_SENTENCE_END = re.compile(r"(?<=[?!.;])\s+|(?<=[？！。；])|\n")
_SPACE_BESIDE_CJK = re.compile(f"(?<=[{_CJK}]) | (?=[{_CJK}])")


_NORMALISED = 1_024  # texts kept: on its way to an answer a question is asked for this four times
MOST_SENTENCES = 5  # that a text is split into; more: more passes for one question


class Script(StrEnum):
    """How a text is written, as far as it changes which similarity to trust."""

    SPACED = "spaced"  # words between spaces
    CJK = "cjk"  # Chinese, Japanese, Korean


class _Folding(dict[int, str]):
    """What each character becomes; `str.translate` fills it, a character at a time."""

    def __missing__(self, code: int) -> str:
        char = chr(code)
        if char in _APOSTROPHES:
            folded = ""
        else:
            folded = char if unicodedata.category(char)[0] in _READABLE else " "
        self[code] = folded
        return folded


_folding = _Folding()


@lru_cache(_NORMALISED)
def normalize_for_match(text: str) -> str:
    """Return the text with width, case, punctuation and space folded; "" if nothing is readable."""
    caseless = unicodedata.normalize("NFKC", text).casefold()
    folded = unicodedata.normalize("NFKC", caseless).translate(_folding)
    return _SPACE_BESIDE_CJK.sub("", " ".join(folded.split()))


def normalize_whitespace(text: str) -> str:
    """Return the text as the encoder reads it: spacing and Unicode's variants folded.

    Texts that differ in nothing else are one question. Line ends stay: they end sentences.
    """
    lines = (" ".join(line.split()) for line in unicodedata.normalize("NFC", text).splitlines())
    return "\n".join(line for line in lines if line)


def script(text: str) -> Script:
    """Return the script; one Chinese, Japanese or Korean character decides."""
    return Script.CJK if _FIND_CJK.search(text) else Script.SPACED


def sentences(text: str) -> list[str]:
    """Return the readable sentences of a text, at most `MOST_SENTENCES`; the last has the rest."""
    parts = _SENTENCE_END.split(text, MOST_SENTENCES - 1)
    return [part for part in parts if normalize_for_match(part)]
