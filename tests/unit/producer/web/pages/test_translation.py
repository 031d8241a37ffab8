"""Every sentence of the pages has a Chinese translation."""

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
from producer.web.pages.translation import catalog, language, translate

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
    sentences = set()
    for file in TEMPLATES.glob("*.html"):
        tree = environment.parse(file.read_text(encoding="utf-8"))
        for call in tree.find_all(nodes.Call):
            if getattr(call.node, "name", "") == "_" and isinstance(call.args[0], nodes.Const):
                sentences.add(call.args[0].value)
    return sentences


def _of_code() -> set[str]:
    sentences = set(models.METRICS.values())
    for file in PACKAGE.glob("*.py"):
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call) and getattr(node.func, "id", "") == "translate":
                (text,) = node.args
                if isinstance(text, ast.Constant):
                    sentences.add(text.value)
    return sentences


def _words(tables: tuple[type[StrEnum], ...]) -> set[str]:
    return {word.value for table in tables for word in table} | REASONS


def test_the_chinese_catalog_has_every_sentence_and_no_other():
    assert set(catalog("zh")) == _of_templates() | _of_code() | _words(TABLES)
    assert len(_of_templates()) > 60


def test_the_english_catalog_explains_column_values_with_underscores():
    assert set(catalog("en")) <= _words(TABLES)
    unreadable = {word for word in _words(TABLES) if "_" in word}
    assert unreadable <= set(catalog("en"))


@pytest.mark.parametrize("text", catalog("zh"))
def test_a_translation_has_the_same_fields_and_is_chinese(text):
    translated = catalog("zh")[text]
    assert sorted(re.findall(r"{\w+}", text)) == sorted(re.findall(r"{\w+}", translated))
    assert re.search("[\u4e00-\u9fff]", translated)


@pytest.mark.parametrize(
    ("accepted", "code"),
    [("zh-CN,zh;q=0.9,en;q=0.8", "zh"), ("en-GB", "en"), ("fr", "en"), ("", "en"), ("fr,zh", "zh")],
)
def test_the_browser_chooses_the_language(accepted, code):
    app = Flask(__name__)
    app.secret_key = "x"
    with app.test_request_context(headers={"Accept-Language": accepted}):
        assert language() == code
        assert (
            translate("Taken by {name}", name="Mei")
            == {"en": "Taken by Mei", "zh": "Mei 已领取"}[code]
        )
        assert translate("an unknown reason") == "an unknown reason"
