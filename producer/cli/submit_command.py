"""The command `submit`: checks and submits a file with a progress bar.

If Ctrl-C interrupts it, the last line on standard error states how to continue.
"""

from __future__ import annotations

import gc
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import NoReturn

import sqlalchemy as sa
import typer

from core.console import INTERRUPTED, err
from core.domain.batch import Lane
from core.settings.settings import Settings
from db.queries import batches
from db.session import reading
from producer.cli.display import Show, bar
from producer.connections import producer_context
from producer.question_files.formats import FileFormat
from producer.question_files.question_file import CheckedFile, check, opened
from producer.submission.admission import WhenFull
from producer.submission.batch_name import name_of
from producer.submission.submit import SubmitCallbacks, SubmitRequest, SubmitResult, submit

_REDIS_UNAVAILABLE = (
    "answermill: Redis is unavailable; the questions are stored,"
    " and workers claim them when Redis is back"
)

# Python searches for reference cycles after this many new objects. Questions are in no cycle, and
# with the default of 700 the search took a seventh of the time.
_GC_THRESHOLD = 100_000


@dataclass(frozen=True, slots=True)
class SubmitOptions:
    """The argument and the options of the command."""

    file: str
    text: str | None
    key: str | None
    file_format: FileFormat | None
    name: str | None
    lane: Lane
    deadline: timedelta | datetime | None
    webhook: str | None
    when_full: WhenFull


def run(settings: Settings, options: SubmitOptions) -> SubmitResult:
    """Submit the file. After Ctrl-C, print how to continue and exit.

    Raises:
        UserError: the file or one of its rows is invalid; nothing was stored.
        ServiceUnavailable: nothing was stored, or the part that `status` shows.
        BacklogFull: as ServiceUnavailable, and `when_full` is STOP.
    """
    opening = opened(
        options.file, text=options.text, key=options.key, file_format=options.file_format
    )
    with bar(err) as show, _rare_garbage_collection(), ExitStack() as stack:
        with _restart_hint():
            source = stack.enter_context(opening)
            checked = check(source, lambda count: show("checking", count, None))
            context = stack.enter_context(producer_context(settings))
        with _resume_hint(context.engine, checked, options.name):
            return submit(context, _request(options, checked), _callbacks(show, checked.count))


@contextmanager
def _rare_garbage_collection() -> Iterator[None]:
    threshold = gc.get_threshold()
    gc.set_threshold(_GC_THRESHOLD)
    try:
        yield
    finally:
        gc.set_threshold(*threshold)


def _request(options: SubmitOptions, checked: CheckedFile) -> SubmitRequest:
    return SubmitRequest(
        checked,
        name=options.name,
        lane=options.lane,
        deadline=options.deadline,
        webhook=options.webhook,
        when_full=options.when_full,
    )


def _callbacks(show: Show, total: int) -> SubmitCallbacks:
    return SubmitCallbacks(
        on_progress=lambda count: show("storing", count, total),
        on_redis_unavailable=lambda: err.print(_REDIS_UNAVAILABLE),
        on_full=lambda full: err.print(f"answermill: {full}; waiting for capacity"),
    )


@contextmanager
def _restart_hint() -> Iterator[None]:
    try:
        yield
    except KeyboardInterrupt:
        _exit("interrupted, and nothing was stored; to start again, run the same command")


@contextmanager
def _resume_hint(engine: sa.Engine, checked: CheckedFile, name: str | None) -> Iterator[None]:
    try:
        yield
    except KeyboardInterrupt:
        batch_name = name_of(checked, name)
        with reading(engine) as conn:
            batch = batches.named(conn, batch_name)
        is_own = batch is not None and batches.is_made_of(batch, checked.digest)
        count = batch.question_count if batch is not None and is_own else 0
        command = "the same command"
        if checked.source.copied:
            command += (
                f" with --name {batch_name}" if name is None else ""
            ) + " and the same input"
        _exit(
            f"interrupted; {count:,} of {checked.count:,} questions are stored;"
            f" to continue, run {command}"
        )


def _exit(message: str) -> NoReturn:
    err.print(f"answermill: {message}")
    raise typer.Exit(INTERRUPTED)
