"""Everything that the page says has its Chinese."""

from __future__ import annotations

import ast
import re
from enum import StrEnum
from pathlib import Path

import jinja2
import pytest
from flask import Flask
from jinja2 import nodes

from core.domain.batch import BatchState, Lane
from core.domain.handoff import Proposal
from core.domain.model_version import PromotionKind, VersionState
from core.domain.result import Status
from producer.web.pages import models
from producer.web.pages.translation import catalogue, language, translate

PACKAGE = Path(models.__file__).parent
TEMPLATES = PACKAGE.parent / "templates"
REASONS = {
    "out_of_scope",
    "ambiguous",
    "several_questions",
    "wrong_language",
    "too_long",
    "empty",
}
TABLES = (Status, BatchState, Lane, VersionState, PromotionKind, Proposal)


def _of_templates() -> set[str]:
    environment = jinja2.Environment(autoescape=True)
    said = set()
    for file in TEMPLATES.glob("*.html"):
        tree = environment.parse(file.read_text(encoding="utf-8"))
        for call in tree.find_all(nodes.Call):
            if getattr(call.node, "name", "") == "_" and isinstance(call.args[0], nodes.Const):
                said.add(call.args[0].value)
    return said


def _of_code() -> set[str]:
    said = set(models._FIGURES.values())
    for file in PACKAGE.glob("*.py"):
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call) and getattr(node.func, "id", "") == "translate":
                (text,) = node.args
                if isinstance(text, ast.Constant):
                    said.add(text.value)
    return said


def _words(tables: tuple[type[StrEnum], ...]) -> set[str]:
    return {word.value for table in tables for word in table} | REASONS


def test_every_sentence_has_its_chinese_and_no_other_is_there():
    assert set(catalogue("zh")) == _of_templates() | _of_code() | _words(TABLES)
    assert len(_of_templates()) > 60


def test_english_has_words_for_what_tables_abbreviate():
    assert set(catalogue("en")) <= _words(TABLES)
    unreadable = {word for word in _words(TABLES) if "_" in word}
    assert unreadable <= set(catalogue("en"))


@pytest.mark.parametrize("text", catalogue("zh"))
def test_a_translation_has_the_same_gaps_and_is_chinese(text):
    said = catalogue("zh")[text]
    assert sorted(re.findall(r"{\w+}", text)) == sorted(re.findall(r"{\w+}", said))
    assert re.search("[\u4e00-\u9fff]", said)


@pytest.mark.parametrize(
    ("asked", "code"),
    [("zh-CN,zh;q=0.9,en;q=0.8", "zh"), ("en-GB", "en"), ("fr", "en"), ("", "en"), ("fr,zh", "zh")],
)
def test_the_browser_chooses_the_language(asked, code):
    app = Flask(__name__)
    app.secret_key = "x"
    with app.test_request_context(headers={"Accept-Language": asked}):
        assert language() == code
        assert (
            translate("{name} has it", name="Mei") == {"en": "Mei has it", "zh": "Mei 已领取"}[code]
        )
        assert translate("a reason that nobody foresaw") == "a reason that nobody foresaw"
