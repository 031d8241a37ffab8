"""Normal forms of a text, its script and its sentences.

`normalize_for_match` gives equal questions in different spellings one form. The encoder reads
the text as written, after `normalize_whitespace`.
Not covered: words: `worker.model.retrieval.lexicon`.
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
_SPACE_NEXT_TO_CJK = re.compile(f"(?<=[{_CJK}]) | (?=[{_CJK}])")


# Normalized texts that are cached: one answer needs the form of its question four times.
_CACHED_TEXTS = 1_024
MOST_SENTENCES = 5  # of one text; higher: more passes for one question


class Script(StrEnum):
    """The script of a text, as far as it affects which similarity to trust."""

    SPACED = "spaced"  # words separated by spaces
    CJK = "cjk"  # Chinese, Japanese, Korean


class _Folding(dict[int, str]):
    """The folded form of each character, computed on first use."""

    def __missing__(self, code: int) -> str:
        char = chr(code)
        if char in _APOSTROPHES:
            folded = ""
        else:
            folded = char if unicodedata.category(char)[0] in _READABLE else " "
        self[code] = folded
        return folded


_folding = _Folding()


@lru_cache(_CACHED_TEXTS)
def normalize_for_match(text: str) -> str:
    """Return the text with width, case, punctuation and spaces folded.

    The form of a text without a readable character is "".
    """
    caseless = unicodedata.normalize("NFKC", text).casefold()
    folded = unicodedata.normalize("NFKC", caseless).translate(_folding)
    return _SPACE_NEXT_TO_CJK.sub("", " ".join(folded.split()))


def normalize_whitespace(text: str) -> str:
    """Return the text as the encoder reads it.

    Spaces and Unicode variants are folded. Texts with the same form are one question. Line ends
    stay, because they end sentences.
    """
    lines = (" ".join(line.split()) for line in unicodedata.normalize("NFC", text).splitlines())
    return "\n".join(line for line in lines if line)


def script(text: str) -> Script:
    """Return the script, which one CJK character decides."""
    return Script.CJK if _FIND_CJK.search(text) else Script.SPACED


def sentences(text: str) -> list[str]:
    """Return the readable sentences of a text, at most `MOST_SENTENCES`.

    The last one includes the rest of the text.
    """
    parts = _SENTENCE_END.split(text, MOST_SENTENCES - 1)
    return [part for part in parts if normalize_for_match(part)]
