"""Takes e-mail addresses, phone and card numbers out of questions before they are stored.

Covers the forms of English and Chinese texts, full-width characters included. A rule of
thumb, no proof: what is written in words stays, so does a number in another country's form
without its +, and ten digits in a row, which may be anything. What stands in its place names
the kind: `[email]`, `[phone]`, `[card]`. Keys of questions stay as they are, since callers
look their results up by them.

Every pattern reads each character a bounded number of times, whatever the text.
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
_MARKS = {kind: f"[{kind}]" for kind in RedactionKind}

# Full width, a few dashes and a few spaces as ASCII; each character has one for one.
_NARROW = {wide: wide - 0xFEE0 for wide in range(0xFF01, 0xFF5F)}
_NARROW |= dict.fromkeys((0x00A0, 0x2009, 0x202F, 0x3000), ord(" "))
_NARROW |= dict.fromkeys((*range(0x2010, 0x2015), 0x2212), ord("-"))

_LOCAL, _LABEL = r"[A-Za-z0-9À-ɏ._%+'-]", r"[A-Za-z0-9À-ɏ-]"
_EMAIL = re.compile(rf"(?<!{_LOCAL}){_LOCAL}++@{_LABEL}++(?:\.{_LABEL}++)+")

# Groups of digits, each with one space or hyphen before the next: a card number, or several.
_GROUPS = re.compile(r"(?<![0-9])[0-9]++(?:[ -][0-9]++)*+")
_GROUP = re.compile(r"[0-9]+")
_MOBILE = re.compile(r"86[ -]?1[3-9]")  # thirteen digits as well

_S = r"[ .-]?"  # between groups of a phone number
_PHONE = re.compile(
    r"(?<![A-Za-z0-9_+])(?:"
    r"(?:\+|00)[1-9](?:[ .()-]{0,3}[0-9]){6,14}"  # of any country
    rf"|(?:86{_S})?1[3-9]\d{_S}\d{{4}}{_S}\d{{4}}"  # a mobile in China
    rf"|(?:\(0\d{{2,3}}\)|0\d{{2,3}}){_S}\d{{3,4}}{_S}\d{{4}}"  # a landline there
    rf"|[48]00{_S}\d{{3}}{_S}\d{{4}}|[48]00{_S}\d{{4}}{_S}\d{{3}}"  # a service number there
    r"|(?:1[ .-])?(?:\([2-9]\d{2}\) ?|[2-9]\d{2}[ .-])[2-9]\d{2}[ .-]\d{4}"  # North America
    rf"|(?:\(0\d{{2,4}}\)|0\d{{2,4}}){_S}\d{{3,4}}{_S}\d{{3,4}}"  # the United Kingdom
    r")(?![0-9])",
    re.ASCII,
)


def redactor(kinds: Iterable[RedactionKind]) -> Callable[[Question], Question] | None:
    """Return what takes these kinds out of a question; None: there is nothing to take out."""
    wanted = frozenset(kinds)
    if not wanted:
        return None

    def redacted(question: Question) -> Question:
        metadata = question.metadata and redact_all(question.metadata, wanted)
        return question._replace(text=redact(question.text, wanted), metadata=metadata)

    return redacted


def redact(text: str, kinds: frozenset[RedactionKind]) -> str:
    """Return the text without what is of these kinds."""
    # What is taken out may leave something behind that only now stands for itself.
    while (told := _once(text, kinds)) != text:
        text = told
    return text


def _once(text: str, kinds: frozenset[RedactionKind]) -> str:
    if RedactionKind.EMAIL in kinds:
        text = _without(text, _EMAIL, RedactionKind.EMAIL)
    if RedactionKind.CARD in kinds:
        text = _without_cards(text)
    if RedactionKind.PHONE in kinds:
        text = _without(text, _PHONE, RedactionKind.PHONE)
    return text


def redact_all(value: Any, kinds: frozenset[RedactionKind]) -> Any:  # noqa: ANN401 - whatever JSON holds
    """Return what JSON holds with every text in it redacted; names stay."""
    if isinstance(value, str):
        return redact(value, kinds)
    if isinstance(value, list):
        return [redact_all(one, kinds) for one in value]
    if isinstance(value, dict):
        return {name: redact_all(one, kinds) for name, one in value.items()}
    return value


def _narrow(text: str) -> str:
    return text if text.isascii() else text.translate(_NARROW)


def _without(text: str, pattern: re.Pattern[str], kind: RedactionKind) -> str:
    return _cut(text, [found.span() for found in pattern.finditer(_narrow(text))], _MARKS[kind])


def _without_cards(text: str) -> str:
    spans = [span for run in _GROUPS.finditer(_narrow(text)) for span in _cards(run)]
    return _cut(text, spans, _MARKS[RedactionKind.CARD])


def _cut(text: str, spans: list[tuple[int, int]], mark: str) -> str:
    parts, end = [], 0
    for first, last in spans:
        parts += [text[end:first], mark]
        end = last
    return "".join([*parts, text[end:]])


def _cards(run: re.Match[str]) -> list[tuple[int, int]]:
    """Find card numbers that are made of whole groups of the run."""
    groups = [(found.start(), found.end()) for found in _GROUP.finditer(run.string, *run.span())]
    spans: list[tuple[int, int]] = []
    first = 0
    while first < len(groups):
        end = _card_end(run.string, groups, first)
        if end is not None:
            spans.append((groups[first][0], groups[end][1]))
        first = first + 1 if end is None else end + 1
    return spans


def _card_end(text: str, groups: list[tuple[int, int]], first: int) -> int | None:
    """Return the last group of the longest card number that begins with this group."""
    digits, found = "", None
    at = groups[first][0]
    if text[at] not in _CARD_STARTS or text[at - 1 : at] == "+" or _MOBILE.match(text, at):
        return None
    for last in range(first, min(first + _CARD_GROUPS, len(groups))):
        start, end = groups[last]
        if len(digits) + end - start > _CARD_DIGITS[-1]:
            break
        digits += text[start:end]
        if len(digits) in _CARD_DIGITS and _CARD.match(digits) and luhn(digits):
            found = last
    return found


def luhn(digits: str) -> bool:
    """Tell whether the last digit is the check digit of those before (ISO/IEC 7812-1, annex B)."""
    doubled = (2 * int(digit) for digit in digits[-2::-2])
    total = sum(map(int, digits[-1::-2])) + sum(n - 9 if n > 9 else n for n in doubled)  # noqa: PLR2004 - one digit
    return total % 10 == 0 and digits.strip("0") != ""
