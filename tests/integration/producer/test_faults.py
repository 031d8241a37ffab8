"""Faults of files, settings and services: one line and the exit status."""

from __future__ import annotations

import sqlite3

import pytest

LONG = "x" * 1_000_001

# Name, content, and the message after the name.
FILES = [
    ("f.csv", "id,body\n1,Hi\n", ": no column named 'question' (columns: id, body). Choose the"),
    ("f.csv", "key,question\na,Hi\nb,Größe\n".encode("latin-1"), ", row 3: byte 0xf6 is not UTF-8"),
    (
        "f.csv",
        "question\nHi\n".encode("utf-16"),
        ", row 1: the file is UTF-16; convert it with `iconv -f",
    ),
    ("f.csv", "key,question\na,Hi\nb,Hi,Ho\n", ", row 3: the row has 3 fields, the header has 2"),
    ("f.csv", 'key,question\na,Hi\nb,"Ho\n', ", row 3: a quotation mark opens here and is never"),
    ("f.csv", "key,question\na,Hi\nb,Ho\na,Hu\n", ", row 4: the key 'a' is already in row 2"),
    ("f.csv", "key,question\n,Hi\n", ", row 2: the key is empty"),
    ("f.csv", "question\nH\0i\n", ", row 2: the text contains a NUL character"),
    ("f.csv", f"question\n{LONG}\n", ", row 2: a field has more than 1,000,000 characters"),
    ("f.csv", "", ": the file is empty"),
    ("f.csv", "question\n", ": the file contains no questions"),
    ("f.jsonl", '{"question": "Hi"}\n{"question":\n', ", row 2: invalid JSON: Expecting value at"),
    ("f.jsonl", '{"question": "Hi"}\n{}\n', ", row 2: the question is missing"),
    ("f.jsonl", f'{{"question": "{LONG}"}}\n', ", row 1: the question has 1,000,001 characters"),
    ("f.parquet", "question\nHi\n", ": invalid Parquet: Parquet magic bytes not found"),
    (
        "f.txt",
        "question\nHi\n",
        ": the suffix .txt does not name a format; choose one with --format",
    ),
]


def _error_line(run, status):
    exit_status, out, err = run
    assert (exit_status, out) == (status, "")
    assert err.startswith("answermill: ")
    assert len(err.splitlines()) == 1
    return err


@pytest.mark.parametrize(("name", "content", "problem"), FILES)
def test_a_fault_of_the_file_is_reported_and_nothing_is_stored(  # noqa: PLR0917 - fixtures and cases
    name, content, problem, cli, write, stored
):
    path = write(name, content)
    assert _error_line(cli("submit", path), 2).startswith(f"answermill: {path}{problem}")
    assert stored() == (0, 0, 0)


def test_an_unreadable_file_is_reported(cli, tmp_path):
    missing = tmp_path / "no.csv"
    message = f"answermill: {missing}: no such file or directory\n"
    assert _error_line(cli("submit", missing), 2) == message
    assert _error_line(cli("submit", tmp_path), 2) == f"answermill: {tmp_path}: is a directory\n"


@pytest.mark.parametrize("command", ["status", "results", "cancel", "retry"])
@pytest.mark.parametrize("ref", ["999", "missing"])
def test_an_unknown_batch_is_an_error_of_every_command(command, ref, cli):
    message = f"no batch has the id or name '{ref}'; `answermill status` lists them"
    assert _error_line(cli(command, ref), 2) == f"answermill: {message}\n"


@pytest.mark.parametrize(
    ("words", "problem"),
    [
        (
            ["--name", "12"],
            "a batch cannot have the name '12': a number is read as the id of a batch",
        ),
        (["--name", "a\nb"], "a batch cannot have the name 'a\\nb': the name contains characters"),
        (["--deadline", "soon"], "'soon' is not a duration; write 30s, 90m, 2h or 1d"),
        (["--deadline", "0s"], "--deadline 0s leaves no time"),
        (["--deadline", "2020-01-01"], "--deadline 2020-01-01 has passed"),
        (["--lane", "fast"], "'fast' is not one of 'interactive', 'bulk'"),
        (["--format", "xml"], "'xml' is not one of 'csv', 'tsv', 'jsonl', 'parquet'"),
        (["--nonsense"], "--nonsense"),
    ],
)
def test_a_wrong_option_is_reported_and_nothing_is_stored(words, problem, cli, write, stored):
    assert problem in _error_line(cli("submit", write("f.csv", 2), *words), 2)
    assert stored() == (0, 0, 0)


def test_a_used_name_is_reported(cli, write):
    cli("submit", write("f.csv", 2), "--name", "july")
    message = _error_line(cli("submit", write("f.csv", 3), "--name", "july"), 2)
    assert "batch 1 has the name 'july' and contains other questions" in message


@pytest.mark.parametrize(
    ("url", "status", "problem"),
    [
        ("nonsense", 2, "ANSWERMILL_DATABASE_URL: not a URL"),
        ("mysql://x/y", 2, "ANSWERMILL_DATABASE_URL: mysql:// is not supported"),
        ("sqlite://", 2, "ANSWERMILL_DATABASE_URL: a database in memory is visible to one"),
        (
            "postgresql://u:hunter2@127.0.0.1:1/x",
            3,
            "database postgresql+psycopg://u:***@127.0.0.1",
        ),
        ("sqlite:////dev", 3, "database sqlite:////dev: unable to open database file"),
        ("sqlite:////dev/no.db", 2, "database sqlite:////dev/no.db has no tables yet; run `answ"),
    ],
)
@pytest.mark.parametrize("command", [["submit", "f.csv"], ["status"], ["cancel", "1"]])
def test_a_wrong_database_is_reported_without_its_password(  # noqa: PLR0917 - fixtures and cases
    command, url, status, problem, cli, write, monkeypatch
):
    write("f.csv", 2)
    monkeypatch.setenv("ANSWERMILL_DATABASE_URL", url)
    message = _error_line(cli(*command), status)
    assert message.startswith(f"answermill: {problem}")
    assert "hunter2" not in message


@pytest.mark.parametrize(
    ("url", "status", "problem"),
    [
        ("redis+cluster://localhost:7000", 2, "ANSWERMILL_BROKER_URL: redis+cluster:// (Redis Cl"),
        ("amqp://localhost", 2, "ANSWERMILL_BROKER_URL: amqp:// is not supported; use one of"),
        ("redis://:hunter2@127.0.0.1:1/0", 3, "Redis redis://:***@127.0.0.1:1/0: "),
        ("redis+socket:///no/such/socket", 3, "Redis redis+socket:///no/such/socket: "),
    ],
)
@pytest.mark.parametrize("command", [["submit", "f.csv"], ["ask", "Where?"]])
def test_a_wrong_redis_is_reported_and_nothing_is_stored(  # noqa: PLR0917 - fixtures and cases
    command, url, status, problem, cli, write, stored, monkeypatch
):
    write("f.csv", 2)
    monkeypatch.setenv("ANSWERMILL_BROKER_URL", url)
    message = _error_line(cli(*command), status)
    assert message.startswith(f"answermill: {problem}")
    assert "hunter2" not in message
    assert stored() == (0, 0, 0)


def test_a_database_without_tables_is_reported_with_the_command(
    cli, write, empty_database_url, monkeypatch
):
    monkeypatch.setenv("ANSWERMILL_DATABASE_URL", empty_database_url)
    message = _error_line(cli("submit", write("f.csv", 2)), 2)
    assert message.endswith(" has no tables yet; run `answermill db upgrade`\n")


def test_a_database_of_an_older_release_is_refused_and_of_a_newer_one_accepted(
    cli, write, sqlite_url, monkeypatch
):
    path = write("f.csv", 2)
    monkeypatch.setenv("ANSWERMILL_DATABASE_URL", sqlite_url)
    with sqlite3.connect(sqlite_url.removeprefix("sqlite:///")) as database:
        database.execute("UPDATE alembic_version SET version_num = '0000'")
    message = _error_line(cli("submit", path), 2)
    assert "is at revision 0000, not " in message
    with sqlite3.connect(sqlite_url.removeprefix("sqlite:///")) as database:
        database.execute("UPDATE alembic_version SET version_num = '9999'")
    assert cli("submit", path)[0] == 0
    database.close()


def test_without_a_home_there_are_no_batches(cli, home, monkeypatch):
    monkeypatch.setenv("ANSWERMILL_HOME", str(home / "new"))
    for name in ("DATABASE", "BROKER"):
        monkeypatch.delenv(f"ANSWERMILL_{name}_URL")
    assert cli("status")[:2] == (0, "no batches yet; `answermill submit FILE` creates one\n")
    for command in ("status", "results", "cancel", "retry"):
        assert "no batch has the id or name '1'" in _error_line(cli(command, "1"), 2)
    assert "start it with `answermill up`" in _error_line(cli("ask", "Where?"), 3)
