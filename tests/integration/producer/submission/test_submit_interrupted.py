"""`submit` is killed, or its file changes: no question is lost or doubled."""

from __future__ import annotations

import os
import signal
import subprocess
import sys

import pytest

from core.domain.batch import BatchState
from core.errors import BatchClosed, SourceChanged, SourceInvalid
from db.queries import batches
from db.queries import questions as question_rows
from db.session import reading, transaction
from producer.submission.dispatch import JobDispatcher

COUNT = 9  # slices of 4, 4 and 1


class Killed(BaseException):
    """An exception that ends a process like a kill."""


def _killed_at(call: int):
    calls = iter(range(call + 1))

    def on_progress(_: int) -> None:
        if next(calls) == call:
            raise Killed

    return on_progress


@pytest.mark.parametrize(
    "deaths", [[0], [1], [2], [3], [0, 0], [1, 1], [0, 1, 0, 1], [1, 0, 1, 0, 1]]
)
def test_killed_at_a_slice_and_run_again_it_has_every_question_once(
    deaths, submitted, write, all_there_once
):
    path = write("july.csv", COUNT)
    for call in deaths:
        with pytest.raises(Killed):
            submitted(path, on_progress=_killed_at(call))
    done = submitted(path)
    assert done.resumed
    all_there_once(done.batch.id, COUNT)


def test_killed_before_a_commit_the_slice_is_not_stored(
    submitted, write, stored, all_there_once, monkeypatch
):
    append = question_rows.append

    def killed(conn, batch, questions, **values):
        append(conn, batch, questions, **values)
        if questions[0].position > 1:
            raise Killed

    monkeypatch.setattr(question_rows, "append", killed)
    with pytest.raises(Killed):
        submitted(write("july.csv", COUNT))
    assert stored() == (1, 4, 2)
    monkeypatch.setattr(question_rows, "append", append)
    all_there_once(submitted(write("july.csv", COUNT)).batch.id, COUNT)


def test_killed_between_commit_and_send_the_next_run_sends_the_rest(
    submitted, write, waiting, all_there_once, monkeypatch
):
    def killed(*_):
        raise Killed

    send = JobDispatcher.send
    monkeypatch.setattr(JobDispatcher, "send", killed)
    with pytest.raises(Killed):
        submitted(write("july.csv", COUNT))
    assert waiting() == 0
    monkeypatch.setattr(JobDispatcher, "send", send)
    all_there_once(submitted(write("july.csv", COUNT)).batch.id, COUNT)
    assert waiting() == 3, "the sweep sends the first two"


@pytest.mark.usefixtures("environment")
def test_after_kill_9_the_same_call_stores_every_question_once(
    submitted, write, stored, all_there_once
):
    path = write("july.csv", COUNT)
    code = (
        "import os, sys; from core.settings.load import load; "
        "from producer.connections import producer_context; "
        "from producer.question_files.question_file import check, opened; "
        "from producer.submission.submit import SubmitCallbacks, SubmitRequest, submit\n"
        "kill = lambda count: count == 4 and os.kill(os.getpid(), 9)\n"
        "with producer_context(load()) as context, opened(sys.argv[1]) as source:\n"
        "    request = SubmitRequest(check(source))\n"
        "    submit(context, request, SubmitCallbacks(on_progress=kill))"
    )
    child = subprocess.run([sys.executable, "-c", code, str(path)], check=False)
    assert child.returncode == -signal.SIGKILL
    assert stored() == (1, 4, 2)
    all_there_once(submitted(path).batch.id, COUNT)


def test_another_file_does_not_continue_an_interrupted_one(submitted, write):
    with pytest.raises(Killed):
        submitted(write("july.csv", COUNT), name="july", on_progress=_killed_at(1))
    with pytest.raises(SourceChanged):
        submitted(write("july.csv", COUNT + 1), name="july")


@pytest.mark.parametrize("change", ["rewritten", "other header", "gone"])
@pytest.mark.parametrize("moment", [0, 1])
def test_a_file_that_changes_while_it_is_stored_is_refused(
    change, moment, submitted, write, stored
):
    path = write("july.csv", 1_000)
    calls = iter(range(1_000))

    def on_progress(_: int) -> None:
        if next(calls) == moment:
            header = "a,b\n" if change == "other header" else "key,question\n"
            path.unlink() if change == "gone" else path.write_text(header + "x,y\n" * 1_000)

    with pytest.raises(SourceInvalid) as caught:
        submitted(path, on_progress=on_progress)
    hint = "`answermill cancel 1` cancels the stored questions"
    assert str(caught.value) == f"{path}: the file changed while it was read; {hint}"
    assert stored()[1] == 4 * moment


def test_a_file_truncated_after_the_read_part_is_not_complete(engine, submitted, write):
    line = '{"question": "%s"}\n'
    line %= "x" * (2048 - len(line) + 2)  # four of them fill the reader's 8 KiB
    path = write("july.jsonl", line * 100)
    with pytest.raises(SourceInvalid, match="changed while it was read"):
        submitted(path, on_progress=lambda n: n == 4 and os.truncate(path, 8192))
    with reading(engine) as conn:
        assert batches.find(conn, "1").state is BatchState.OPEN


def test_two_at_once_store_every_question_once(submitted, write, all_there_once):
    path = write("july.csv", COUNT)
    with pytest.raises(BatchClosed):
        submitted(path, on_progress=lambda n: n == 4 and submitted(path))
    all_there_once(1, COUNT)


def test_a_cancelled_batch_is_not_continued(engine, submitted, write):
    path = write("july.csv", COUNT)
    with pytest.raises(Killed):
        submitted(path, on_progress=_killed_at(1))
    with transaction(engine) as conn:
        batches.end_early(conn, 1, BatchState.CANCELLED)
    again = submitted(path)
    assert (again.already, again.questions) == (True, 4)
