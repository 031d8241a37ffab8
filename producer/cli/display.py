"""How submitting and waiting look to people: a bar on a terminal, else lines or nothing."""

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

# What is shown, how many questions are done, how many there are if that is known.
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
    """Show a bar that goes away at the end; nothing where there is no terminal."""
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
        shown = ""

        def show(what: str, done: int, total: int | None) -> None:
            nonlocal shown
            if what != shown:
                progress.reset(task, description=what, total=total, completed=done)
                shown = what
            progress.update(task, completed=done, total=total)

        yield show


@contextmanager
def progress_of(console: Console) -> Iterator[Callable[[BatchStatus], None]]:
    """Show where a batch stands as it changes: a bar on a terminal, else a line each time."""
    last = ""

    def line(standing: BatchStatus) -> None:
        nonlocal last
        told = _sentence(standing)
        if told != last:
            console.print(told)
        last = told

    if not console.is_terminal:
        yield line
        return
    with bar(console) as show:
        yield lambda standing: show(
            f"batch {standing.batch.id}", standing.progress.final, standing.batch.question_count
        )


def _sentence(standing: BatchStatus) -> str:
    progress, batch = standing.progress, standing.batch
    counts = ", ".join(f"{n:,} {status}" for status, n in progress.by_status.items() if n)
    told = f"batch {batch.id}: {progress.final:,} of {batch.question_count:,} final"
    return f"{told} ({counts})" if counts else told


def submitted(done: SubmitResult) -> str:
    """Return the sentence that ends `submit`."""
    batch = done.batch
    if done.already:
        return f"already submitted as batch {batch.id} ({batch.name}), which is {batch.state}"
    behind = f", resumed behind question {batch.question_count:,}" if done.resumed else ""
    return f"batch {batch.id} ({batch.name}): {_questions(done.questions)} submitted{behind}"


def retried(done: RetryResult) -> str:
    """Return the sentence that ends `retry`."""
    if not done.questions:
        return f"batch {done.batch.id}: it has no such results, so nothing runs again"
    what = "would run again" if done.dry_run else "to run again"
    return f"batch {done.batch.id}: {_questions(done.questions)} {what}"


def _questions(count: int) -> str:
    return "1 question" if count == 1 else f"{count:,} questions"


def cancelled(done: CancelResult) -> str:
    """Return the sentence that ends `cancel`."""
    progress = done.progress
    stopped = progress.by_status[Status.CANCELLED]
    return (
        f"batch {done.batch.id} is cancelled: {_questions(stopped)} cancelled,"
        f" {progress.final - stopped:,} were final, {progress.running:,} still running"
    )


def asked(done: SingleQuestion) -> str:
    """Return the answer with where it comes from, or how to look it up later."""
    found = done.result
    if found is None:
        number = done.batch.id
        return f"no answer yet: `answermill status {number}`, then `answermill results {number}`"
    sure = "" if found.confidence is None else f", confidence {found.confidence:.2f}"
    where = f", {found.url}" if found.url else ""
    source = f"entry {found.entry_id}{sure}, {found.model_version}{where}"
    if found.status == Status.ANSWERED:
        return f"{found.answer}\n({source})"
    why = found.reason or found.error or ""
    nearest = f"\n(nearest: {source})" if found.entry_id else ""
    return f"{found.status.replace('_', ' ')}: {why}{nearest}"


def show_failures(console: Console, found: list[BatchFailures]) -> None:
    """Print what failed, a line for each class of error."""
    if not any(one.errors for one in found):
        console.print("nothing has failed")
        return
    table = Table(box=None, pad_edge=False)
    table.add_column("batch", justify="right")
    table.add_column("questions", justify="right")
    table.add_column("error")
    for one in found:
        for error, count in one.errors.items():
            shown = Text(one_line(error), no_wrap=True, overflow="ellipsis")
            table.add_row(str(one.batch.id), f"{count:,}", shown)
    console.print(table, soft_wrap=False)


def show_statuses(console: Console, found: list[BatchStatus], *, as_list: bool = False) -> None:
    """Print where batches stand."""
    if not found:
        console.print("no batches yet; `answermill submit FILE` makes one")
        return
    table = _list(found) if as_list else _one(found[0])
    console.print(table, soft_wrap=False)


def _one(standing: BatchStatus) -> Table:
    batch, progress = standing.batch, standing.progress
    table = Table(box=None, show_header=False, pad_edge=False)
    rows = {
        "batch": f"{batch.id} ({batch.name}), {batch.lane}",
        "state": str(batch.state),
        "questions": f"{batch.question_count:,}",
        **{str(status): f"{progress.by_status[status]:,}" for status in Status},
        "queued": f"{progress.queued:,}",
        "running": f"{progress.running:,}",
        "rate": _per_second(standing.questions_per_second),
        "ETA": _span(standing.eta_seconds),
        "oldest waiting": _span(standing.oldest_waiting_seconds),
        "deadline": f"{batch.deadline:%Y-%m-%d %H:%M:%S} UTC" if batch.deadline else "none",
    }
    for name, value in rows.items():
        table.add_row(name, value)
    return table


def _list(standings: list[BatchStatus]) -> Table:
    table = Table(box=None, pad_edge=False)
    for heading in ("batch", "name", "state", "questions", "final", "rate", "ETA"):
        right = heading in ("batch", "questions", "final", "rate", "ETA")
        # Rich narrows the columns that may wrap; the name may, but its cells are cut.
        wraps = heading == "name"
        table.add_column(heading, justify="right" if right else "left", no_wrap=not wraps)
    for standing in standings:
        batch = standing.batch
        table.add_row(
            str(batch.id),
            Text(batch.name, no_wrap=True, overflow="ellipsis"),
            batch.state,
            f"{batch.question_count:,}",
            f"{standing.progress.final:,}",
            _per_second(standing.questions_per_second),
            _span(standing.eta_seconds),
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
