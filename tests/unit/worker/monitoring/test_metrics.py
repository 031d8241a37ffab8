"""Metrics of a model's work, and of log events."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import structlog
from prometheus_client import generate_latest
from prometheus_client.parser import text_string_to_metric_families

from core.domain.result import Answer, AnswerSource, Status
from tests.fakes import FakeModel
from worker.inference.passes import answer_texts
from worker.inference.protocol import PassBudget
from worker.monitoring.metrics import InstrumentedModel, Stage, WorkerMetrics

DOCS = Path(__file__).parents[4] / "docs" / "reference" / "metrics.md"


def lengths():
    """Return a model whose answer and confidence are the length of the text."""

    def answer(text):
        return Answer(Status.ANSWERED, str(len(text)), confidence=len(text) / 10)

    return FakeModel("shop@1", budget=PassBudget(tokens=100, questions=2), answer=answer)


@pytest.fixture
def metrics():
    return WorkerMetrics()


def samples(metrics):
    families = text_string_to_metric_families(generate_latest(metrics.registry).decode())
    return {
        (sample.name, *(value for _, value in sorted(sample.labels.items()))): sample.value
        for family in families
        for sample in family.samples
    }


def test_an_instrumented_model_answers_the_same(metrics):
    texts = ["a", "bbbb", "cc", "a", "ddd"]
    assert answer_texts(InstrumentedModel(lengths(), metrics), texts) == answer_texts(
        lengths(), texts
    )


def test_passes_are_counted_with_their_tokens_and_their_padding(metrics):
    answer_texts(InstrumentedModel(lengths(), metrics), ["aaaa", "bbb", "c"])
    counted = samples(metrics)
    assert counted["answermill_pass_tokens_count",] == 2
    assert counted["answermill_pass_tokens_sum",] == 4 * 2 + 1
    assert counted["answermill_padding_tokens_total",] == 1
    for stage, times in ((Stage.TOKENIZE, 1), (Stage.PASS, 2), (Stage.DECIDE, 1)):
        assert counted["answermill_stage_seconds_count", stage] == times
        assert counted["answermill_stage_seconds_sum", stage] > 0
    assert counted["answermill_stage_seconds_count", Stage.STORE] == 0


def test_results_are_counted_by_status_reason_source_and_version(metrics):
    answers = [
        Answer(Status.ANSWERED, "yes", confidence=0.97, via=AnswerSource.PASS),
        Answer(Status.ANSWERED, "no", confidence=0.72, via=AnswerSource.CACHE),
        Answer(Status.HANDED_OFF, reason="ambiguous", confidence=0.4),
        Answer(Status.HANDED_OFF, reason="too_long"),
        Answer(Status.FAILED, error="empty question"),
    ]
    metrics.count_answers(answers, "shop@1")
    metrics.count_answers(answers[:1], "shop@2")
    counted = samples(metrics)
    assert counted["answermill_questions_total", "shop@1", "answered"] == 2
    assert counted["answermill_questions_total", "shop@1", "handed_off"] == 2
    assert counted["answermill_questions_total", "shop@1", "failed"] == 1
    assert counted["answermill_questions_total", "shop@2", "answered"] == 1
    assert counted["answermill_handed_off_total", "shop@1", "ambiguous"] == 1
    assert counted["answermill_answers_by_source_total", "pass"] == 2
    assert counted["answermill_answers_by_source_total", "cache"] == 1
    assert counted["answermill_confidence_count", "shop@1"] == 3
    assert counted["answermill_confidence_bucket", "0.75", "shop@1"] == 2


def test_log_events_are_counted_at_every_log_level(metrics):
    before = structlog.get_config()
    try:
        metrics.count_log_events()
        log = structlog.get_logger()
        log.info("job done", job=1)
        log.error("attempt failed", job=1, new_state="split")
        log.error("attempt failed", job=2, new_state="dead")
    finally:
        structlog.configure(**before)
    counted = samples(metrics)
    assert counted["answermill_events_total", "job done", ""] == 1
    assert counted["answermill_events_total", "attempt failed", "split"] == 1
    assert counted["answermill_events_total", "attempt failed", "dead"] == 1


def test_the_page_documents_every_metric_of_a_worker_and_no_other(metrics):
    section = DOCS.read_text().split("## Each worker")[1]
    documented = set(re.findall(r"^\| (answermill_\w+)", section, flags=re.MULTILINE))
    families = metrics.registry.collect()
    known = {f.name + ("_total" if f.type == "counter" else "") for f in families}
    assert documented == known
