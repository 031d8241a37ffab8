"""Output of the commands without faults; `test_faults` covers faults."""

from __future__ import annotations

import json
from datetime import UTC, datetime

import pytest

from core.domain.batch import Lane
from core.domain.result import Status
from db.queries import batches
from db.session import reading, transaction
from tests.factories import NOW, answer, finish, result, running_job, stored_batch


def _batch(engine, ref):
    with reading(engine) as conn:
        return batches.find(conn, ref)


def _end(engine, batch):
    with transaction(engine) as conn:
        batches.close_finished(conn, NOW, batch.id)


def test_submit_reports_the_batch(cli, write):
    path = write("july.csv", 9)
    assert cli("submit", path, "--name", "july") == (
        0,
        "batch 1 (july): 9 questions submitted\n",
        "",
    )
    again = cli("submit", path, "--name", "july")
    assert again == (0, "already submitted as batch 1 (july), which is sealed\n", "")


def test_submit_json_is_one_document_and_nothing_else(cli, write):
    status, out, err = cli("submit", write("july.csv", 9), "--name", "july", "--json")
    assert (status, err) == (0, "")
    assert json.loads(out) == {
        "batch": 1,
        "name": "july",
        "questions": 9,
        "resumed": False,
        "already": False,
    }


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("f.csv", "id,body\nt,Where?\n"),
        ("f.tsv", "id\tbody\nt\tWhere?\n"),
        ("f.jsonl", '{"id": "t", "body": "Where?"}\n'),
    ],
)
def test_submit_takes_other_columns_and_a_format(name, content, cli, write, engine):
    words = ("--text", "body", "--key", "id")
    assert cli("submit", write(name, content), *words)[0] == 0
    form = name.rpartition(".")[2]
    assert cli("submit", write("no suffix", content), *words, "--format", form)[0] == 0
    for number in (1, 2):
        finish(engine, running_job(engine, _batch(engine, str(number))), [result(1, key="t")])
        row = json.loads(cli("results", number, "--format", "jsonl")[1])
        assert (row["key"], row["question"]) == ("t", "Where?")


def test_submit_takes_a_lane_and_a_deadline(cli, write, engine):
    at = "2999-01-02T03:04:05+00:00"
    cli("submit", write("f.csv", 2), "--name", "a", "--lane", "interactive", "--deadline", at)
    batch = _batch(engine, "a")
    assert (batch.lane, batch.deadline) == (Lane.INTERACTIVE, datetime.fromisoformat(at))
    cli("submit", write("f.csv", 2), "--name", "b", "--deadline", "2h")
    assert 7_000 < (_batch(engine, "b").deadline - datetime.now(UTC)).total_seconds() <= 7_200


def test_blank_and_long_questions_are_accepted(cli, write, engine):
    content = f'key,question\na,\nb,"  "\nc,{"x" * 100_000}\n'
    assert cli("submit", write("f.csv", content), "--name", "odd")[0] == 0
    assert _batch(engine, "odd").question_count == 3


def test_status_is_a_line_for_each_figure_and_fits_the_terminal(cli, engine):
    stored_batch(engine, 4, name="n" * 60)
    status, out, err = cli("status", "1")
    assert (status, err) == (0, "")
    assert "queued          4" in out
    assert max(map(len, out.splitlines())) <= 80
    assert cli("status")[1].splitlines()[1].split()[2:] == ["sealed", "4", "0", "0/s", "unknown"]


def test_status_json_is_one_document(cli, engine):
    stored_batch(engine, 4, name="july")
    status, out, err = cli("status", "july", "--json")
    assert (status, err) == (0, "")
    document = json.loads(out)
    assert (document["batch"], document["queued"], document["answered"]) == (1, 4, 0)
    assert json.loads(cli("status", "--json")[1])["batches"][0]["name"] == "july"


@pytest.mark.parametrize("words", [["status", "july", "--watch"], ["submit", "f.csv", "--watch"]])
def test_watching_goes_to_standard_error_and_the_end_to_standard_output(words, cli, engine, write):
    write("f.csv", 4)
    cli("submit", "f.csv", "--name", "july")
    for _ in range(2):
        finish(engine, running_job(engine, _batch(engine, "july")))
    _end(engine, _batch(engine, "july"))
    words = [*words, "--name", "july"] if words[0] == "submit" else words
    status, out, err = cli(*words)
    assert status == 0
    assert err == "batch 1: 4 of 4 final (4 answered)\n"
    assert "state           done" in out


def test_ask_json_reports_that_there_is_no_answer_yet(cli):
    status, out, _ = cli("ask", "Where?", "--wait", "0s", "--json")
    document = json.loads(out)
    assert (status, document["batch"], document["status"]) == (0, 1, None)
    assert cli("ask", "Where?", "--wait", "0s")[1].startswith(
        "no answer yet: `answermill status 2`"
    )


def test_cancel_reports_the_outcome_of_the_questions(cli, engine):
    batch = stored_batch(engine, 4, job_size=2)
    finish(engine, running_job(engine, batch))
    expected = "batch 1 is cancelled: 2 questions cancelled, 2 were final, 0 still running\n"
    assert cli("cancel", "tickets") == (0, expected, "")


@pytest.mark.parametrize(
    ("words", "count"),
    [([], 1), (["--failed"], 1), (["--handed-off"], 2), (["--failed", "--handed-off"], 3)],
)
def test_retry_runs_failed_questions_by_default(words, count, cli, engine):
    batch = stored_batch(engine, 4, job_size=4)
    ends = [Status.ANSWERED, Status.FAILED, Status.HANDED_OFF, Status.HANDED_OFF]
    finish(engine, running_job(engine, batch), [result(n, end) for n, end in enumerate(ends, 1)])
    _end(engine, batch)
    noun = "question" if count == 1 else "questions"
    assert cli("retry", "tickets", *words) == (0, f"batch 1: {count} {noun} queued again\n", "")
    document = json.loads(cli("status", "tickets", "--json")[1])
    assert (document["queued"], document["state"]) == (count, "sealed")


def test_failures_are_reported_by_class_of_error_and_one_class_is_run_again(cli, engine):
    assert cli("status", "--failed") == (0, "no question has failed\n", "")
    batch = stored_batch(engine, 3, job_size=4, name="july")
    errors = ["RuntimeError: a", "RuntimeError: b", "empty question"]
    ends = [
        result(n, answer=answer(Status.FAILED, error=error)) for n, error in enumerate(errors, 1)
    ]
    finish(engine, running_job(engine, batch), ends)
    _end(engine, batch)
    expected = {
        "batch": 1,
        "name": "july",
        "failed": 3,
        "errors": {"RuntimeError": 2, "empty question": 1},
    }
    assert json.loads(cli("status", "july", "--failed", "--json")[1]) == expected
    assert json.loads(cli("status", "--failed", "--json")[1]) == {"batches": [expected]}
    lines = cli("status", "--failed")[1].splitlines()
    assert [line.strip().split(None, 2) for line in lines[1:]] == [
        ["1", "2", "RuntimeError"],
        ["1", "1", "empty question"],
    ]
    words = ("retry", "july", "--error", "RuntimeError")
    dry = "batch 1: 2 questions would run again\n"
    assert cli(*words, "--dry-run") == (0, dry, "")
    assert json.loads(cli("status", "july", "--json")[1])["failed"] == 3
    assert cli(*words) == (0, "batch 1: 2 questions queued again\n", "")
    assert json.loads(cli("status", "july", "--json")[1])["failed"] == 1
    assert cli(*words, "--handed-off")[0] == 2
