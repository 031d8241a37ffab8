"""The sample's files: that they fit together, and that the labelled questions are new."""

from __future__ import annotations

import csv
from collections import Counter
from pathlib import Path

import pytest

import stack
from worker.lifecycle.inputs.knowledge_file import read_knowledge, shared_phrasings
from worker.lifecycle.inputs.out_of_scope_questions import read_out_of_scope_questions
from worker.model.bundle.bundle import Entry
from worker.text.normalization import Script, normalize_for_match, script

SAMPLE = Path(stack.__path__[0]) / "sample"


@pytest.fixture(scope="module")
def entries() -> list[Entry]:
    return read_knowledge(SAMPLE / "knowledge.jsonl")


@pytest.fixture(scope="module")
def labelled() -> list[dict[str, str]]:
    return rows("labelled.csv")


def rows(name: str) -> list[dict[str, str]]:
    with (SAMPLE / name).open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def expected(row: dict[str, str]) -> list[str]:
    return [part for part in row["expected"].split("|") if part]


def test_every_entry_has_phrasings_enough(entries: list[Entry]):
    for entry in entries:
        assert len(entry.questions) >= (8 if entry.language == "zh" else 7), entry.id


def test_no_two_entries_share_a_phrasing(entries: list[Entry]):
    assert shared_phrasings(entries) == []


def test_small_talk_is_tagged(entries: list[Entry]):
    tagged = {entry.id for entry in entries if "small-talk" in entry.tags}
    both = {"are-you-a-robot", "hello", "thanks", "goodbye"}
    assert tagged == both | {f"{id_}-zh" for id_ in both} | {"who-made-you", "insult"}


def test_every_entry_is_asked_for(entries: list[Entry], labelled: list[dict[str, str]]):
    asked = Counter(id_ for row in labelled for id_ in expected(row))
    for entry in entries:
        assert asked[entry.id] >= (8 if entry.language == "zh" else 3), entry.id
    assert asked.keys() <= {entry.id for entry in entries}


def test_there_are_hundreds_in_both_languages(labelled: list[dict[str, str]]):
    kinds = Counter(script(row["question"]) for row in labelled)
    assert kinds[Script.CJK] >= 220
    assert kinds[Script.SPACED] >= 200


def test_the_scope_tells_what_is_handed_off(labelled: list[dict[str, str]]):
    scopes = Counter(row["scope"] for row in labelled)
    assert scopes.keys() == {"", "near", "far"}
    assert min(scopes["near"], scopes["far"]) >= 40
    for row in labelled:
        assert bool(row["scope"]) != bool(row["expected"]), row


def test_labelled_questions_are_found_nowhere_else(
    entries: list[Entry], labelled: list[dict[str, str]]
):
    texts = [normalize_for_match(row["question"]) for row in labelled]
    assert len(set(texts)) == len(texts)
    elsewhere = [text for entry in entries for text in entry.questions]
    elsewhere += [row["question"] for row in rows("questions.csv")] + read_out_of_scope_questions()
    assert not set(texts) & {normalize_for_match(text) for text in elsewhere}
