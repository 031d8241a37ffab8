"""Which language a text is in, by letters and common runs of them (langid; py3langid).

Short texts are told apart poorly, so a language counts only where it is more likely than
all others together.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from functools import cache
from typing import Any

_SURE = 0.5

# Written, they are hardly told from Mandarin; ISO 639 counts them as Chinese, too.
_CHINESE = frozenset({"cdo", "cjy", "gan", "hak", "hsn", "lzh", "mnp", "nan", "wuu", "yue"})
_NONE = "zxx"  # no language at all, such as keys struck at random
_SHARE = 0.05  # of the texts that are told apart; less may be mistakes


def language(text: str) -> str | None:
    """Return the ISO 639 code, Chinese of any kind being zh; None where it can't be told."""
    code, chance = _identifier().classify(text)
    if chance <= _SURE or code == _NONE:
        return None
    return "zh" if code in _CHINESE else str(code)


def languages(texts: Iterable[str]) -> frozenset[str]:
    """Return the languages of more than a few of the texts."""
    found = Counter(code for text in texts if (code := language(text)))
    return frozenset(code for code, n in found.items() if n >= _SHARE * found.total())


@cache
def _identifier() -> Any:  # noqa: ANN401 - py3langid is untyped
    # A second to load: only who hands off the first question waits for it.
    from py3langid.langid import MODEL_FILE, LanguageIdentifier

    return LanguageIdentifier.from_model_file(MODEL_FILE, norm_probs=True)
