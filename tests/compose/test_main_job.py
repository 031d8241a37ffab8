"""The main job in containers, with everything done to them that is done to containers."""

from __future__ import annotations

import csv
import io

from tests.compose.project import docker, wait_for
from tests.compose.questions import as_csv, questions

_WAVE = 1_000
_ANSWERED_SECONDS = 600
_BUILD_SECONDS = 600

# While the number is not zero, a job runs or waits, so that a change now happens to running work.
_UNANSWERED = (
    "SELECT coalesce(sum(question_count), 0) - (SELECT count(*) FROM results) FROM batches"
)


class Waves:
    """Questions, a thousand at a time, so that there is work whenever something happens."""

    def __init__(self, mill):
        self.mill = mill
        self.asked: dict[str, dict[str, str]] = {}

    def submit(self) -> None:
        """Submit the next thousand in a producer's container."""
        number = len(self.asked) + 1
        asked = self.asked[f"wave {number}"] = questions(_WAVE, seed=number)
        words = ["submit", "-", "--format", "csv", "--name", f"wave {number}"]
        done = self.mill.producer(*words, settings={"JOB_SIZE": 25}, input=as_csv(asked))
        assert "1,000" in done.stdout, done.stdout + done.stderr
        assert self.mill.number(_UNANSWERED) > 0, "all is answered before anything happens"

    def results(self, name: str) -> dict[str, dict[str, str]]:
        """Return the results of a batch by key, as the producer exports them."""
        done = self.mill.producer("results", name, "--format", "csv")
        rows = list(csv.DictReader(io.StringIO(done.stdout)))
        found = {row["key"]: row for row in rows}
        assert len(found) == len(rows)
        return found


def test_5000_questions_get_one_result_each_whatever_happens_to_the_containers(mill):
    waves = Waves(mill)
    build = mill.begin_model("build", "--knowledge", "/knowledge/next.jsonl", "--name", "shop")
    waves.submit()
    mill.scale(4)
    assert len(mill.containers("worker")) == 4

    waves.submit()
    docker("kill", "--signal=KILL", mill.containers("worker")[0])
    said, _ = build.communicate(timeout=_BUILD_SECONDS)
    assert build.returncode == 0, said

    waves.submit()
    promoted = mill.begin_model("promote", "shop@2", "--force", "--reason", "it is newer")
    said, _ = promoted.communicate(timeout=_BUILD_SECONDS)
    assert promoted.returncode == 0, said

    waves.submit()
    mill.compose("restart", "redis")
    mill.compose("restart", "postgres")
    mill.scale(2)
    wait_for(lambda: mill.answers("SELECT 1"), _ANSWERED_SECONDS)

    waves.submit()
    _roll(mill)
    wait_for(lambda: mill.number(_UNANSWERED) == 0, _ANSWERED_SECONDS, lambda: _job_states(mill))
    _check(waves)
    mill.scale(1)


def _roll(mill) -> None:
    """Replace the workers by those of a later release, though of the same code."""
    before = set(mill.containers("worker"))
    assert len(before) == 2
    mill.compose("build", "-q", "--build-arg", "REVISION=later", "worker")
    mill.script("roll")
    after = set(mill.containers("worker"))
    assert len(after) == 2
    assert not before & after
    labels = [found["Config"]["Labels"] for found in mill.inspect(after)]
    assert {label["org.opencontainers.image.revision"] for label in labels} == {"later"}


def _check(waves: Waves) -> None:
    """Compare the submitted questions with the results of the producer."""
    assert sum(len(asked) for asked in waves.asked.values()) == 5_000
    statuses, versions = set(), set()
    for name, asked in waves.asked.items():
        found = waves.results(name)
        assert {key: row["question"] for key, row in found.items()} == asked
        statuses |= {row["status"] for row in found.values()}
        versions |= {row["model_version"] for row in found.values()}
    assert statuses == {"answered", "handed_off"}
    assert versions == {"shop@1", "shop@2"}


def _job_states(mill) -> str:
    return str(mill.sql("SELECT state, count(*), max(attempt) FROM jobs GROUP BY state"))
