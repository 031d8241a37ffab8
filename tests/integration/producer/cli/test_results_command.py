"""`results` to a file or the terminal; `test_export` covers the formats."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import pytest
from pyarrow import parquet

from producer.results import export
from tests.factories import all_results, finish, partly_final_batch, running_job

KEYS = ["ticket-1", "ticket-2", "ticket-3"]


@pytest.fixture
def batch(engine):
    """Return a batch of two jobs, the first one final."""
    return partly_final_batch(engine, 4)


def _read(path: Path) -> list[dict[str, object]]:
    if path.suffix == ".parquet":
        return parquet.read_table(path).to_pylist()
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file)) if path.suffix == ".csv" else list(map(json.loads, file))


@pytest.mark.usefixtures("batch")
@pytest.mark.parametrize("name", ["out.csv", "out.jsonl", "out.ndjson", "OUT.parquet"])
def test_the_suffix_determines_the_format(name, cli, tmp_path):
    path = tmp_path / name
    assert cli("results", "tickets", "-o", path)[:2] == (0, "")
    rows = _read(path)
    assert [row["key"] for row in rows] == KEYS
    assert [row["status"] for row in rows] == ["answered", "handed_off", "failed"]
    assert tuple(rows[0]) == export.COLUMNS


@pytest.mark.usefixtures("batch")
@pytest.mark.parametrize("form", ["csv", "jsonl"])
def test_standard_output_gets_the_same_as_a_file(form, cli, tmp_path):
    path = tmp_path / "out"
    cli("results", "tickets", "--format", form, "-o", path)
    status, out, _ = cli("results", "tickets", "--format", form)
    assert status == 0
    assert out.encode() == path.read_bytes()
    assert "ticket-3" in out


@pytest.mark.usefixtures("batch")
def test_the_default_format_is_a_table(cli):
    status, out, _ = cli("results", "tickets")
    heading, first, second, third = out.splitlines()
    assert (status, heading.split()) == (0, ["key", "question", "status", "answer", "conf"])
    assert "On its way." in first
    assert "nothing fits" in second
    assert "the model raised" in third
    assert max(map(len, out.splitlines())) <= 80


def test_the_next_cursor_is_reported(engine, batch, cli):
    last = all_results(engine, batch)[-1].cursor
    assert cli("results", "tickets", "--format", "csv")[2] == f"next: --since {last}\n"
    status, out, err = cli("results", "tickets", "--since", last)
    assert (status, out) == (0, "")
    assert err == f"batch {batch.id} has no matching results yet\n"
    finish(engine, running_job(engine, batch))
    out = cli("results", "tickets", "--since", last, "--format", "jsonl")[1]
    assert [json.loads(line)["key"] for line in out.splitlines()] == ["ticket-4"]


@pytest.mark.usefixtures("batch")
@pytest.mark.parametrize(
    ("status", "keys"),
    [("answered", KEYS[:1]), ("handed_off", KEYS[1:2]), ("failed", KEYS[2:]), ("expired", [])],
)
def test_results_are_filtered_by_status(status, keys, cli):
    out = cli("results", "tickets", "--status", status, "--format", "jsonl")[1]
    assert [json.loads(line)["key"] for line in out.splitlines()] == keys


@pytest.mark.usefixtures("batch")
def test_following_ends_with_the_batch(cli):
    cli("cancel", "tickets")
    status, out, _ = cli("results", "tickets", "--follow", "--format", "jsonl")
    assert status == 0
    assert [json.loads(line)["key"] for line in out.splitlines()] == [*KEYS, "ticket-4"]


@pytest.mark.usefixtures("batch")
@pytest.mark.parametrize("before", [None, b"before"])
def test_an_error_leaves_no_partial_file(before, cli, tmp_path, monkeypatch):
    path = tmp_path / "out.csv"
    if before is not None:
        path.write_bytes(before)

    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(export, "_plain", full)
    status, out, err = cli("results", "tickets", "-o", path)
    assert (status, out) == (2, "")
    assert err == f"answermill: {path}: cannot be written: no space left on device\n"
    assert [file.read_bytes() for file in tmp_path.iterdir()] == [before] * (before is not None)


@pytest.mark.usefixtures("batch")
@pytest.mark.parametrize(
    ("words", "problem"),
    [
        (
            ["-o", "out.txt"],
            "out.txt: the suffix .txt does not name a format; choose one with --format",
        ),
        (
            ["-o", "out"],
            "out: a name without a suffix does not name a format; choose one with --format",
        ),
        (
            ["-o", "o.csv", "--format", "table"],
            "o.csv: a table can be written to standard output only; for a file, choose",
        ),
        (["-o", "/no/such/o.csv"], "/no/such/o.csv: cannot be written: no such file or directory"),
        (["--format", "xml"], "Invalid value for '--format'"),
        (["--status", "lost"], "Invalid value for '--status'"),
        (["--since", "-1"], "Invalid value for '--since'"),
    ],
)
def test_an_invalid_output_is_reported_on_one_line(words, problem, cli, tmp_path):
    status, out, err = cli("results", "tickets", *words)
    assert (status, out) == (2, "")
    assert err.startswith(f"answermill: {problem}")
    assert len(err.splitlines()) == 1
    assert list(tmp_path.iterdir()) == []
