from __future__ import annotations

from datetime import timedelta

import pytest

from core.domain.batch import Lane
from core.errors import NameInvalid, SourceChanged
from tests.factories import job_rows

COUNT = 9  # slices of 4, 4 and 1


def test_a_file_becomes_a_batch_of_jobs_that_wait_in_redis(
    engine, submitted, write, waiting, all_there_once
):
    done = submitted(write("july.csv", COUNT), name="july", deadline=timedelta(hours=2))
    assert (done.questions, done.resumed, done.already) == (COUNT, False, False)
    all_there_once(done.batch.id, COUNT)
    assert [row.sent_at is None for row in job_rows(engine, done.batch)] == [False] * 5
    assert waiting(Lane.BULK) == 5
    assert (done.batch.name, done.batch.lane) == ("july", Lane.BULK)
    assert done.batch.deadline - done.batch.created_at == pytest.approx(
        timedelta(hours=2), abs=timedelta(seconds=1)
    )


def test_messages_wait_in_the_lane(submitted, write, waiting):
    submitted(write("july.csv", 2), lane=Lane.INTERACTIVE)
    assert (waiting(Lane.INTERACTIVE), waiting(Lane.BULK)) == (1, 0)


def test_the_default_name_is_the_file_name_with_the_digest(submitted, write):
    name = submitted(write("july.csv", 2)).batch.name
    stem, _, digest = name.rpartition("-")
    assert stem == "july"
    assert len(digest) == 8


def test_progress_is_reported_after_each_slice(submitted, write):
    reported: list[int] = []
    submitted(write("july.csv", COUNT), on_progress=reported.append)
    assert reported == [0, 4, 8, 9]


def test_a_second_submission_stores_nothing(submitted, write, stored):
    first = submitted(write("july.csv", COUNT))
    before = stored()
    again = submitted(write("july.csv", COUNT))
    assert (again.already, again.resumed, again.questions) == (True, False, COUNT)
    assert again.batch.id == first.batch.id
    assert stored() == before


def test_another_file_under_the_same_name_is_refused(submitted, write, stored):
    first = submitted(write("july.csv", 4), name="july")
    before = stored()
    with pytest.raises(SourceChanged) as caught:
        submitted(write("july.csv", 5), name="july")
    assert caught.value.batch == first.batch.id
    assert stored() == before


def test_the_same_questions_under_two_names_are_two_batches(submitted, write):
    path = write("july.csv", 4)
    first, second = submitted(path, name="one"), submitted(path, name="two")
    assert first.batch.id != second.batch.id


@pytest.mark.parametrize("name", ["", "  ", "12", "١٢", "a\nb", "x" * 201])
def test_an_invalid_name_stores_nothing(name, submitted, write, stored):
    with pytest.raises(NameInvalid):
        submitted(write("july.csv", 4), name=name)
    assert stored() == (0, 0, 0)


def test_the_longest_name_and_a_foreign_one_are_accepted(submitted, write):
    path = write("july.csv", 4)
    for name in ("x" * 200, "七月 tickets/2026"):
        assert submitted(path, name=name).batch.name == name
    assert len(submitted(write("n" * 200 + ".csv", 4)).batch.name) <= 200


def test_long_questions_end_a_slice_early(submitted, write):
    reported: list[int] = []
    content = "question\n" + ("x" * 600_000 + "\n") * 4
    submitted(write("long.csv", content), on_progress=reported.append)
    assert reported == [0, 2, 4]
