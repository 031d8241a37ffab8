"""Real bank customers' questions, end to end: every one ends once, and most of them right."""

from __future__ import annotations

import csv
import json
import shutil
from contextlib import closing

import pytest

from tests.acceptance.conftest import build, install
from tests.acceptance.mill import Mill

LEAST_ACCURACY = 0.91


@pytest.fixture(scope="module")
def bank_store(data_folder, tmp_path_factory):
    folder = tmp_path_factory.mktemp("b")
    build(folder, data_folder / "banking77" / "knowledge.jsonl", "bank")
    yield folder / "models"
    shutil.rmtree(folder)


@pytest.fixture
def bank(home, database_url, bank_store):
    with closing(Mill(home, database_url, bank_store)) as mill:
        install(mill.settings, mill.engine, "bank")
        yield mill


def test_every_bank_question_gets_one_result_and_nine_in_ten_are_right(bank, data_folder):
    questions = data_folder / "banking77" / "dev.csv"
    with questions.open(encoding="utf-8", newline="") as file:
        expected = [row["expected"] for row in csv.DictReader(file)]
    bank.start_worker()

    batch = bank.json("submit", str(questions))["batch"]
    bank.await_final(batch, len(expected), 120)

    exported = bank.run("results", str(batch), "--format", "jsonl")
    rows = sorted((json.loads(line) for line in exported.stdout.splitlines()), key=_position)
    assert [row["position"] for row in rows] == list(range(1, len(expected) + 1))
    right = sum(
        row["status"] == "answered" and row["entry_id"] == entry
        for row, entry in zip(rows, expected, strict=True)
    )
    assert right / len(expected) >= LEAST_ACCURACY


def _position(row):
    return row["position"]
