"""`docker compose down` while there is work: nothing is left half done, nothing is lost."""

from __future__ import annotations

from tests.compose.project import wait_for
from tests.compose.questions import as_csv, questions

_ASKED = 1_500
_ANSWERED_SECONDS = 600

_RESULTS = (
    "SELECT count(*) FROM results WHERE batch_id = (SELECT max(id) FROM batches) AND status IN"
    " ('answered', 'handed_off')"
)
_JOBS = "SELECT count(*) FROM jobs WHERE batch_id = (SELECT max(id) FROM batches) AND state = "


def test_down_gives_every_job_back_and_up_goes_on_with_them(mill):
    asked = as_csv(questions(_ASKED, seed=77))
    words = ["submit", "-", "--format", "csv", "--name", "over night"]
    mill.producer(*words, settings={"JOB_SIZE": 50}, input=asked)
    wait_for(lambda: mill.number(_RESULTS) > 0, _ANSWERED_SECONDS)
    mill.stop()
    assert not mill.everything()

    mill.compose("up", "-d", "postgres")
    wait_for(lambda: mill.answers("SELECT 1"), _ANSWERED_SECONDS)
    assert 0 < mill.number(_RESULTS) < _ASKED
    assert mill.number(_JOBS + "'running'") == 0
    assert mill.number(_JOBS + "'queued'") > 0

    mill.up()
    wait_for(lambda: mill.number(_RESULTS) == _ASKED, _ANSWERED_SECONDS)
