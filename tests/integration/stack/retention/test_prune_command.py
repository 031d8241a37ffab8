"""The command `db prune`: its arguments, its report and its end by Ctrl-C."""

from __future__ import annotations

import json

import pytest

from core.domain.batch import Lane
from db.clock import DatabaseClock
from db.queries import retention
from stack.main import main
from tests.factories import ended_batch


@pytest.fixture
def run(monkeypatch, home, capsys, database_url):
    """Run the command; return its status, output and errors."""

    def run(*words):
        monkeypatch.setenv("ANSWERMILL_HOME", str(home))
        monkeypatch.setenv("ANSWERMILL_DATABASE_URL", database_url)
        status = main(["db", "prune", *words])
        captured = capsys.readouterr()
        return status, captured.out, captured.err

    return run


@pytest.mark.parametrize("age", ["ninety days", "90", "-1d", "", "d", "400000d"])
def test_an_invalid_age_is_reported_in_one_line(age, run):
    status, out, error = run("--older-than", age)
    assert (status, out) == (2, "")
    assert len(error.splitlines()) == 1
    assert error.startswith("answermill: ")


def test_an_age_must_be_given(run):
    status, _, error = run()
    assert status == 2
    assert "--older-than" in error
    assert len(error.splitlines()) == 1


def test_the_command_reports_the_deleted_amount(run, engine):
    ended_batch(engine, 3, lane=Lane.INTERACTIVE)
    status, out, _ = run("--older-than", "30d", "--dry-run", "--json")
    document = json.loads(out)
    assert status == 0
    assert document.pop("before") < DatabaseClock(engine)().isoformat()
    assert document == {"batches": 1, "questions": 3, "files": 0, "dry_run": True}
    status, out, error = run("--older-than", "30d")
    assert (status, error) == (0, "")
    assert out.startswith("1 batch, 3 questions and 0 files deleted, older than 2026-")
    assert json.loads(run("--older-than", "30d", "--json")[1])["batches"] == 0


def test_ctrl_c_reports_how_to_continue(run, engine, monkeypatch):
    ended_batch(engine, 3)

    def interrupted(*_words, **_more):
        raise KeyboardInterrupt

    monkeypatch.setattr(retention, "delete", interrupted)
    status, out, error = run("--older-than", "30d")
    assert (status, out) == (130, "")
    assert "0 questions and 0 files are deleted: the same command goes on" in error
