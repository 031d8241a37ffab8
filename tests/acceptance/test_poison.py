"""Questions in a job with poison get the same answers as in a run without it.

Other passes are formed after a job was halved, and with PyTorch the shape of a pass may show in
the last digit of a confidence; nothing else may differ. Poison that kills is in
tests/chaos/test_poison.py.
"""

from __future__ import annotations

import csv
from importlib.resources import files

import pytest
import sqlalchemy as sa

from db.session import reading

JOB_SIZE = 16
QUESTIONS = 4 * JOB_SIZE
WITHIN_SECONDS = 120
POISON = {5: "!raise please", 6: "!raise again", 3 * JOB_SIZE: "!raise too"}
LAST_DIGIT = 0.000_2


def results_of(mill, texts, name):
    path = mill.home / f"{name}.csv"
    with path.open("w", encoding="utf-8", newline="") as file:
        csv.writer(file).writerows([["question"], *([text] for text in texts)])
    batch = mill.json("submit", str(path))["batch"]
    mill.await_final(batch, QUESTIONS, WITHIN_SECONDS)
    query = sa.text(
        "SELECT confidence, status, answer, entry_id, matched, reason, error, model_version"
        " FROM results WHERE batch_id = :b ORDER BY position"
    )
    with reading(mill.engine) as conn:
        return [tuple(row) for row in conn.execute(query, {"b": batch})]


def test_neighbors_of_poison_get_the_answers_of_a_clean_run(mill):
    with (files("stack") / "sample" / "questions.csv").open(encoding="utf-8", newline="") as file:
        clean = [row["question"] for row in csv.DictReader(file)][:QUESTIONS]
    poisoned = [POISON.get(place, text) for place, text in enumerate(clean)]
    mill.environment["ANSWERMILL_JOB_SIZE"] = str(JOB_SIZE)
    mill.start_worker(
        program="tests.chaos.poisoned",
        ANSWERMILL_SWEEP_SECONDS="0.5",
    )

    wanted = results_of(mill, clean, "clean")
    found = results_of(mill, poisoned, "poisoned")

    for place, (want, got) in enumerate(zip(wanted, found, strict=True)):
        if place in POISON:
            assert got[1] == "failed", got
        else:
            assert got[1:] == want[1:]
            assert got[0] == pytest.approx(want[0], abs=LAST_DIGIT)
