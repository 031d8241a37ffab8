"""A restored backup, as docs/how-to/backup.md describes it, from which work resumes."""

from __future__ import annotations

from tests.compose.project import docker, faults, wait_for
from tests.compose.questions import as_csv, questions

_ASKED = 60
_ANSWERED_SECONDS = 600


def test_a_database_and_a_model_store_that_were_saved_are_whole_once_restored(
    mill, other, tmp_path
):
    words = ["submit", "-", "--format", "csv", "--name", "saved"]
    mill.producer(*words, input=as_csv(questions(_ASKED, seed=66)))
    results = "SELECT count(*) FROM results WHERE batch_id = (SELECT max(id) FROM batches)"
    wait_for(lambda: mill.number(results) == _ASKED, _ANSWERED_SECONDS)
    (postgres,), (worker,) = mill.containers("postgres"), mill.containers("worker")
    dump = docker("exec", postgres, "pg_dump", "-U", "answermill", "answermill")
    docker("cp", "--quiet", f"{worker}:/models", str(tmp_path / "models"))

    mill.sql("CREATE DATABASE restored")
    restore = ["psql", "-q", "-U", "answermill", "-d", "restored", "-v", "ON_ERROR_STOP=1"]
    docker("exec", "-i", postgres, *restore, input=dump)
    other.write(
        "database_url",
        other.read("database_url").replace("@postgres/answermill", "@postgres/restored"),
    )
    read = ["results", "saved", "--format", "csv"]
    assert other.producer(*read).stdout == mill.producer(*read).stdout

    folder = ["-v", f"{tmp_path / 'models'}:/restored:ro"]
    done = other.once("worker", "check", settings={"MODEL_STORE": "/restored"}, options=folder)
    # The Redis here has the workers of the first one.
    assert set(faults(done)) == {"broker"}
    mill.sql("DROP DATABASE restored WITH (FORCE)")
