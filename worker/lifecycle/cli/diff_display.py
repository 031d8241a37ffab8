"""Output of `answermill model diff`: text, or one JSON document.

Text is 80 columns wide. Not covered: the comparison itself (`worker.lifecycle.evaluation`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING

from rich.table import Table
from rich.text import Text

from core import console
from core.domain.result import Answer, Status
from worker.lifecycle.evaluation.answer_diff import Change

if TYPE_CHECKING:
    from worker.lifecycle.evaluation.answer_diff import AnswerDiff, ChangedAnswer
    from worker.lifecycle.evaluation.bundle_diff import BundleDiff, EntryChange

_WIDTH = 79  # columns
_MEANINGS = {
    Change.OTHER_ENTRY: "another entry",
    Change.OTHER_ANSWER: "the same entry, another answer",
    Change.HANDED_OFF: "answered, now handed off",
    Change.ANSWERED: "handed off, now answered",
    Change.CONFIDENCE: "confidence changed",
    Change.SAME: "the same",
}


def show_answer_diff(difference: AnswerDiff, limit: int, *, as_json: bool) -> None:
    """Print the questions per kind of change, and the largest changes."""
    if as_json:
        console.print_json(
            {
                "first": difference.first,
                "second": difference.second,
                "questions": difference.questions,
                "counts": difference.counts,
                "changed": [changed.document() for changed in difference.changed],
            }
        )
        return
    noun = "question" if difference.questions == 1 else "questions"
    title = f"{difference.first} and {difference.second} on {difference.questions:,} {noun}"
    table = Table(title=f"{title} of {difference.title}", title_justify="left")
    table.add_column("change in the second version")
    table.add_column("questions", justify="right")
    table.add_column("share", justify="right")
    for change, count in difference.counts.items():
        share = count / difference.questions if difference.questions else 0.0
        table.add_row(_MEANINGS[change], f"{count:,}", f"{share:.2%}")
    console.out.print(table, soft_wrap=False)
    _show_changed(difference, limit)


def _show_changed(difference: AnswerDiff, limit: int) -> None:
    rank = list(Change)
    shown = sorted(difference.changed, key=lambda changed: rank.index(changed.change))[:limit]
    for changed in shown:
        _show_question(changed)
    left = difference.questions - difference.counts[Change.SAME] - len(shown)
    if left:
        console.out.print(f"… and {left:,} more; show them with --limit N or --json")


def _show_question(changed: ChangedAnswer) -> None:
    _print_line(f"{changed.key}: {changed.question}", "bold")
    answers = f"{_answer(changed.first)} -> {_answer(changed.second)}"
    _print_line(f"   {_MEANINGS[changed.change]}: {answers}", "")
    if changed.change is Change.OTHER_ANSWER:
        _print_line(f"   - {changed.first.answer}", "")
        _print_line(f"   + {changed.second.answer}", "")


def _answer(answer: Answer) -> str:
    confidence = "" if answer.confidence is None else f" {answer.confidence:.2f}"
    end = "" if answer.status is Status.ANSWERED else f" ({answer.reason or answer.error})"
    return f"{answer.entry_id or 'no entry'}{confidence}{end}"


def _print_line(text: str, style: str) -> None:
    """Print a text, cut to one line of the terminal.

    Full-width characters count double.
    """
    indent = " " * (len(text) - len(text.lstrip()))
    line = Text(indent + console.one_line(text), style=style)
    line.truncate(min(console.out.width, _WIDTH), overflow="ellipsis")
    console.out.print(line)


def show_bundle_diff(first: str, second: str, difference: BundleDiff, *, as_json: bool) -> None:
    """Print the differences of two bundles."""
    if as_json:
        console.print_json({"first": first, "second": second, **asdict(difference)})
        return
    if difference.parameters:
        table = Table("parameter", title=f"{first} and {second}", title_justify="left")
        table.add_column(first, overflow="fold")
        table.add_column(second, overflow="fold")
        for name, (before, after) in difference.parameters.items():
            table.add_row(name, str(before), str(after))
        console.out.print(table, soft_wrap=False)
    parts = {
        "files that differ": difference.files,
        "entries added": difference.added,
        "entries removed": difference.removed,
        "entries changed": [_entry(change) for change in difference.changed],
    }
    for title, names in parts.items():
        _show_names(title, names)
    if not difference.parameters and not any(parts.values()):
        console.out.print(f"{first} and {second} differ only in when they were built.")


def _show_names(title: str, names: Sequence[str]) -> None:
    if names:
        console.out.print(f"{title}: {len(names)}")
    for name in names:
        _print_line(f"   {name}", "")


def _entry(change: EntryChange) -> str:
    phrasings = f" (+{change.phrasings_added}, -{change.phrasings_removed})"
    fields = [f"{name}{phrasings if name == 'questions' else ''}" for name in change.fields]
    return f"{change.id}: {', '.join(fields)}"
