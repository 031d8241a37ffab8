from __future__ import annotations

import html.parser
import re
import sys
from collections import Counter
from pathlib import Path

import pytest

from core.errors import ExtraMissing, OutputInvalid
from tests.labelled import answered, expecting, handed_off
from worker.lifecycle.evaluation.metrics import measure
from worker.lifecycle.evaluation.report import page
from worker.lifecycle.evaluation.report.missing_entries import MissingEntries, MissingEntry
from worker.lifecycle.inputs.labelled_questions import Labelled, QuestionScope

HOSTILE = [
    "<script>alert(1)</script>",
    '"><img src=x onerror=alert(1)>',
    "</style></svg><script src=//evil.example/x.js></script>",
    "{{ 7 * 7 }} {% raw %} javascript:alert(1)",
    "&lt;b&gt; &#60;script&#62; <!-- ]]>",
    "\u202eright to left 您好\x00",
]


class Tags(html.parser.HTMLParser):
    """The tags and the text that a browser would see."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: Counter[str] = Counter()
        self.attributes: list[tuple[str, str | None]] = []
        self.text = ""
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags[tag] += 1
        self.attributes += attrs
        self.text += " "

    def handle_data(self, data: str) -> None:
        self.text += data


def rendered(
    labelled: list[Labelled],
    answers: list,
    *,
    missing: MissingEntries | None = None,
    **known: object,
) -> str:
    report = measure(labelled, answers, 0.5, 100.0)
    evaluation = page.EvaluationInput(
        str(known.get("source", "labelled.csv")),
        frozenset({"a", "b", "untested"}),
        labelled,
        answers,
        report,
    )
    return page.render("shop@1", evaluation, missing or MissingEntries(0, 0, []))


def ordinary() -> str:
    labelled = [
        expecting("a", text="where is it"),
        expecting("a", "b", text="and that"),
        expecting("b", text="我的快递在哪"),
        expecting(text="rent a tent", scope=QuestionScope.NEAR),
        expecting(text="weather", scope=QuestionScope.FAR),
    ]
    answers = [
        answered("b", 0.8),
        answered("a", 0.9),
        handed_off("b", 0.4, reason="ambiguous"),
        answered("a", 0.7),
        handed_off("a", 0.1),
    ]
    groups = [
        MissingEntry(2, 1, ["rent", "tent"], ["rent a tent", "tents"]),
        MissingEntry(1, 0, [], ["zelt"]),
    ]
    return rendered(labelled, answers, missing=MissingEntries(3, 3, groups))


def test_the_page_shows_everything():
    text = " ".join(Tags(ordinary()).text.split())
    for words in [
        "shop@1 measured on 5 labelled questions from labelled.csv",
        "66.7% accuracy",
        "of the 3 answered questions",
        "Near: 0.0%, far: 100.0%",
        "100 questions per second",
        "where is it",
        "rent a tent",
        "ambiguous 1 1",
        "out of scope 1 0",
        "2 questions: rent, tent",
        "1 of them was answered, wrongly.",
        "Single questions zelt",
        "Entries without a question: untested.",
        "66.7% answered, 33.3% right",
    ]:
        assert words in text, words


def test_nothing_is_fetched_and_no_script_is_in_it():
    tags = Tags(ordinary())
    assert not tags.tags.keys() & {"script", "link", "img", "iframe", "object", "base", "form"}
    assert not any(name.startswith("on") for name, _ in tags.attributes)
    assert not any(name in {"href", "src", "xlink:href"} for name, _ in tags.attributes)
    assert "url(" not in ordinary()
    assert "@import" not in ordinary()
    assert ("content", "default-src 'none'; style-src 'unsafe-inline'") in tags.attributes


def test_hostile_text_is_inert_wherever_it_stands():
    labelled, answers = [], []
    for text in HOSTILE:
        labelled += [expecting(text, text=text), expecting(text=text), expecting("a", text=text)]
        answers += [answered("a", 0.9), answered(text, 0.8), handed_off(text, 0.3, reason=text)]
    groups = [
        MissingEntry(2, 1, HOSTILE, HOSTILE),
        *(MissingEntry(1, 0, [], [text]) for text in HOSTILE),
    ]
    hostile = rendered(labelled, answers, missing=MissingEntries(9, 9, groups), source=HOSTILE[0])
    tags, harmless = Tags(hostile), Tags(ordinary())
    assert tags.tags.keys() <= harmless.tags.keys() | {"em"}
    names = {name for name, _ in harmless.attributes}
    assert {name for name, _ in tags.attributes} <= names
    assert tags.tags["style"] == 1
    for text in HOSTILE:
        quoted = " ".join(text.split())
        assert tags.text.count(quoted) >= 4, text


def test_figures_that_are_not_defined_are_dashes():
    nothing = " ".join(Tags(rendered([expecting()], [handed_off(None, None)])).text.split())
    assert "– accuracy" in nothing
    assert "– AUROC" in nothing
    assert "Not defined: no question has an entry" in nothing
    assert "No question has an entry." in nothing
    perfect = " ".join(Tags(rendered([expecting("a")], [answered("a")])).text.split())
    assert "No question was handed off." in perfect
    # Without questions labelled near or far, neither is mentioned.
    assert (
        "– hand-off recall of the questions that have no entry were handed off – AUROC" in perfect
    )
    assert "None. Every question has an entry" in perfect


def test_long_questions_are_cut_and_long_lists_counted():
    labelled = [expecting("a", "b", f"{n}", text="x" * 5_000) for n in range(40)]
    text = rendered(labelled, [answered("c")] * 40)
    assert "x" * 300 not in text
    assert "And 25 more." in text


def test_the_same_evaluation_makes_the_same_page():
    first, second = ordinary(), ordinary()
    stamp = re.compile(r"\d{4}-\d\d-\d\d \d\d:\d\d UTC")
    assert stamp.sub("", first) == stamp.sub("", second)


def test_a_missing_jinja2_is_reported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setitem(sys.modules, "jinja2", None)
    with pytest.raises(ExtraMissing, match=r"jinja2: pip install 'answermill\[lifecycle\]'"):
        page.check(tmp_path / "page.html")


def test_a_target_that_cannot_be_written_is_reported_before_the_work(tmp_path: Path):
    with pytest.raises(OutputInvalid, match="No such file"):
        page.check(tmp_path / "none" / "page.html")
