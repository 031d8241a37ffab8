from __future__ import annotations

import csv
from pathlib import Path

import stack
from worker.lifecycle.inputs.knowledge_file import read_knowledge
from worker.lifecycle.inputs.out_of_scope_questions import read_out_of_scope_questions
from worker.text.normalization import Script, normalize_for_match, script

SAMPLE = Path(stack.__path__[0]) / "sample"


def test_there_are_many_in_both_languages():
    kinds = [script(text) for text in read_out_of_scope_questions()]
    assert kinds.count(Script.SPACED) >= 150
    assert kinds.count(Script.CJK) >= 80


def test_comments_and_blank_lines_are_no_questions():
    assert all(text.strip() == text and text[0] != "#" for text in read_out_of_scope_questions())


def test_no_question_is_repeated():
    texts = [normalize_for_match(text) for text in read_out_of_scope_questions()]
    assert all(texts)
    assert len(set(texts)) == len(texts)


def test_none_is_among_the_samples_questions_or_phrasings():
    out_of_scope = {normalize_for_match(text) for text in read_out_of_scope_questions()}
    known = {
        normalize_for_match(q)
        for e in read_knowledge(SAMPLE / "knowledge.jsonl")
        for q in e.questions
    }
    assert not out_of_scope & known
    for path in SAMPLE.glob("*.csv"):
        with path.open(encoding="utf-8", newline="") as file:
            assert not out_of_scope & {
                normalize_for_match(row["question"]) for row in csv.DictReader(file)
            }, path
