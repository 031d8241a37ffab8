"""The demo: the main job on the sample of an invented shop."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
from datetime import UTC, datetime
from importlib.resources import as_file, files
from pathlib import Path
from typing import Any

import sqlalchemy as sa
import typer
from rich.text import Text

from core.console import err, out
from core.domain.result import Status
from core.settings.settings import Settings
from db.clock import DatabaseClock
from db.queries import results
from db.schema import prepare
from db.session import reading
from producer.batches.status import BatchStatus, batch_status
from producer.cli.display import progress_of
from producer.connections import database, producer_context
from producer.question_files.question_file import check, opened
from producer.submission.submit import SubmitRequest, submit
from stack.local.supervisor import LocalStack, running

MODEL = "demo"
PRECISION_TARGET = "0.9"  # a shop that would rather answer than hand off
_WATCH_SECONDS = 0.25
_WIDTH = 79

# Shown whatever their result: the article's own question, and one of each kind.
_SHOWN = (
    "您是机器人吗？",
    "wheres my pacakge",
    "水壶摔瘪了😭",
    "one plate broken and one plate not in the box at all",
)
_ANSWERED_SHOWN, _HANDED_OFF_SHOWN = 7, 5


def run(settings: Settings, workers: int, *, stay: bool, stop: threading.Event) -> None:
    """Answer the sample, show it, and stay until stopped if asked to.

    Raises:
        AnswermillError: a package or service that the demo needs is missing.
        typer.Exit: the model could not be built; the build has reported the reason.
    """
    with as_file(files("stack") / "sample") as sample:
        prepare(settings).dispose()
        out.print("1. Build a model from the sample's knowledge base.")
        model = _build(sample)
        out.print("2. Start Redis, a database, a worker and Flower; submit the questions.")
        with running(settings, workers, model) as stack:
            end = _answer(settings, stack, sample / "questions.csv", stop)
            if end is None:
                return
            _show(settings, stack, end)
            if stay:
                out.print("\nEverything stays up until Ctrl-C.")
                while not stop.wait(_WATCH_SECONDS):
                    stack.watch(err.print)


def _build(sample: Path) -> str:
    # In a process of its own, so that this one never holds torch.
    words = ["model", "build", "--knowledge", str(sample / "knowledge.jsonl"), "--name", MODEL]
    words += ["--calibrate", str(sample / "labelled.csv"), "--precision-target", PRECISION_TARGET]
    words.append("--json")
    done = subprocess.run(
        [sys.executable, "-m", "stack", *words], stdout=subprocess.PIPE, check=False
    )
    if done.returncode:
        raise typer.Exit(done.returncode)  # the build has reported the reason
    built: dict[str, Any] = json.loads(done.stdout)
    out.print(
        f"   {built['entries']} entries, {built['phrasings']} known phrasings: {built['model']}"
    )
    return str(built["model"])


def _answer(
    settings: Settings, stack: LocalStack, questions: Path, stop: threading.Event
) -> BatchStatus | None:
    name = f"demo-{datetime.now(UTC):%Y%m%d-%H%M%S-%f}"
    with producer_context(settings) as context:
        with opened(str(questions)) as source:
            done = submit(context, SubmitRequest(check(source), name=name))
        out.print(f"   {done.questions} questions are accepted: batch {done.batch.id}.")
        out.print("3. The worker loads the model and answers.")
        clock = DatabaseClock(context.engine)
        with progress_of(err) as show:
            while not stop.wait(_WATCH_SECONDS):
                stack.watch(err.print)
                found = batch_status(context.engine, str(done.batch.id), clock)
                show(found)
                if found.finished:
                    return found
    return None


def _show(settings: Settings, stack: LocalStack, end: BatchStatus) -> None:
    with database(settings) as engine, reading(engine) as conn:
        rows = results.page(conn, end.batch.id, limit=end.batch.question_count)
    _list("Answered", _sample(rows, Status.ANSWERED, _ANSWERED_SHOWN))
    _list("Handed off to a human", _sample(rows, Status.HANDED_OFF, _HANDED_OFF_SHOWN))
    counts = end.progress.by_status
    text = ", ".join(f"{n} {s.replace('_', ' ')}" for s, n in counts.items() if n)
    out.print(f"\n{end.progress.final} questions: {text}.")
    out.print(f"{_rate(rows):,.0f} questions/s once the model was loaded.\n")
    _next_steps(settings, stack, end.batch.id)


def _sample(rows: list[sa.Row[Any]], status: Status, count: int) -> list[sa.Row[Any]]:
    """Choose different questions: the prepared ones, then evenly spread ones."""
    of_status = {row.question: row for row in rows if row.status == status}
    chosen = [of_status.pop(text) for text in _SHOWN if text in of_status]
    rest = list(of_status.values())
    missing = max(0, count - len(chosen))
    step = max(1, len(rest) // missing) if missing else 1
    return (chosen + rest[::step])[:count]


def _list(title: str, rows: list[sa.Row[Any]]) -> None:
    out.print(f"\n[bold]{title}[/bold]", markup=True)
    for row in rows:
        confidence = "" if row.confidence is None else f", {row.confidence:.0%} confidence"
        lead = "nearest entry: " if row.status == Status.HANDED_OFF else ""
        source = f"({lead}{row.entry_id}{confidence})" if row.entry_id else ""
        text = row.answer or f"{row.reason} {source}".replace("_", " ")
        _line("Q  ", row.question, "bold")
        _line("A  " if row.answer else "   ", f"{text} {source}" if row.answer else text, "")


def _line(lead: str, text: str, style: str) -> None:
    """Print a text cut to one line of the terminal."""
    line = Text(lead + " ".join(text.split()), style=style)
    line.truncate(min(out.width, _WIDTH), overflow="ellipsis")
    out.print(line)


def _rate(rows: list[sa.Row[Any]]) -> float:
    """Return questions/s after the first job.

    The time of the first job includes the loading of the model.
    """
    times = sorted(row.answered_at for row in rows)
    first, last = times[0], times[-1]
    later = sum(time > first for time in times)
    return float(later / max((last - first).total_seconds(), 1e-3))


def _next_steps(settings: Settings, stack: LocalStack, batch: int) -> None:
    out.print("Poll the results with any SQL client:")
    if settings.embedded_database:
        out.print(f"  sqlite3 {settings.home / 'answermill.db'}")
    out.print("  SELECT key, status, answer, reason, confidence FROM results")
    out.print(f"  WHERE batch_id = {batch} AND cursor > 0 ORDER BY cursor;")
    out.print(f"Watch the workers in Flower: {stack.flower_url}")
    out.print("Try next, in another terminal while this runs, or after `answermill up`:")
    out.print('  answermill ask "How do I return a lamp?"')
    out.print(f"  answermill results {batch} --format csv -o results.csv")
    out.print("  answermill model build --knowledge YOURS.jsonl --name yours")
