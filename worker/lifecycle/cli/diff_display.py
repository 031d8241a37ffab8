"""How the difference of two versions looks: within 80 columns, or as one JSON document."""

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
    from worker.lifecycle.evaluation.answer_diff import Changed, Difference
    from worker.lifecycle.evaluation.bundle_diff import BundleDiff, EntryChange

_WIDTH = 79
_MEANINGS = {
    Change.OTHER_ENTRY: "another entry",
    Change.OTHER_ANSWER: "the same entry, another answer",
    Change.HANDED_OFF: "answered, now handed off",
    Change.ANSWERED: "handed off, now answered",
    Change.CONFIDENCE: "confidence moved",
    Change.SAME: "the same",
}


def show_difference(found: Difference, limit: int, *, as_json: bool) -> None:
    """Show how many questions changed in which way, and the weightiest changes."""
    if as_json:
        told = {"first": found.first, "second": found.second, "questions": found.questions}
        changed = [one.document() for one in found.changed]
        console.print_json(told | {"counts": found.counts, "changed": changed})
        return
    what = "question" if found.questions == 1 else "questions"
    title = f"{found.first} and {found.second} on {found.questions:,} {what} of {found.title}"
    table = Table(title=title, title_justify="left")
    table.add_column("what the second one does")
    table.add_column("questions", justify="right")
    table.add_column("share", justify="right")
    for change, count in found.counts.items():
        share = count / found.questions if found.questions else 0.0
        table.add_row(_MEANINGS[change], f"{count:,}", f"{share:.2%}")
    console.out.print(table, soft_wrap=False)
    _list(found, limit)


def _list(found: Difference, limit: int) -> None:
    weight = list(Change)
    shown = sorted(found.changed, key=lambda one: weight.index(one.change))[:limit]
    for one in shown:
        _show(one)
    left = found.questions - found.counts[Change.SAME] - len(shown)
    if left:
        console.out.print(f"… and {left:,} more; --limit N or --json tells them")


def _show(one: Changed) -> None:
    _line(f"{one.key}: {one.question}", "bold")
    _line(f"   {_MEANINGS[one.change]}: {_answer(one.first)} -> {_answer(one.second)}", "")
    if one.change is Change.OTHER_ANSWER:
        _line(f"   - {one.first.answer}", "")
        _line(f"   + {one.second.answer}", "")


def _answer(answer: Answer) -> str:
    sure = "" if answer.confidence is None else f" {answer.confidence:.2f}"
    end = "" if answer.status is Status.ANSWERED else f" ({answer.reason or answer.error})"
    return f"{answer.entry_id or 'no entry'}{sure}{end}"


def _line(text: str, style: str) -> None:
    """Print a text cut to one line of the terminal; full-width characters count double."""
    indent = " " * (len(text) - len(text.lstrip()))
    line = Text(indent + console.one_line(text), style=style)
    line.truncate(min(console.out.width, _WIDTH), overflow="ellipsis")
    console.out.print(line)


def show_contents(first: str, second: str, found: BundleDiff, *, as_json: bool) -> None:
    """Show what differs between two bundles."""
    if as_json:
        console.print_json({"first": first, "second": second, **asdict(found)})
        return
    rows = [(name, str(one), str(other)) for name, (one, other) in found.parameters.items()]
    if rows:
        table = Table("parameter", title=f"{first} and {second}", title_justify="left")
        table.add_column(first, overflow="fold")
        table.add_column(second, overflow="fold")
        for row in rows:
            table.add_row(*row)
        console.out.print(table, soft_wrap=False)
    changed = [_entry(one) for one in found.changed]
    parts = {"files that differ": found.files, "entries added": found.added}
    parts |= {"entries removed": found.removed, "entries changed": changed}
    for title, names in parts.items():
        _names(title, names)
    if not rows and not any(parts.values()):
        console.out.print(f"{first} and {second} differ in nothing but when they were built.")


def _names(title: str, names: Sequence[str]) -> None:
    if names:
        console.out.print(f"{title}: {len(names)}")
    for name in names:
        _line(f"   {name}", "")


def _entry(one: EntryChange) -> str:
    phrasings = f" (+{one.phrasings_added}, -{one.phrasings_removed})"
    told = [f"{name}{phrasings if name == 'questions' else ''}" for name in one.fields]
    return f"{one.id}: {', '.join(told)}"
