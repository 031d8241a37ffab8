"""`model diff`, on the embedded database, in this process."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from core.settings.load import load
from db.schema import prepare
from tests.factories import question, stored_batch

KB = [
    {"id": "refund", "answer": "Soon.", "questions": ["Where is my refund?", "money back"]},
    {"id": "track", "answer": "See My orders.", "questions": ["Where is my parcel?", "track"]},
    {"id": "hello", "answer": "Hello!", "questions": ["hi", "good morning"]},
]
LATER = [KB[0] | {"answer": "Within 14 days."}, KB[1]]
QUESTIONS = ["Where is my refund?", "hi", "Where is my parcel?", "good morning\n\x1b[31m"]


@pytest.fixture(autouse=True)
def _shop(run, tiny_encoder: Path, tmp_path: Path) -> None:
    """shop@1, and shop@2 with another answer and without an entry."""
    for entries in (KB, LATER):
        file = tmp_path / "kb.jsonl"
        file.write_text("\n".join(map(json.dumps, entries)), encoding="utf-8")
        words = ["--name", "shop", "--knowledge", str(file), "--encoder", str(tiny_encoder)]
        assert run("build", *words)[0] == 0


@pytest.fixture
def batch(home: Path) -> str:
    engine = prepare(load(home=home))
    stored = stored_batch(engine, [question(n, text) for n, text in enumerate(QUESTIONS, start=1)])
    engine.dispose()
    return str(stored.id)


def lines_of(text):
    lines = text.splitlines()
    assert all(len(line) <= 80 for line in lines)
    return lines


def test_an_old_batch_is_answered_by_both_and_what_changes_is_shown(run, batch):
    status, out, err = run("diff", "shop@1", "shop@2", "--batch", batch)
    assert (status, err) == (0, "")
    text = "\n".join(lines_of(out))
    assert "shop@1 and shop@2 on 4 questions of batch" in text
    assert "ticket-1: Where is my refund?" in text
    assert "   - Soon." in text
    assert "   + Within 14 days." in text
    assert "ticket-3" not in text
    assert "\x1b" not in text


def test_as_json_all_of_it_is_one_document(run, batch):
    words = ["diff", "shop@1", "shop@2", "--batch", batch, "--limit", "0", "--json"]
    document = json.loads(run(*words)[1])
    assert (document["first"], document["second"], document["questions"]) == ("shop@1", "shop@2", 4)
    assert (document["counts"]["same"], document["counts"]["other_answer"]) == (1, 1)
    assert sum(document["counts"].values()) == 4
    assert [changed["key"] for changed in document["changed"]] == [
        "ticket-1",
        "ticket-2",
        "ticket-4",
    ]
    assert document["changed"][0]["second"]["answer"] == "Within 14 days."


def test_what_is_not_shown_is_counted(run, batch):
    out = run("diff", "shop@1", "shop@2", "--batch", batch, "--limit", "1")[1]
    assert "… and 2 more; show them with --limit N or --json" in lines_of(out)


def test_a_files_questions_are_answered_by_both(run, tmp_path):
    file = tmp_path / "q.csv"
    file.write_text("question\nWhere is my parcel?\n", encoding="utf-8")
    out = run("diff", "shop@1", "shop@2", "--questions", str(file))[1]
    assert "on 1 question of q.csv" in "\n".join(lines_of(out))
    assert "100.00%" in out


def test_without_questions_the_bundles_are_compared(run):
    text = "\n".join(lines_of(run("diff", "shop@1", "shop@2")[1]))
    assert "entries removed: 1\n   hello" in text
    assert "entries changed: 1\n   refund: answer" in text
    assert "phrasings" in text
    document = json.loads(run("diff", "shop@1", "shop@2", "--json")[1])
    assert (document["removed"], document["parameters"]["entries"]) == (["hello"], [3, 2])
    assert "differ only in when they were built" in run("diff", "shop@1", "shop")[1]


def test_typical_mistakes_are_reported_in_one_line(run, batch, tmp_path):
    mistakes = [
        ["diff", "shop@1"],
        ["diff", "shop@1", "shop@9"],
        ["diff", "shop@1", "shop@2", "--batch", "nope"],
        ["diff", "shop@1", "shop@2", "--questions", str(tmp_path / "nope.csv")],
        ["diff", "shop@1", "shop@2", "--questions", "q.csv", "--batch", batch],
        ["diff", "shop@1", "shop@2", "--limit", "-1"],
    ]
    for words in mistakes:
        status, out, err = run(*words)
        assert (status, out, len(err.splitlines())) == (2, "", 1), words
