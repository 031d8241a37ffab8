"""A full backlog: an error with the time to retry, or `submit` waits."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from core.domain.batch import BatchState, Lane
from core.errors import BacklogFull, BatchTooLarge
from db.clock import DatabaseClock
from db.queries import batches
from db.session import reading
from producer.submission import admission
from producer.submission.admission import AdmissionControl, WhenFull
from producer.submission.ask import ask
from tests.factories import NOW, finish, running_job, stored_batch

COUNT = 9  # slices of 4, 4 and 1


@pytest.fixture(autouse=True)
def _measure_each_time(monkeypatch):
    monkeypatch.setattr(admission, "_MEASURE_SECONDS", 0.001)


@pytest.fixture
def limited(settings, monkeypatch):
    """Return settings with limits, and set them in the environment."""

    def limited(**limits):
        for name, limit in limits.items():
            monkeypatch.setenv(f"ANSWERMILL_{name.upper()}", str(limit))
        return settings.model_copy(update=limits)

    return limited


def _finish(engine, ref, jobs):
    with reading(engine) as conn:
        batch = batches.find(conn, ref)
    for _ in range(jobs):
        finish(engine, running_job(engine, batch), now=DatabaseClock(engine)())


def test_what_does_not_fit_is_refused_whole(submitted, write, stored, limited):
    with_limits = limited(max_waiting_bulk=12)
    submitted(write("july.csv", COUNT), settings=with_limits)
    before = stored()
    with pytest.raises(BacklogFull) as caught:
        submitted(write("june.csv", 4), settings=with_limits, when_full=WhenFull.STOP)
    assert (caught.value.lane, caught.value.waiting, caught.value.limit) == ("bulk", 9, 12)
    assert stored() == before


def test_the_same_call_continues_once_there_is_capacity(
    engine, submitted, write, limited, all_there_once
):
    values = {"settings": limited(max_waiting_bulk=12), "when_full": WhenFull.STOP}
    submitted(write("july.csv", COUNT), name="july", **values)
    with pytest.raises(BacklogFull):
        submitted(write("june.csv", COUNT), name="june", **values)
    _finish(engine, "july", 4)
    all_there_once(submitted(write("june.csv", COUNT), name="june", **values).batch.id, COUNT)


def test_a_submission_filled_up_by_others_stops_after_a_slice_and_resumes_there(  # noqa: PLR0917 - fixtures
    engine, submitted, write, stored, limited, all_there_once
):
    values = {"settings": limited(max_waiting_bulk=12), "when_full": WhenFull.STOP}
    path = write("july.csv", COUNT)
    with pytest.raises(BacklogFull):
        submitted(
            path,
            on_progress=lambda n: n == 4 and stored_batch(engine, 8, name="other"),
            **values,
        )
    assert stored() == (2, 4 + 8, 2 + 4)
    with reading(engine) as conn:
        assert batches.find(conn, "1").state is BatchState.OPEN
    _finish(engine, "other", 4)
    done = submitted(path, **values)
    assert (done.resumed, done.batch.id) == (True, 1)
    all_there_once(1, COUNT)


def test_a_file_that_never_fits_is_a_user_error(submitted, write, stored, limited):
    with pytest.raises(BatchTooLarge):
        submitted(
            write("july.csv", COUNT),
            settings=limited(max_waiting_bulk=8),
            when_full=WhenFull.STOP,
        )
    assert stored() == (0, 0, 0)


def test_waiting_submit_follows_the_workers_and_keeps_the_limit(
    engine, submitted, write, limited, all_there_once
):
    reported: list[BacklogFull] = []

    def on_full(full):
        reported.append(full)
        _finish(engine, "july", 2)

    path, limits = write("july.csv", COUNT), limited(max_waiting_bulk=5)
    done = submitted(path, name="july", settings=limits, on_full=on_full)
    assert [(full.waiting, full.limit) for full in reported] == [(4, 5)]
    all_there_once(done.batch.id, COUNT)


def test_slices_are_no_larger_than_the_limit(submitted, write, limited, engine):
    reported: list[int] = []
    submitted(
        write("july.csv", 5),
        name="july",
        settings=limited(max_waiting_bulk=2),
        on_progress=reported.append,
        on_full=lambda _: _finish(engine, "july", 1),
    )
    assert reported == [0, 2, 4, 5]


def test_each_lane_has_its_own_limit(context, submitted, write, limited):
    limits = limited(max_waiting_bulk=4, max_waiting_interactive=1)
    submitted(write("july.csv", 4), settings=limits)
    limited_context = replace(context, settings=limits)
    assert ask(limited_context, "Where?", wait=_no_time()).result is None
    with pytest.raises(BacklogFull) as caught:
        ask(limited_context, "Where?", wait=_no_time())
    assert caught.value.lane == "interactive"


def _no_time():
    return NOW - NOW


def test_both_lanes_together_have_a_limit(context, submitted, write, limited):
    limits = limited(max_waiting=4)
    submitted(write("july.csv", 4), settings=limits)
    with pytest.raises(BacklogFull, match=r"4 questions wait in all lanes \(limit 4\)"):
        ask(replace(context, settings=limits), "Where?", wait=_no_time())


def test_the_time_to_retry_follows_from_the_drain_rate(engine, limited):
    stored_batch(engine, 90, job_size=15, name="july")
    admission = AdmissionControl(
        engine, limited(max_waiting_bulk=90), Lane.BULK, DatabaseClock(engine)
    )
    with pytest.raises(
        BacklogFull, match="retry in 60 s"
    ):  # no question is finished, so no rate is known
        admission.check_capacity(45)
    _finish(engine, "july", 2)  # 30 in the last 30 seconds: 15 more take 15
    with pytest.raises(BacklogFull) as caught:
        admission.check_capacity(45)
    assert (caught.value.waiting, caught.value.retry_seconds) == (60, 15)


def test_the_command_line_prints_when_to_retry_and_exits_with_3(cli, write, limited, stored):
    limited(max_waiting_bulk=12)
    cli("submit", write("july.csv", COUNT))
    before = stored()
    result = cli("submit", write("june.csv", 4), "--when-full", "stop", "--json")
    line = "answermill: full: 9 questions wait in the lane bulk (limit 12); retry in 60 s\n"
    assert result == (3, "", line)
    assert stored() == before
    status, out, err = cli("submit", write("may.csv", 13), "--when-full", "stop")
    assert (status, out, len(err.splitlines())) == (2, "", 1)
    assert "exceed the limit of 12 waiting questions" in err


def test_the_command_line_waits_by_default(cli, write, limited, engine, monkeypatch):
    limited(max_waiting_bulk=12)
    cli("submit", write("july.csv", COUNT), "--name", "july")
    monkeypatch.setattr(admission.time, "sleep", lambda _: _finish(engine, "july", 1))
    status, out, err = cli("submit", write("june.csv", 4), "--json")
    assert (status, json.loads(out)["questions"]) == (0, 4)
    assert err == (
        "answermill: full: 9 questions wait in the lane bulk (limit 12); retry in 60 s;"
        " waiting for capacity\n"
    )
