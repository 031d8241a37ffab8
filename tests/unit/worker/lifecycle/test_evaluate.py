from __future__ import annotations

from pathlib import Path

import pytest

from db.entities import Answer, Status
from db.errors import SourceInvalid
from worker.lifecycle.evaluate import Labelled, evaluate, measure, read_labelled
from worker.model.bundle import Bundle
from worker.model.loaded import load

KNOWN = frozenset({"a", "b"})


def answered(entry: str, confidence: float = 0.9) -> Answer:
    return Answer(Status.ANSWERED, "text", entry, "phrasing", confidence)


def handed_off(entry: str | None, confidence: float | None = 0.1) -> Answer:
    return Answer(Status.HANDED_OFF, None, entry, "phrasing", confidence, reason="out_of_scope")


def expecting(*ids: str) -> Labelled:
    return Labelled("question", frozenset(ids))


def write(path: Path, text: str, encoding: str = "utf-8") -> Path:
    path.write_bytes(text.encode(encoding))
    return path


def test_the_figures_are_what_one_counts_by_hand():
    labelled = [expecting("a"), expecting("a", "b"), expecting("b"), expecting(), expecting()]
    answers = [
        answered("a", 0.9),  # right
        answered("b", 0.8),  # right: one of two
        handed_off("b", 0.3),  # right entry, but too unsure
        answered("a", 0.6),  # should have been handed off
        handed_off(None, None),
    ]
    report = measure(labelled, answers, 0.5, 12.3)
    assert report.questions == 5
    assert report.accuracy == 1.0
    assert report.answered == 3
    assert report.precision == 0.6667
    assert report.coverage == 0.6667
    assert report.handoff_recall == 0.5
    assert report.auroc == 0.8333  # 5 of 6 pairs in order
    assert report.ece == pytest.approx((0.1 + 0.2 + 0.7 + 0.6 + 0.0) / 5)
    assert (report.threshold, report.questions_per_second) == (0.5, 12.3)


def test_what_is_not_defined_is_null():
    in_scope = measure([expecting("a")], [handed_off("b")], 0.5, None)
    assert (in_scope.handoff_recall, in_scope.auroc, in_scope.precision) == (None, None, None)
    assert in_scope.accuracy == 0.0
    out_of_scope = measure([expecting()], [handed_off("b")], 0.5, None)
    assert (out_of_scope.accuracy, out_of_scope.coverage, out_of_scope.auroc) == (None, None, None)
    assert out_of_scope.handoff_recall == 1.0


def test_confidence_that_is_right_as_often_as_it_says_has_no_error():
    answers = [answered("a", 0.5), answered("b", 0.5)]
    assert measure([expecting("a"), expecting("a")], answers, 0.5, None).ece == 0.0


def test_labelled_questions_are_read(tmp_path: Path):
    file = write(
        tmp_path / "q.csv",
        '\ufeffkey,question,expected\r\n1,"What, now?",a\r\n2,two,a| b\r\n3,"over\ntwo lines",\r\n',
    )
    assert read_labelled(file, KNOWN) == [
        Labelled("What, now?", frozenset({"a"})),
        Labelled("two", KNOWN),
        Labelled("over\ntwo lines", frozenset()),
    ]


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("question,expected\nx,a\ny,c\n", "row 3: the model has no entry 'c'"),
        ("question,expected\nx,a|b|d|c\n", "row 2: the model has no entry 'c'"),
        ("question,expected\n  ,a\n", "row 2: the question is blank"),
        ("question,expected\nx\n", "row 2: the column 'expected' is missing"),
        ('question,expected\n"x,a\n', "not CSV"),
        ("question,answer\nx,a\n", "no column 'expected'; there are: question, answer"),
        ("", "no column 'question'; there are: none"),
        ("question,expected\n", "there is no question in it"),
    ],
)
def test_a_fault_is_told_with_its_row(tmp_path: Path, text: str, problem: str):
    with pytest.raises(SourceInvalid) as caught:
        read_labelled(write(tmp_path / "q.csv", text), KNOWN)
    assert problem in str(caught.value)
    assert "\n" not in str(caught.value)


def test_another_encoding_and_a_missing_file_are_told(tmp_path: Path):
    latin = write(tmp_path / "q.csv", "question,expected\nGrüße,a\n", "latin-1")
    with pytest.raises(SourceInvalid, match="not UTF-8"):
        read_labelled(latin, KNOWN)
    with pytest.raises(SourceInvalid, match="No such file"):
        read_labelled(tmp_path / "nope.csv", KNOWN)


def test_a_model_is_measured_as_a_worker_would_answer(tiny_bundle: Bundle):
    model = load(tiny_bundle, "tiny@1")
    rows = [
        Labelled("Where is my refund?", frozenset({"refund"})),
        Labelled("refund " * 100, frozenset({"refund"})),
        Labelled("您是机器人吗？", frozenset({"robot-zh"})),
        Labelled("???", frozenset()),
    ]
    heard: list[int] = []
    report = evaluate(model, rows, question_chars=100, on_pass=heard.append)
    assert (report.questions, report.answered, report.precision) == (4, 2, 1.0)
    assert (report.accuracy, report.handoff_recall) == (0.6667, 1.0)
    assert heard[-1] == 3
    assert report.questions_per_second
