from __future__ import annotations

import io
from datetime import timedelta
from types import SimpleNamespace

import pytest
from rich.cells import cell_len
from rich.console import Console

from core.domain.batch import Batch, BatchProgress, BatchState, Lane
from core.domain.result import Status
from producer.batches.cancel import CancelResult
from producer.batches.retry import RetryResult
from producer.batches.status import BatchStatus
from producer.cli import display
from producer.submission.ask import SingleQuestion
from producer.submission.submit import SubmitResult
from tests.factories import NOW, later


def _batch(**values: object) -> Batch:
    filled = {
        "id": 7,
        "name": "tickets",
        "idempotency_key": "k",
        "lane": Lane.BULK,
        "state": BatchState.SEALED,
        "deadline": None,
        "question_count": 1_000,
        "source": "tickets.csv",
        "model": None,
        "created_at": NOW,
        "finished_at": None,
    }
    return Batch(**{**filled, **values})


def _progress(queued: int = 0, running: int = 0, recent: int = 0, **final: int) -> BatchProgress:
    by_status = {status: final.get(status.value, 0) for status in Status}
    return BatchProgress(queued, running, by_status, recent, NOW if queued else None)


def _console(*, terminal: bool = False) -> tuple[Console, io.StringIO]:
    output = io.StringIO()
    return Console(file=output, width=80, force_terminal=terminal), output


def test_a_submission_is_reported_with_its_batch():
    def sentence(questions: int = 1_000, *, resumed: bool = False, **values: object) -> str:
        done = SubmitResult(_batch(**values), questions, resumed=resumed, already=False)
        return display.submitted(done)

    assert sentence() == "batch 7 (tickets): 1,000 questions submitted"
    assert sentence(1) == "batch 7 (tickets): 1 question submitted"
    assert sentence(2_000, resumed=True) == (
        "batch 7 (tickets): 2,000 questions submitted, resumed after question 1,000"
    )


def test_a_second_submission_is_reported():
    done = SubmitResult(_batch(), 1_000, resumed=False, already=True)
    assert display.submitted(done) == "already submitted as batch 7 (tickets), which is sealed"


def test_cancelling_reports_the_outcome_of_the_questions():
    progress = _progress(running=128, answered=10, failed=1, cancelled=861)
    assert display.cancelled(CancelResult(_batch(), progress)) == (
        "batch 7 is cancelled: 861 questions cancelled, 11 were final, 128 still running"
    )


def test_retrying_reports_how_many_run_again():
    assert display.retried(RetryResult(_batch(), 1)) == "batch 7: 1 question queued again"
    assert "no question runs again" in display.retried(RetryResult(_batch(), 0))


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        (
            {"status": "answered", "answer": "On its way."},
            "On its way.\n(entry parcel, confidence 0.90, shop@1)",
        ),
        (
            {"status": "answered", "answer": "On its way.", "url": "https://shop/p"},
            "On its way.\n(entry parcel, confidence 0.90, shop@1, https://shop/p)",
        ),
        (
            {"status": "handed_off", "reason": "nothing fits"},
            "handed off: nothing fits\n(nearest: entry parcel, confidence 0.90, shop@1)",
        ),
        (
            {"status": "failed", "error": "the model raised", "entry_id": None},
            "failed: the model raised",
        ),
        ({"status": "cancelled", "entry_id": None, "confidence": None}, "cancelled: "),
    ],
)
def test_an_answer_is_reported_with_its_source_and_a_hand_off_with_its_reason(values, expected):
    filled = {
        "answer": None,
        "entry_id": "parcel",
        "confidence": 0.9,
        "reason": None,
        "error": None,
        "model_version": "shop@1",
        "url": None,
    }
    assert (
        display.asked(SingleQuestion(_batch(), SimpleNamespace(**{**filled, **values}))) == expected
    )


def test_without_an_answer_the_next_commands_are_shown():
    sentence = display.asked(SingleQuestion(_batch(), None))
    assert sentence == "no answer yet: `answermill status 7`, then `answermill results 7`"


def test_a_status_has_a_line_for_each_number():
    console, output = _console()
    progress = _progress(queued=590, running=10, recent=300, answered=390, handed_off=10)
    display.show_statuses(console, [BatchStatus(_batch(), progress, later(60))])
    rows = dict(line.split("  ", 1) for line in output.getvalue().splitlines())
    assert {name: value.strip() for name, value in rows.items()} == {
        "batch": "7 (tickets), bulk",
        "state": "sealed",
        "questions": "1,000",
        "answered": "390",
        "handed_off": "10",
        "failed": "0",
        "cancelled": "0",
        "expired": "0",
        "queued": "590",
        "running": "10",
        "rate": "10/s",
        "ETA": "0:01:00",
        "oldest waiting": "0:01:00",
        "deadline": "none",
    }


@pytest.mark.parametrize("name", ["n" * 200, "您" * 100, "july " * 40], ids=["n", "您", "july"])
def test_a_list_fits_a_terminal_and_keeps_its_figures(name):
    console, output = _console()
    batch = _batch(name=name, question_count=123_456_789)
    status = BatchStatus(batch, _progress(queued=123_456_789), NOW + timedelta(days=3))
    display.show_statuses(console, [status], as_list=True)
    heading, line = output.getvalue().splitlines()
    assert heading.split() == ["batch", "name", "state", "questions", "final", "rate", "ETA"]
    begin, _, end = line.partition("…")
    assert begin.split()[0] == "7"
    assert end.split() == ["sealed", "123,456,789", "0", "0/s", "unknown"]
    assert cell_len(line) <= 80


def test_an_empty_list_shows_the_command_to_submit():
    console, output = _console()
    display.show_statuses(console, [], as_list=True)
    assert output.getvalue() == "no batches yet; `answermill submit FILE` creates one\n"


def test_a_bar_is_shown_on_a_terminal_only():
    for terminal in (True, False):
        console, output = _console(terminal=terminal)
        with display.bar(console) as show:
            show("checking", 5_000, None)
            show("storing", 5_000, 9_999)
        assert ("5,000/9,999" in output.getvalue()) is terminal


def test_without_a_terminal_a_line_is_reported_at_each_change():
    console, output = _console()
    with display.progress_of(console) as show:
        for answered in (0, 0, 400, 1_000):
            show(BatchStatus(_batch(), _progress(answered=answered), NOW))
    assert output.getvalue().splitlines() == [
        "batch 7: 0 of 1,000 final",
        "batch 7: 400 of 1,000 final (400 answered)",
        "batch 7: 1,000 of 1,000 final (1,000 answered)",
    ]
