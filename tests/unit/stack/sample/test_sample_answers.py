"""How well the sample's shop is answered with the encoder that ships, as users measure it."""

from __future__ import annotations

import csv
import io
import json
import os
from collections.abc import Callable, Sequence
from contextlib import redirect_stdout
from pathlib import Path
from typing import Any

import pytest

import stack
from core import console
from core.settings.base import PREFIX
from stack.local.demo import PRECISION_TARGET
from worker.lifecycle.cli.model import app
from worker.text.normalization import Script, script

pytestmark = pytest.mark.costly  # builds the sample's version

SAMPLE = Path(stack.__path__[0]) / "sample"

# Measured: 0.853 of 258 with an entry. The encoder reads little Chinese; spelling does most.
LEAST_CHINESE_ACCURACY = 0.84

Rows = Sequence[tuple[str, str]]
Measure = Callable[[Rows], dict[str, Any]]

ROBOT = [
    "您是机器人吗？",
    "你是真人还是机器人",
    "是机器人在回复吗",
    "請問您是機器人嗎？",
    "你该不会是个机器人吧",
    "机器人客服？",
    "我在跟电脑聊天吗？",
    "屏幕后面坐着真人吗",
    "您是人类还是人工智能",
    "你们是真人在回复还是系统自动回复",
]
SMALL_TALK = [
    ("晚上好", "hello-zh"),
    ("你好，在不在", "hello-zh"),
    ("谢啦", "thanks-zh"),
    ("太感谢您了", "thanks-zh"),
    ("再见啦", "goodbye-zh"),
    ("拜拜，下次再来", "goodbye-zh"),
    ("hello there", "hello"),
    ("thanks so much, that fixed it", "thanks"),
    ("bye for now", "goodbye"),
    ("is this a bot answering me", "are-you-a-robot"),
    ("who developed you", "who-made-you"),
    ("youre completely useless", "insult"),
]


@pytest.fixture(scope="module")
def measure(tmp_path_factory: pytest.TempPathFactory) -> Measure:
    """Build the shop; return what evaluates it on questions and what they expect."""
    folder = tmp_path_factory.mktemp("shop")
    with pytest.MonkeyPatch.context() as patch:
        for name in os.environ:
            if name.upper().startswith(PREFIX):
                patch.delenv(name)
        patch.setenv(f"{PREFIX}HOME", str(folder))
        patch.chdir(folder)
        words = ["--name", "shop", "--knowledge", str(SAMPLE / "knowledge.jsonl")]
        words += ["--calibrate", str(SAMPLE / "labelled.csv")]
        answer("build", *words, "--precision-target", PRECISION_TARGET)

    def measure(rows: Rows) -> dict[str, Any]:
        with (folder / "rows.csv").open("w", encoding="utf-8", newline="") as file:
            csv.writer(file).writerows([("question", "expected"), *rows])
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv(f"{PREFIX}HOME", str(folder))
            return answer("evaluate", "shop", "--questions", str(folder / "rows.csv"))

    return measure


def answer(*words: str) -> dict[str, Any]:
    printed = io.StringIO()
    with redirect_stdout(printed):
        assert console.run(app, [*words, "--json"]) == 0
    document: dict[str, Any] = json.loads(printed.getvalue())
    return document


@pytest.fixture(scope="module")
def chinese() -> list[tuple[str, str]]:
    with (SAMPLE / "labelled.csv").open(encoding="utf-8", newline="") as file:
        rows = [(row["question"], row["expected"]) for row in csv.DictReader(file)]
    return [row for row in rows if script(row[0]) is Script.CJK]


def test_chinese_questions_find_their_entry(measure: Measure, chinese: Rows):
    figures = measure(chinese)
    assert figures["questions"] >= 220
    assert figures["accuracy"] >= LEAST_CHINESE_ACCURACY


def test_a_question_whether_it_is_a_robot_is_answered(measure: Measure):
    figures = measure([(text, "are-you-a-robot-zh") for text in ROBOT])
    assert (figures["answered"], figures["accuracy"]) == (len(ROBOT), 1.0)


def test_small_talk_is_answered_and_not_handed_off(measure: Measure):
    figures = measure(SMALL_TALK)
    assert (figures["answered"], figures["precision"]) == (len(SMALL_TALK), 1.0)
