"""Counts of failures by error class, and retries of one class."""

from __future__ import annotations

import pytest

from core.domain.result import Status
from db.queries import retries
from db.session import reading, transaction
from tests.factories import (
    all_results,
    answer,
    fail,
    finish,
    job_rows,
    later,
    result,
    running_job,
    stored_batch,
)

ERRORS = [
    "RuntimeError: shape (1, 2)",
    "RuntimeError: shape (3, 4)",
    "Runtime: other",
    "gave up after 3 failed attempts: RuntimeError: boom",
    "gave up after 12 failed attempts: the worker died or lost touch",
    "empty question",
    "100%_of it",
    "100 xof it",
]


@pytest.fixture
def batch(engine):
    """Return a batch of two jobs in which all but two questions failed, with `ERRORS`."""
    batch = stored_batch(engine, len(ERRORS) + 2, job_size=5)
    ends = [
        result(number, answer=answer(Status.FAILED, error=error))
        for number, error in enumerate(ERRORS, 1)
    ]
    ends += [result(9), result(10, Status.HANDED_OFF)]
    finish(engine, running_job(engine, batch), ends[:5])
    finish(engine, running_job(engine, batch), ends[5:])
    return batch


def _retry(engine, batch, only, limit=100):
    with transaction(engine) as conn:
        return retries.retry(
            conn, batch, [Status.FAILED], limit=limit, now=later(100), since=later(50), only=only
        )


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        ("RuntimeError: shape: (1, 2)", "RuntimeError"),
        ("gave up after 3 failed attempts: RuntimeError: boom", "RuntimeError"),
        ("gave up after 3 failed attempts: the worker died", "the worker died"),
        ("empty question", "empty question"),
        ("", "unknown"),
        (None, "unknown"),
    ],
)
def test_the_class_of_an_error_is_what_stands_before_its_first_colon(error, expected):
    assert retries.error_class(error) == expected


def test_what_failed_is_counted_by_class_the_most_frequent_first(engine, batch):
    stored_batch(engine, 2, name="other")
    with reading(engine) as conn:
        counts = retries.classes(conn, batch.id)
    assert counts == {
        "RuntimeError": 3,
        "Runtime": 1,
        "the worker died or lost touch": 1,
        "empty question": 1,
        "100%_of it": 1,
        "100 xof it": 1,
    }
    assert next(iter(counts)) == "RuntimeError"


def test_a_question_that_is_given_up_is_counted(engine):
    batch = stored_batch(engine, 1)
    fail(engine, running_job(engine, batch), "MemoryError: 1 GB", attempts=1)
    with reading(engine) as conn:
        assert retries.classes(conn, batch.id) == {"MemoryError": 1}


@pytest.mark.parametrize(
    ("only", "positions"),
    [
        ("RuntimeError", [1, 2, 4]),
        ("Runtime", [3]),
        ("the worker died or lost touch", [5]),
        ("100%_of it", [7]),
        ("no such", []),
        (None, [1, 2, 3, 4, 5, 6, 7, 8]),
    ],
)
def test_one_class_runs_again_and_all_else_stays(only, positions, engine, batch):
    with reading(engine) as conn:
        assert retries.count(conn, batch.id, [Status.FAILED], only) == len(positions)
    assert _retry(engine, batch, only) == len(positions)
    kept = sorted(row.position for row in all_results(engine, batch))
    assert kept == [number for number in range(1, 11) if number not in positions]
    rows = job_rows(engine, batch)
    assert sum(row.failed for row in rows) == 8 - len(positions)
    assert [(row.answered, row.handed_off) for row in rows] == [(0, 0), (1, 1)]
    assert _retry(engine, batch, only) == 0


def test_a_class_that_only_later_jobs_have_is_found_after_the_limit(engine, batch):
    assert _retry(engine, batch, "empty question", limit=1) == 1
