"""The commands `submit`, `ask`, `status`, `results`, `cancel` and `retry`."""

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
from producer.connections import database, producer_context
from producer.question_files.formats import FileFormat
from producer.results.export import ExportFormat
from producer.submission.admission import WhenFull

app = typer.Typer(
    name="answermill",
    help="Submit questions, follow batches and read results.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)

_BATCHES_SHOWN = 20

Ref = Annotated[str, typer.Argument(metavar="BATCH", help="Id or name of the batch.")]
OptionalRef = Annotated[
    str | None,
    typer.Argument(metavar="BATCH", help="Id or name of the batch; default: newest batches."),
]
Json = Annotated[bool, typer.Option("--json", help="Print one JSON document.")]
Watch = Annotated[bool, typer.Option("--watch", help="Follow the batch until it is finished.")]


File = Annotated[
    str, typer.Argument(metavar="FILE|-", help="File of questions; -: standard input.")
]
Name = Annotated[str | None, typer.Option(help="Batch name; default: file name and digest.")]
Text = Annotated[
    str | None, typer.Option(metavar="COL", help="Column of the question; default: question.")
]
Key = Annotated[
    str | None,
    typer.Option(metavar="COL", help="Column of the key; default: key, else the position."),
]
LaneOption = Annotated[
    Lane, typer.Option(help="Lane of the batch; workers claim interactive jobs first.")
]
Deadline = Annotated[
    str | None, typer.Option(help="Stop answering after this duration (2h) or ISO 8601 time.")
]
Format = Annotated[
    FileFormat | None,
    typer.Option("--format", help="Format of the file; default: from its suffix or content."),
]
Webhook = Annotated[
    str | None,
    typer.Option(metavar="URL", help="URL that the HTTP front notifies when the batch ends."),
]
Full = Annotated[
    WhenFull,
    typer.Option(help="Reaction to a full backlog: wait for capacity, or stop with status 3."),
]


@app.command()
def submit(
    file: File,
    *,
    name: Name = None,
    text: Text = None,
    key: Key = None,
    lane: LaneOption = Lane.BULK,
    deadline: Deadline = None,
    file_format: Format = None,
    webhook: Webhook = None,
    when_full: Full = WhenFull.WAIT,
    watch: Watch = False,
    as_json: Json = False,
) -> None:
    """Submit a file of questions as a batch.

    Every row is checked before a question is stored. If the command is
    interrupted, run it again to continue. Standard input and pipes are
    copied to a temporary file first.
    """
    from producer.cli.submit_command import SubmitOptions, run

    due = None if deadline is None else _deadline(deadline)
    options = SubmitOptions(
        file, text, key, file_format, name, lane, deadline=due, webhook=webhook, when_full=when_full
    )
    result = run(load(), options)
    if as_json:
        print_json(result.document())
    else:
        out.print(display.submitted(result))
    if watch:
        _watch(str(result.batch.id), show_end=not as_json)
    elif out.is_terminal and not as_json:
        err.print(f"to follow the batch: answermill status {result.batch.id} --watch")


def _deadline(text: str) -> timedelta | datetime:
    try:
        moment = datetime.fromisoformat(text).astimezone()
    except ValueError:
        span = parse_duration(text)
        if not span:
            problem = f"--deadline {text} leaves no time; give a longer duration such as 2h"
            raise typer.BadParameter(problem) from None
        return span
    if moment <= datetime.now(UTC):
        problem = f"--deadline {text} has passed; give a later time, or a duration such as 2h"
        raise typer.BadParameter(problem)
    return moment


@app.command()
def ask(
    question: Annotated[str, typer.Argument(metavar="QUESTION", help="Text of the question.")],
    *,
    wait: Annotated[
        str, typer.Option(help="Duration to wait for the answer, for example 1m.")
    ] = "10s",
    as_json: Json = False,
) -> None:
    """Ask one question and wait for its answer."""
    from producer.submission.ask import ask as run

    wait_time = parse_duration(wait)
    with producer_context(load()) as context:
        asked = run(context, question, wait=wait_time)
    if as_json:
        print_json(asked.document())
    else:
        out.print(display.asked(asked))


@app.command()
def status(
    batch: OptionalRef = None,
    *,
    watch: Watch = False,
    failed: Annotated[
        bool, typer.Option("--failed", help="Count failed questions by class of error.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Show the progress of a batch, or of the newest batches."""
    from producer.batches.status import batch_status, newest

    if failed:
        _show_failed(batch, as_json=as_json)
        return
    if batch is not None and watch:
        _watch(batch, show_end=True, as_json=as_json)
        return
    if watch:
        raise typer.BadParameter("--watch needs a batch: answermill status BATCH --watch")
    with database(load()) as engine:
        items = newest(engine, _BATCHES_SHOWN) if batch is None else [batch_status(engine, batch)]
    if not as_json:
        display.show_statuses(out, items, as_list=batch is None)
    elif batch is None:
        print_json({"batches": [item.document() for item in items]})
    else:
        print_json(items[0].document())


def _show_failed(batch: str | None, *, as_json: bool) -> None:
    from producer.batches.status import batch_failures, newest_failed

    with database(load()) as engine:
        failures = (
            [batch_failures(engine, batch)] if batch else newest_failed(engine, _BATCHES_SHOWN)
        )
    if not as_json:
        display.show_failures(out, failures)
    elif batch is None:
        print_json({"batches": [item.document() for item in failures]})
    else:
        print_json(failures[0].document())


def _watch(batch: str, *, show_end: bool, as_json: bool = False) -> None:
    from producer.batches.status import watch

    with database(load()) as engine, display.progress_of(err) as show:
        last = watch(engine, batch, show)
    if as_json:
        print_json(last.document())
    elif show_end:
        display.show_statuses(out, [last])


@app.command()
def results(
    batch: Ref,
    *,
    since: Annotated[
        int,
        typer.Option(min=0, metavar="CURSOR", help="Cursor after which results are read; 0: all."),
    ] = 0,
    follow: Annotated[
        bool, typer.Option("--follow", help="Wait for more results until the batch is finished.")
    ] = False,
    status: Annotated[
        Status | None, typer.Option(help="Status of the results; default: every status.")
    ] = None,
    export_format: Annotated[
        ExportFormat | None,
        typer.Option("--format", help="Format; default: from the suffix of FILE, else table."),
    ] = None,
    output: Annotated[
        Path | None,
        typer.Option("-o", "--output", metavar="FILE", help="File; default: standard output."),
    ] = None,
) -> None:
    """Show or export the results of a batch.

    Standard error gets the CURSOR from which the next call can continue.
    """
    from producer.cli.results_command import ResultsOptions, run

    options = ResultsOptions(output, export_format, since, status, follow=follow)
    with database(load()) as engine:
        last = run(engine, batch, options)
    if last is not None:
        err.print(f"next: --since {last}")


@app.command()
def cancel(batch: Ref) -> None:
    """Cancel the questions of a batch that have not started."""
    from producer.batches.cancel import cancel as run

    with database(load()) as engine:
        out.print(display.cancelled(run(engine, batch)))


Failed = Annotated[
    bool, typer.Option("--failed", help="Failed questions (default without --handed-off).")
]
HandedOff = Annotated[bool, typer.Option("--handed-off", help="Handed-off questions.")]
ErrorClass = Annotated[
    str | None,
    typer.Option(metavar="CLASS", help="Class of error in `status --failed`; default: all."),
]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Count the questions and change nothing.")]


@app.command()
def retry(
    batch: Ref,
    *,
    failed: Failed = False,
    handed_off: HandedOff = False,
    error: ErrorClass = None,
    dry_run: DryRun = False,
) -> None:
    """Run failed or handed-off questions of a batch again."""
    from producer.batches.retry import count_retry
    from producer.batches.retry import retry as run

    if error is not None and handed_off:
        raise typer.BadParameter("--error selects failed questions; omit --handed-off")
    statuses = [Status.HANDED_OFF] if handed_off else []
    if failed or not handed_off:
        statuses.append(Status.FAILED)
    settings = load()
    if dry_run:
        with database(settings) as engine:
            out.print(display.retried(count_retry(engine, batch, statuses, only=error)))
        return
    with producer_context(settings) as context:
        result = run(context, batch, statuses, only=error)
    out.print(display.retried(result))
