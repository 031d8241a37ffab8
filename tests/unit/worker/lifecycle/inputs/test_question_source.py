"""The questions that two versions are compared on."""

from __future__ import annotations

from itertools import chain

import pytest

from core.errors import BatchUnknown, SourceInvalid
from tests.factories import finish, question, running_job, stored_batch
from worker.lifecycle.inputs import question_source


def test_a_batchs_questions_come_page_by_page_final_or_not(engine, monkeypatch):
    monkeypatch.setattr(question_source, "_PAGE", 2)
    batch = stored_batch(engine, [question(n, f"q{n}") for n in range(1, 6)])
    finish(engine, running_job(engine, batch))
    stored_batch(engine, 3, name="other")
    source = question_source.batch_questions(engine, batch.name)
    assert (source.title, source.count) == (f"batch {batch.id} (tickets)", 5)
    pages = list(source.pages)
    assert [len(page) for page in pages] == [2, 2, 1]
    assert list(chain(*pages)) == [(f"ticket-{n}", f"q{n}") for n in range(1, 6)]


def test_an_unknown_batch_is_refused(engine):
    with pytest.raises(BatchUnknown):
        question_source.batch_questions(engine, "nope")


@pytest.fixture
def file(tmp_path):
    def file(content):
        path = tmp_path / "q.csv"
        path.write_bytes(content)
        return path

    return file


def test_a_files_questions_have_their_rows_for_keys(file, monkeypatch):
    monkeypatch.setattr(question_source, "_PAGE", 2)
    source = question_source.file_questions(
        file("\ufeffexpected,question\na,q1\nb,\n,您好\n".encode())
    )
    assert (source.title, source.count) == ("q.csv", 3)
    assert list(source.pages) == [[("2", "q1"), ("3", "")], [("4", "您好")]]


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        (b"text\nhello\n", "no column named 'question'"),
        (b"", "no column named 'question'"),
        (b"question\n", "the file has no questions"),
        (b"question\n\xff\xfe\n", "not UTF-8"),
        (b'question\n"open\n', "not CSV"),
    ],
)
def test_a_file_without_questions_is_refused(file, content, problem):
    with pytest.raises(SourceInvalid, match=problem):
        question_source.file_questions(file(content))


def test_a_missing_file_is_refused(tmp_path):
    with pytest.raises(SourceInvalid, match="No such file"):
        question_source.file_questions(tmp_path / "nope.csv")
