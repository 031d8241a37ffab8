"""Poison in whole workers: it is found by halving, named and parked, and costs little."""

from __future__ import annotations

import csv
import math
from contextlib import closing

import pytest
import sqlalchemy as sa

from db.session import reading
from tests import services
from tests.chaos.poison import NAMED, POISONS
from tests.chaos.simulated import answer_of
from tests.chaos.world import World

JOB_SIZE = 4
JOBS = 12
ATTEMPTS = 3
WITHIN_SECONDS = 120

# A job that holds a poison fails twice whole, once at each size between, and at last alone
# until it is given up; of each split the other half is answered at once. The first death may
# also hit a job that was claimed ahead; a job that failed travels alone.
HALVINGS = int(math.log2(JOB_SIZE))
FAILED_ATTEMPTS = 2 + (HALVINGS - 1) + (ATTEMPTS - 1)
EXTRA_ATTEMPTS = FAILED_ATTEMPTS + HALVINGS - 1 + 1

SETTINGS = {
    "JOB_SIZE": str(JOB_SIZE),
    "ATTEMPTS": str(ATTEMPTS),
    "JOB_TIME_LIMIT": "2",
    "LEASE_SECONDS": "2",
}


def poisoned_texts():
    """One poison of each kind, each in a job of its own, among harmless questions."""
    texts = [f"where is parcel {n}" for n in range(JOBS * JOB_SIZE)]
    for number, word in enumerate(POISONS):
        texts[2 * number * JOB_SIZE + number % JOB_SIZE] = f"{word} parcel"
    return texts


@pytest.fixture(scope="module", params=["sqlite", "postgres"])
def ended(request):
    """The rows of the results and of the jobs after the batch has ended."""
    with services.short_folder() as folder:
        try:
            world = World(folder, request.param, workers=3, **SETTINGS)
        except ModuleNotFoundError as error:
            services.missing(str(error.name), error)
        with closing(world):
            yield answered(world)


def answered(world):
    path = world.folder / "asked.csv"
    with path.open("w", encoding="utf-8", newline="") as file:
        csv.writer(file).writerows([["question"], *([text] for text in poisoned_texts())])
    batch = world.run_json("submit", str(path))["batch"]
    world.await_done(str(batch), WITHIN_SECONDS)
    with reading(world.engine) as conn:
        results = sa.text("SELECT status, answer, error FROM results ORDER BY position")
        jobs = sa.text(
            "SELECT state, attempt, last_position - first_position + 1 AS size FROM jobs"
        )
        return conn.execute(results).all(), conn.execute(jobs).all()


def test_each_poison_is_failed_and_its_error_named(ended):
    results, _ = ended
    for text, row in zip(poisoned_texts(), results, strict=True):
        word = text.partition(" ")[0]
        if word in POISONS:
            assert row.status == "failed"
            assert NAMED[word] in row.error


def test_every_other_question_is_answered(ended):
    results, _ = ended
    for text, row in zip(poisoned_texts(), results, strict=True):
        if text.partition(" ")[0] not in POISONS:
            assert (row.status, row.answer) == ("answered", answer_of(text))


def test_poison_is_found_by_halving_at_the_price_of_few_attempts(ended):
    _, jobs = ended
    failed = [job for job in jobs if job.state in ("split", "dead")]
    assert sorted(job.size for job in failed) == sorted(len(POISONS) * [4, 2, 1])
    assert sum(job.attempt for job in jobs) <= JOBS + len(POISONS) * EXTRA_ATTEMPTS
