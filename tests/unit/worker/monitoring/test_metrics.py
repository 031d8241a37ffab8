"""What is counted of a model's work, and of what the log tells."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest
import structlog
from prometheus_client import generate_latest
from prometheus_client.parser import text_string_to_metric_families

from core.domain.result import Answer, Status
from worker.inference.passes import answer_texts
from worker.inference.protocol import PassBudget
from worker.monitoring.metrics import InstrumentedModel, Stage, WorkerMetrics

DOCS = Path(__file__).parents[4] / "docs" / "reference" / "metrics.md"


class Lengths:
    """A model that answers with a text's length and is sure by it."""

    version = "shop@1"
    budget = PassBudget(tokens=100, questions=2)

    def answer_without_encoder(self, texts):
        return [None] * len(texts)

    def tokenize(self, texts):
        return [[1] * len(text) for text in texts]

    def encode(self, tokens):
        return np.zeros((len(tokens), 1), dtype=np.float32)

    def decide(self, texts, _embeddings):
        return [
            Answer(Status.ANSWERED, str(len(text)), confidence=len(text) / 10) for text in texts
        ]


@pytest.fixture
def meters():
    return WorkerMetrics()


def told(meters):
    families = text_string_to_metric_families(generate_latest(meters.registry).decode())
    return {
        (sample.name, *(value for _, value in sorted(sample.labels.items()))): sample.value
        for family in families
        for sample in family.samples
    }


def test_a_metered_model_answers_the_same(meters):
    texts = ["a", "bbbb", "cc", "a", "ddd"]
    assert answer_texts(InstrumentedModel(Lengths(), meters), texts) == answer_texts(
        Lengths(), texts
    )


def test_passes_are_counted_with_their_tokens_and_their_padding(meters):
    answer_texts(InstrumentedModel(Lengths(), meters), ["aaaa", "bbb", "c"])
    counted = told(meters)
    assert counted["answermill_pass_tokens_count",] == 2
    assert counted["answermill_pass_tokens_sum",] == 4 * 2 + 1
    assert counted["answermill_padding_tokens_total",] == 1
    for stage, times in ((Stage.TOKENISE, 1), (Stage.PASS, 2), (Stage.DECIDE, 1)):
        assert counted["answermill_stage_seconds_count", stage] == times
        assert counted["answermill_stage_seconds_sum", stage] > 0
    assert counted["answermill_stage_seconds_count", Stage.STORE] == 0


def test_results_are_counted_by_status_reason_and_version(meters):
    answers = [
        Answer(Status.ANSWERED, "yes", confidence=0.97),
        Answer(Status.ANSWERED, "no", confidence=0.72),
        Answer(Status.HANDED_OFF, reason="ambiguous", confidence=0.4),
        Answer(Status.HANDED_OFF, reason="too_long"),
        Answer(Status.FAILED, error="empty question"),
    ]
    meters.count_answers(answers, "shop@1")
    meters.count_answers(answers[:1], "shop@2")
    counted = told(meters)
    assert counted["answermill_questions_total", "shop@1", "answered"] == 2
    assert counted["answermill_questions_total", "shop@1", "handed_off"] == 2
    assert counted["answermill_questions_total", "shop@1", "failed"] == 1
    assert counted["answermill_questions_total", "shop@2", "answered"] == 1
    assert counted["answermill_handed_off_total", "shop@1", "ambiguous"] == 1
    assert counted["answermill_confidence_count", "shop@1"] == 3
    assert counted["answermill_confidence_bucket", "0.75", "shop@1"] == 2


def test_what_the_log_tells_is_counted_whether_it_is_shown_or_not(meters):
    before = structlog.get_config()
    try:
        meters.count_log_events()
        log = structlog.get_logger()
        log.info("job done", job=1)
        log.error("attempt failed", job=1, now="split")
        log.error("attempt failed", job=2, now="dead")
    finally:
        structlog.configure(**before)
    counted = told(meters)
    assert counted["answermill_events_total", "job done", ""] == 1
    assert counted["answermill_events_total", "attempt failed", "split"] == 1
    assert counted["answermill_events_total", "attempt failed", "dead"] == 1


def test_the_page_tells_every_metric_of_a_worker_and_no_other(meters):
    section = DOCS.read_text().split("## Each worker")[1]
    written = set(re.findall(r"^\| (answermill_\w+)", section, flags=re.MULTILINE))
    families = meters.registry.collect()
    known = {f.name + ("_total" if f.type == "counter" else "") for f in families}
    assert written == known
