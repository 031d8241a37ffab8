"""One run of `submit`: check, store and send, with progress, and with a way to go on."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from datetime import datetime, timedelta
from typing import NoReturn

import sqlalchemy as sa
import typer

from core.console import INTERRUPTED, err
from core.domain.batch import Lane
from core.settings.settings import Settings
from db.queries import batches
from db.session import reading
from producer.cli.display import bar
from producer.connections import both
from producer.question_files.formats import FileFormat
from producer.question_files.question_file import CheckedFile, check, opened
from producer.submission.admission import WhenFull
from producer.submission.batch_name import name_of
from producer.submission.submit import SubmitResult, submit

_AWAY = (
    "answermill: Redis is away; the questions are stored all the same,"
    " and workers pick them up when it is back"
)

# How many new objects Python waits for before it looks for cycles among them. Questions are in
# none; with its own 700 it took a seventh of the time to go through them again and again.
_SEARCHED_EVERY = 100_000


def run(
    settings: Settings,
    file: str,
    *,
    text: str | None,
    key: str | None,
    file_format: FileFormat | None,
    name: str | None,
    lane: Lane,
    deadline: timedelta | datetime | None,
    webhook: str | None,
    when_full: WhenFull,
) -> SubmitResult:
    """Submit the file; Ctrl-C ends it with a line that says how to go on.

    Raises:
        UserError: the file, or a row of it, is not as it should be: nothing was stored.
        ServiceUnavailable: nothing was stored, or as much as `status` tells.
        BacklogFull: the same, and it is not to wait.
    """
    opening = opened(file, text=text, key=key, file_format=file_format)
    with bar(err) as show, ExitStack() as held:
        held.callback(gc.set_threshold, *gc.get_threshold())
        gc.set_threshold(_SEARCHED_EVERY)
        with _nothing_is_stored():
            source = held.enter_context(opening)
            checked = check(source, lambda count: show("checking", count, None))
            engine, client = held.enter_context(both(settings))
        with _way_to_go_on(engine, checked, name):
            return submit(
                engine,
                client,
                settings,
                checked,
                name=name,
                lane=lane,
                deadline=deadline,
                webhook=webhook,
                when_full=when_full,
                on_progress=lambda count: show("storing", count, checked.count),
                on_away=lambda: err.print(_AWAY),
                on_full=lambda full: err.print(f"answermill: {full}; waiting for room"),
            )


@contextmanager
def _nothing_is_stored() -> Iterator[None]:
    try:
        yield
    except KeyboardInterrupt:
        _end("interrupted before it stored anything; the same command starts again")


@contextmanager
def _way_to_go_on(engine: sa.Engine, source: CheckedFile, name: str | None) -> Iterator[None]:
    try:
        yield
    except KeyboardInterrupt:
        named = name_of(source, name)
        with reading(engine) as conn:
            batch = batches.named(conn, named)
        ours = batch if batch and batches.is_made_of(batch, source.digest) else None
        count = ours.question_count if ours else 0
        again = "the same command"
        if source.source.copied:
            again += (f" with --name {named}" if name is None else "") + " and the same input"
        _end(f"interrupted; {count:,} of {source.count:,} questions are stored: {again} goes on")


def _end(message: str) -> NoReturn:
    err.print(f"answermill: {message}")
    raise typer.Exit(INTERRUPTED)
