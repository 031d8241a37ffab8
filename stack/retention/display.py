"""One run of `db prune`: its progress, its result, and Ctrl-C."""

from __future__ import annotations

from datetime import timedelta

import sqlalchemy as sa
import typer

from core.console import INTERRUPTED, err, out, print_json
from core.settings.settings import Settings
from db.queries.retention import PrunableAmount
from producer.cli.display import bar
from producer.connections import database
from stack.retention.prune import PruneResult, count_prunable, prune


def run(settings: Settings, age: timedelta, *, dry_run: bool, as_json: bool) -> None:
    """Prune, or print how much would be pruned.

    Raises:
        ServiceUnavailable: the database is unavailable; run the same command again.
    """
    with database(settings) as engine:
        pruned = count_prunable(engine, age) if dry_run else _shown(engine, age)
    if as_json:
        print_json(pruned.document())
    else:
        out.print(_sentence(pruned))


def _shown(engine: sa.Engine, age: timedelta) -> PruneResult:
    """Prune with a progress bar, and print the count at an interruption."""
    done = PrunableAmount(0, 0, 0)
    with bar(err) as show:

        def on_progress(now: PrunableAmount, of: PrunableAmount) -> None:
            nonlocal done
            done = now
            show("pruning", now.questions, of.questions)

        try:
            return prune(engine, age, on_progress=on_progress)
        except KeyboardInterrupt:
            message = f"interrupted; {_described(done)} are deleted: the same command goes on"
            err.print(f"answermill: {message}")
            raise typer.Exit(INTERRUPTED) from None


def _sentence(pruned: PruneResult) -> str:
    verb = "would be deleted" if pruned.dry_run else "deleted"
    return f"{_described(pruned.amount)} {verb}, older than {pruned.before:%Y-%m-%d %H:%M:%S} UTC"


def _described(amount: PrunableAmount) -> str:
    batches = _count(amount.batches, "batch", "batches")
    questions = _count(amount.questions, "question", "questions")
    return f"{batches}, {questions} and {_count(amount.files, 'file', 'files')}"


def _count(number: int, one: str, many: str) -> str:
    return f"{number:,} {one if number == 1 else many}"
