from __future__ import annotations

from worker.lifecycle.evaluation.evaluate import evaluate, evaluate_each
from worker.lifecycle.inputs.labelled_questions import Labelled
from worker.model.bundle.bundle import Bundle
from worker.model.load import load

ROWS = [
    Labelled("Where is my refund?", frozenset({"refund"})),
    Labelled("refund " * 100, frozenset({"refund"})),
    Labelled("您是机器人吗？", frozenset({"robot-zh"})),
    Labelled("???", frozenset()),
]


def test_a_model_is_measured_as_a_worker_would_answer(tiny_bundle: Bundle):
    model = load(tiny_bundle, "tiny@1")
    progress: list[int] = []
    report = evaluate(model, ROWS, question_chars=100, on_pass=progress.append)
    assert (report.questions, report.answered, report.precision) == (4, 2, 1.0)
    assert (report.accuracy, report.handoff_recall) == (0.6667, 1.0)
    assert report.reasons == {"too_long": 1, "empty": 1}
    assert progress[-1] == 3
    assert report.questions_per_second


def test_the_answers_come_in_the_order_of_the_questions(tiny_bundle: Bundle):
    answers, report = evaluate_each(load(tiny_bundle, "tiny@1"), ROWS, question_chars=100)
    assert [answer.entry_id for answer in answers] == ["refund", None, "robot-zh", None]
    assert report.questions == 4
