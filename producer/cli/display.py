"""Terminal output of the commands: sentences, tables, progress bars.

A progress bar needs a terminal. Without one, `progress_of` prints a line for each change, and `bar`
prints nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import TYPE_CHECKING

from rich.console import Console
from rich.progress import BarColumn, Progress, ProgressColumn, Task, TextColumn, TimeRemainingColumn
from rich.table import Table
from rich.text import Text

from core.console import one_line
from core.domain.result import Status

if TYPE_CHECKING:
    from producer.batches.cancel import CancelResult
    from producer.batches.retry import RetryResult
    from producer.batches.status import BatchFailures, BatchStatus
    from producer.submission.ask import SingleQuestion
    from producer.submission.submit import SubmitResult

# Takes the description, the number of finished questions, and their total if it is known.
Show = Callable[[str, int, int | None], None]


class _Rate(ProgressColumn):
    def render(self, task: Task) -> Text:
        rate = task.finished_speed or task.speed
        return Text("" if rate is None else f"{rate:,.0f}/s")


class _Count(ProgressColumn):
    def render(self, task: Task) -> Text:
        total = "" if task.total is None else f"/{task.total:,.0f}"
        return Text(f"{task.completed:,.0f}{total}")


@contextmanager
def bar(console: Console) -> Iterator[Show]:
    """Show a progress bar on a terminal and remove it at the end."""
    if not console.is_terminal:
        yield lambda *_: None
        return
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        _Count(),
        _Rate(),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=console, transient=True) as progress:
        task = progress.add_task("reading", total=None)
        current = ""

        def show(description: str, done: int, total: int | None) -> None:
            nonlocal current
            if description != current:
                progress.reset(task, description=description, total=total, completed=done)
                current = description
            progress.update(task, completed=done, total=total)

        yield show


@contextmanager
def progress_of(console: Console) -> Iterator[Callable[[BatchStatus], None]]:
    """Show the progress of a batch: a bar on a terminal, else a line a change."""
    last = ""

    def print_change(status: BatchStatus) -> None:
        nonlocal last
        sentence = _progress_sentence(status)
        if sentence != last:
            console.print(sentence)
        last = sentence

    if not console.is_terminal:
        yield print_change
        return
    with bar(console) as show:
        yield lambda status: show(
            f"batch {status.batch.id}", status.progress.final, status.batch.question_count
        )


def _progress_sentence(status: BatchStatus) -> str:
    progress, batch = status.progress, status.batch
    counts = ", ".join(f"{count:,} {name}" for name, count in progress.by_status.items() if count)
    sentence = f"batch {batch.id}: {progress.final:,} of {batch.question_count:,} final"
    return f"{sentence} ({counts})" if counts else sentence


def submitted(result: SubmitResult) -> str:
    """Return the last sentence of `submit`."""
    batch = result.batch
    if result.already:
        return f"already submitted as batch {batch.id} ({batch.name}), which is {batch.state}"
    resumed = f", resumed after question {batch.question_count:,}" if result.resumed else ""
    return f"batch {batch.id} ({batch.name}): {_questions(result.questions)} submitted{resumed}"


def retried(result: RetryResult) -> str:
    """Return the last sentence of `retry`."""
    if not result.questions:
        return f"batch {result.batch.id}: no matching results, so no question runs again"
    verb = "would run again" if result.dry_run else "queued again"
    return f"batch {result.batch.id}: {_questions(result.questions)} {verb}"


def _questions(count: int) -> str:
    return "1 question" if count == 1 else f"{count:,} questions"


def cancelled(result: CancelResult) -> str:
    """Return the last sentence of `cancel`."""
    progress = result.progress
    stopped = progress.by_status[Status.CANCELLED]
    return (
        f"batch {result.batch.id} is cancelled: {_questions(stopped)} cancelled,"
        f" {progress.final - stopped:,} were final, {progress.running:,} still running"
    )


def asked(question: SingleQuestion) -> str:
    """Return the answer with its source, or the commands that show it later."""
    result = question.result
    if result is None:
        number = question.batch.id
        return f"no answer yet: `answermill status {number}`, then `answermill results {number}`"
    confidence = "" if result.confidence is None else f", confidence {result.confidence:.2f}"
    url = f", {result.url}" if result.url else ""
    source = f"entry {result.entry_id}{confidence}, {result.model_version}{url}"
    if result.status == Status.ANSWERED:
        return f"{result.answer}\n({source})"
    cause = result.reason or result.error or ""
    nearest = f"\n(nearest: {source})" if result.entry_id else ""
    return f"{result.status.replace('_', ' ')}: {cause}{nearest}"


def show_failures(console: Console, failures: list[BatchFailures]) -> None:
    """Print the failures, one line for each class of error."""
    if not any(item.errors for item in failures):
        console.print("no question has failed")
        return
    table = Table(box=None, pad_edge=False)
    table.add_column("batch", justify="right")
    table.add_column("questions", justify="right")
    table.add_column("error")
    for item in failures:
        for error, count in item.errors.items():
            text = Text(one_line(error), no_wrap=True, overflow="ellipsis")
            table.add_row(str(item.batch.id), f"{count:,}", text)
    console.print(table, soft_wrap=False)


def show_statuses(console: Console, statuses: list[BatchStatus], *, as_list: bool = False) -> None:
    """Print the status of one batch, or a list of batches."""
    if not statuses:
        console.print("no batches yet; `answermill submit FILE` creates one")
        return
    table = _list(statuses) if as_list else _detail(statuses[0])
    console.print(table, soft_wrap=False)


def _detail(status: BatchStatus) -> Table:
    batch, progress = status.batch, status.progress
    table = Table(box=None, show_header=False, pad_edge=False)
    rows = {
        "batch": f"{batch.id} ({batch.name}), {batch.lane}",
        "state": str(batch.state),
        "questions": f"{batch.question_count:,}",
        **{str(name): f"{progress.by_status[name]:,}" for name in Status},
        "queued": f"{progress.queued:,}",
        "running": f"{progress.running:,}",
        "rate": _per_second(status.questions_per_second),
        "ETA": _span(status.eta_seconds),
        "oldest waiting": _span(status.oldest_waiting_seconds),
        "deadline": f"{batch.deadline:%Y-%m-%d %H:%M:%S} UTC" if batch.deadline else "none",
    }
    for name, value in rows.items():
        table.add_row(name, value)
    return table


def _list(statuses: list[BatchStatus]) -> Table:
    table = Table(box=None, pad_edge=False)
    for heading in ("batch", "name", "state", "questions", "final", "rate", "ETA"):
        right = heading in ("batch", "questions", "final", "rate", "ETA")
        # Rich narrows columns that may wrap. Only the name may, and its cells are cut.
        wraps = heading == "name"
        table.add_column(heading, justify="right" if right else "left", no_wrap=not wraps)
    for status in statuses:
        batch = status.batch
        table.add_row(
            str(batch.id),
            Text(batch.name, no_wrap=True, overflow="ellipsis"),
            batch.state,
            f"{batch.question_count:,}",
            f"{status.progress.final:,}",
            _per_second(status.questions_per_second),
            _span(status.eta_seconds),
        )
    return table


def _per_second(rate: float | None) -> str:
    if rate is None:
        return "unknown"
    return f"{rate:,.0f}/s" if rate >= 10 or rate == 0 else f"{rate:.1f}/s"  # noqa: PLR2004


def _span(seconds: float | None) -> str:
    if seconds is None:
        return "unknown"
    return str(timedelta(seconds=round(seconds)))
