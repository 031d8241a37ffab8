"""The commands `submit`, `ask`, `status`, `results`, `cancel` and `retry`: words to use cases."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Annotated

import typer

from core.console import err, out, parse_duration, print_json
from core.domain.batch import Lane
from core.domain.result import Status
from core.settings.load import load
from producer.cli import display
from producer.connections import both, database
from producer.question_files.formats import FileFormat
from producer.results.export import ExportFormat
from producer.submission.admission import WhenFull

app = typer.Typer(
    name="answermill",
    help="Submit questions, follow them, read their results.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)

_BATCHES_SHOWN = 20

Ref = Annotated[str, typer.Argument(metavar="BATCH", help="A batch's id or name.")]
Json = Annotated[bool, typer.Option("--json", help="Print one JSON document.")]
Watch = Annotated[bool, typer.Option("--watch", help="Follow it until it is finished.")]


@app.command()
def submit(
    file: Annotated[str, typer.Argument(metavar="FILE|-", help="Questions; - is standard input.")],
    *,
    name: Annotated[str | None, typer.Option(help="The batch's name.")] = None,
    text: Annotated[str | None, typer.Option(metavar="COL", help="Column of the text.")] = None,
    key: Annotated[str | None, typer.Option(metavar="COL", help="Column of the key.")] = None,
    lane: Annotated[Lane, typer.Option(help="Where it waits; interactive goes first.")] = Lane.BULK,
    deadline: Annotated[
        str | None, typer.Option(help="When answers are of no use any more: 2h, or a time.")
    ] = None,
    file_format: Annotated[
        FileFormat | None, typer.Option("--format", help="How the file is written.")
    ] = None,
    webhook: Annotated[
        str | None, typer.Option(metavar="URL", help="Where its end is told, by the HTTP front.")
    ] = None,
    when_full: Annotated[
        WhenFull, typer.Option(help="When too many questions wait: wait for room, or stop.")
    ] = WhenFull.WAIT,
    watch: Watch = False,
    as_json: Json = False,
) -> None:
    """Submit a file of questions as a batch.

    Every row is checked before anything is stored. Interrupted and run
    again, it goes on where it was. Standard input and pipes are copied to a
    temporary file first.
    """
    from producer.cli.submit_command import run

    due = None if deadline is None else _deadline(deadline)
    done = run(
        load(),
        file,
        text=text,
        key=key,
        file_format=file_format,
        name=name,
        lane=lane,
        deadline=due,
        webhook=webhook,
        when_full=when_full,
    )
    if as_json:
        print_json(done.document())
    else:
        out.print(display.submitted(done))
    if watch:
        _watch(str(done.batch.id), show_end=not as_json)
    elif out.is_terminal and not as_json:
        err.print(f"follow it: answermill status {done.batch.id} --watch")


def _deadline(text: str) -> timedelta | datetime:
    try:
        moment = datetime.fromisoformat(text).astimezone()
    except ValueError:
        span = parse_duration(text)
        if not span:
            raise typer.BadParameter(f"--deadline {text} leaves no time") from None
        return span
    if moment <= datetime.now(UTC):
        raise typer.BadParameter(f"--deadline {text} has passed")
    return moment


@app.command()
def ask(
    question: Annotated[str, typer.Argument(metavar="QUESTION", help="One question.")],
    *,
    wait: Annotated[str, typer.Option(help="How long to wait for the answer.")] = "10s",
    as_json: Json = False,
) -> None:
    """Ask one question and wait for its answer."""
    from producer.submission.ask import ask as run

    patience = parse_duration(wait)
    settings = load()
    with both(settings) as (engine, client):
        asked = run(engine, client, settings, question, wait=patience)
    if as_json:
        print_json(asked.document())
    else:
        out.print(display.asked(asked))


@app.command()
def status(
    batch: Annotated[
        str | None, typer.Argument(metavar="BATCH", help="A batch's id or name.")
    ] = None,
    *,
    watch: Watch = False,
    failed: Annotated[
        bool, typer.Option("--failed", help="What failed, by class of error.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Show where a batch stands, or the newest batches."""
    from producer.batches.status import batch_status, newest

    if failed:
        _show_failed(batch, as_json=as_json)
        return
    if batch is not None and watch:
        _watch(batch, show_end=True, as_json=as_json)
        return
    if watch:
        raise typer.BadParameter("--watch wants a BATCH")
    with database(load()) as engine:
        found = newest(engine, _BATCHES_SHOWN) if batch is None else [batch_status(engine, batch)]
    if batch is None and as_json:
        print_json({"batches": [one.document() for one in found]})
    elif as_json:
        print_json(found[0].document())
    else:
        display.show_statuses(out, found, as_list=batch is None)


def _show_failed(batch: str | None, *, as_json: bool) -> None:
    from producer.batches.status import batch_failures, newest_failed

    with database(load()) as engine:
        found = [batch_failures(engine, batch)] if batch else newest_failed(engine, _BATCHES_SHOWN)
    if not as_json:
        display.show_failures(out, found)
    elif batch is None:
        print_json({"batches": [one.document() for one in found]})
    else:
        print_json(found[0].document())


def _watch(batch: str, *, show_end: bool, as_json: bool = False) -> None:
    from producer.batches.status import watch

    with database(load()) as engine, display.progress_of(err) as show:
        end = watch(engine, batch, show)
    if as_json:
        print_json(end.document())
    elif show_end:
        display.show_statuses(out, [end])


@app.command()
def results(
    batch: Ref,
    *,
    since: Annotated[
        int, typer.Option(min=0, metavar="CURSOR", help="Only what came after it.")
    ] = 0,
    follow: Annotated[
        bool, typer.Option("--follow", help="Wait for more until the batch is finished.")
    ] = False,
    status: Annotated[Status | None, typer.Option(help="Only results of this status.")] = None,
    export_format: Annotated[
        ExportFormat | None,
        typer.Option("--format", help="How to write them; unless given, as FILE's suffix says."),
    ] = None,
    output: Annotated[
        Path | None, typer.Option("-o", "--output", metavar="FILE", help="Where to write them.")
    ] = None,
) -> None:
    """Show or export a batch's results.

    On standard error it says which CURSOR to go on from next time.
    """
    from producer.cli.results_command import run

    with database(load()) as engine:
        last = run(engine, batch, output, export_format, since=since, status=status, follow=follow)
    if last is not None:
        err.print(f"next: --since {last}")


@app.command()
def cancel(batch: Ref) -> None:
    """Cancel what has not started of a batch."""
    from producer.batches.cancel import cancel as run

    with database(load()) as engine:
        out.print(display.cancelled(run(engine, batch)))


@app.command()
def retry(
    batch: Ref,
    *,
    failed: Annotated[bool, typer.Option("--failed", help="What failed: the default.")] = False,
    handed_off: Annotated[bool, typer.Option("--handed-off", help="What was handed off.")] = False,
    error: Annotated[
        str | None,
        typer.Option(metavar="CLASS", help="Of what failed, this class, as `status --failed` says"),
    ] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Say how many it would be, and change nothing.")
    ] = False,
) -> None:
    """Let questions of a batch run again."""
    from producer.batches.retry import count_retry
    from producer.batches.retry import retry as run

    if error is not None and handed_off:
        raise typer.BadParameter("--error is of what failed, not of what was handed off")
    statuses = [Status.HANDED_OFF] if handed_off else []
    if failed or not handed_off:
        statuses.append(Status.FAILED)
    settings = load()
    if dry_run:
        with database(settings) as engine:
            out.print(display.retried(count_retry(engine, batch, statuses, only=error)))
        return
    with both(settings) as (engine, client):
        done = run(engine, client, settings, batch, statuses, only=error)
    out.print(display.retried(done))
