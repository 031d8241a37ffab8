"""Redaction of e-mail addresses, phone numbers and card numbers.

It runs before questions are stored. The patterns match the forms of English and Chinese texts,
full-width characters included. A marker names the kind of the removed text: `[email]`, `[phone]` or
`[card]`. Every pattern reads each character a bounded number of times, for any text.

Not covered: numbers written in words, phone numbers of other countries without a leading +, and ten
digits in a row, which may be any number. Keys stay unchanged, because callers look up results by
them.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from typing import Any

from core.domain.batch import Question
from core.settings.value_parsers import RedactionKind

# Of payment cards: https://en.wikipedia.org/wiki/Payment_card_number
_CARD_DIGITS, _CARD_GROUPS = range(13, 20), 7
_CARD = re.compile(r"[3-6]|2[2-7]|81|9558")
_CARD_STARTS = "2345689"
_MARKERS = {kind: f"[{kind}]" for kind in RedactionKind}

# Full-width characters, dashes and spaces in ASCII, one character for each, so offsets stay valid.
_NARROW = {wide: wide - 0xFEE0 for wide in range(0xFF01, 0xFF5F)}
_NARROW |= dict.fromkeys((0x00A0, 0x2009, 0x202F, 0x3000), ord(" "))
_NARROW |= dict.fromkeys((*range(0x2010, 0x2015), 0x2212), ord("-"))

_LOCAL, _LABEL = r"[A-Za-z0-9À-ɏ._%+'-]", r"[A-Za-z0-9À-ɏ-]"
_EMAIL = re.compile(rf"(?<!{_LOCAL}){_LOCAL}++@{_LABEL}++(?:\.{_LABEL}++)+")

# Groups of digits with one space or hyphen between them: one card number or several.
_GROUPS = re.compile(r"(?<![0-9])[0-9]++(?:[ -][0-9]++)*+")
_GROUP = re.compile(r"[0-9]+")
_MOBILE = re.compile(r"86[ -]?1[3-9]")  # a mobile number in China has 13 digits, as a card may

_S = r"[ .-]?"  # separator of the groups of a phone number
_PHONE = re.compile(
    r"(?<![A-Za-z0-9_+])(?:"
    r"(?:\+|00)[1-9](?:[ .()-]{0,3}[0-9]){6,14}"  # any country
    rf"|(?:86{_S})?1[3-9]\d{_S}\d{{4}}{_S}\d{{4}}"  # mobile, China
    rf"|(?:\(0\d{{2,3}}\)|0\d{{2,3}}){_S}\d{{3,4}}{_S}\d{{4}}"  # landline, China
    rf"|[48]00{_S}\d{{3}}{_S}\d{{4}}|[48]00{_S}\d{{4}}{_S}\d{{3}}"  # service number, China
    r"|(?:1[ .-])?(?:\([2-9]\d{2}\) ?|[2-9]\d{2}[ .-])[2-9]\d{2}[ .-]\d{4}"  # North America
    rf"|(?:\(0\d{{2,4}}\)|0\d{{2,4}}){_S}\d{{3,4}}{_S}\d{{3,4}}"  # United Kingdom
    r")(?![0-9])",
    re.ASCII,
)


def redactor(kinds: Iterable[RedactionKind]) -> Callable[[Question], Question] | None:
    """Return a function that redacts these kinds in a question.

    Return None if there are no kinds.
    """
    chosen = frozenset(kinds)
    if not chosen:
        return None

    def redacted(question: Question) -> Question:
        metadata = question.metadata and redact_all(question.metadata, chosen)
        return question._replace(text=redact(question.text, chosen), metadata=metadata)

    return redacted


def redact(text: str, kinds: frozenset[RedactionKind]) -> str:
    """Return the text with markers in place of these kinds."""
    # A marker can end a number, so that a number next to it matches only in the next pass.
    while (redacted := _redact_once(text, kinds)) != text:
        text = redacted
    return text


def _redact_once(text: str, kinds: frozenset[RedactionKind]) -> str:
    if RedactionKind.EMAIL in kinds:
        text = _without(text, _EMAIL, RedactionKind.EMAIL)
    if RedactionKind.CARD in kinds:
        text = _without_cards(text)
    if RedactionKind.PHONE in kinds:
        text = _without(text, _PHONE, RedactionKind.PHONE)
    return text


def redact_all(value: Any, kinds: frozenset[RedactionKind]) -> Any:  # noqa: ANN401 - any JSON value
    """Redact every string of a JSON value, but not the names of members."""
    if isinstance(value, str):
        return redact(value, kinds)
    if isinstance(value, list):
        return [redact_all(item, kinds) for item in value]
    if isinstance(value, dict):
        return {name: redact_all(item, kinds) for name, item in value.items()}
    return value


def _narrow(text: str) -> str:
    return text if text.isascii() else text.translate(_NARROW)


def _without(text: str, pattern: re.Pattern[str], kind: RedactionKind) -> str:
    spans = [match.span() for match in pattern.finditer(_narrow(text))]
    return _replace(text, spans, _MARKERS[kind])


def _without_cards(text: str) -> str:
    spans = [span for run in _GROUPS.finditer(_narrow(text)) for span in _cards(run)]
    return _replace(text, spans, _MARKERS[RedactionKind.CARD])


def _replace(text: str, spans: list[tuple[int, int]], marker: str) -> str:
    parts, end = [], 0
    for first, last in spans:
        parts += [text[end:first], marker]
        end = last
    return "".join([*parts, text[end:]])


def _cards(run: re.Match[str]) -> list[tuple[int, int]]:
    """Return the spans of card numbers made of whole groups of the run."""
    groups = [match.span() for match in _GROUP.finditer(run.string, *run.span())]
    spans: list[tuple[int, int]] = []
    first = 0
    while first < len(groups):
        end = _card_end(run.string, groups, first)
        if end is not None:
            spans.append((groups[first][0], groups[end][1]))
        first = first + 1 if end is None else end + 1
    return spans


def _card_end(text: str, groups: list[tuple[int, int]], first: int) -> int | None:
    """Return the last group of the longest card number from this group on."""
    digits, end_group = "", None
    start = groups[first][0]
    if (
        text[start] not in _CARD_STARTS
        or text[start - 1 : start] == "+"
        or _MOBILE.match(text, start)
    ):
        return None
    for last in range(first, min(first + _CARD_GROUPS, len(groups))):
        group_start, group_end = groups[last]
        if len(digits) + group_end - group_start > _CARD_DIGITS[-1]:
            break
        digits += text[group_start:group_end]
        if len(digits) in _CARD_DIGITS and _CARD.match(digits) and luhn(digits):
            end_group = last
    return end_group


def luhn(digits: str) -> bool:
    """Return whether the last digit is the check digit.

    Source: ISO/IEC 7812-1, annex B.
    """
    doubled = (2 * int(digit) for digit in digits[-2::-2])
    total = sum(map(int, digits[-1::-2])) + sum(d - 9 if d > 9 else d for d in doubled)  # noqa: PLR2004 - one digit
    return total % 10 == 0 and digits.strip("0") != ""
