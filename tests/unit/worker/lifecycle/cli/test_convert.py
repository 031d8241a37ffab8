"""`model convert`, on the embedded database, in this process."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

KB = [
    {"id": "refund", "answer": "Soon.", "questions": ["Where is my refund?", "money back"]},
    {"id": "track", "answer": "See My orders.", "questions": ["Where is my parcel?", "track"]},
]
TO_INT8 = ["--engine", "onnx", "--precision", "int8"]


@pytest.fixture(autouse=True)
def _shop(run, tiny_encoder: Path, tmp_path: Path) -> None:
    """shop@1, in production."""
    file = tmp_path / "kb.jsonl"
    file.write_text("\n".join(map(json.dumps, KB)), encoding="utf-8")
    words = ["--name", "shop", "--knowledge", str(file), "--encoder", str(tiny_encoder)]
    assert run("build", *words)[0] == 0


def states(run) -> dict[str, str]:
    listed = json.loads(run("list", "--json")[1])
    return {f"{row['name']}@{row['version']}": row["state"] for row in listed}


def test_a_version_is_converted_and_waits_for_its_promotion(run):
    status, out, err = run("convert", "shop@1", *TO_INT8)
    assert (status, err) == (0, "")
    text = " ".join(out.split())
    assert text.startswith("Made shop@2 in ")
    assert (
        "its encoder is onnx int8. Compared with the original on 4 phrasings of its own: " in text
    )
    assert text.endswith("To put it into production: answermill model promote shop@2")
    assert states(run) == {"shop@1": "production", "shop@2": "built"}
    assert "onnx int8" in run("show", "shop@2")[1]


def test_the_same_conversion_adds_nothing(run):
    run("convert", "shop@1", *TO_INT8)
    status, out, _ = run("convert", "shop@1", *TO_INT8)
    assert (status, out) == (0, "The same bundle is shop@2 already; nothing was added.\n")


def test_json_has_the_metrics_of_every_step(run, tmp_path: Path):
    file = tmp_path / "q.csv"
    file.write_text("question,expected\nmoney,refund\n", encoding="utf-8")
    status, out, err = run("convert", "shop@1", *TO_INT8, "--questions", str(file), "--json")
    assert (status, err) == (0, "")
    converted = json.loads(out)
    assert (converted["name"], converted["version"], converted["new"]) == ("shop", 2, True)
    assert converted["conversion"]["asked"] == "questions of q.csv"
    assert [step["precision"] for step in converted["conversion"]["steps"]] == ["fp32", "int8"]
    assert converted["conversion"]["steps"][1]["questions"] == 1


def test_a_converted_version_is_promoted_evaluated_and_compared(run, tmp_path: Path):
    run("convert", "shop@1", *TO_INT8)
    file = tmp_path / "q.csv"
    file.write_text("question,expected\nWhere is my refund?,refund\n", encoding="utf-8")
    words = ["--questions", str(file)]
    assert run("promote", "shop@2", *words, "--speed-margin", "0.99")[0] == 0
    assert json.loads(run("evaluate", "shop", *words, "--json")[1])["accuracy"] == 1.0
    assert run("diff", "shop@1", "shop@2")[0] == 0


@pytest.mark.parametrize(
    ("words", "problem"),
    [
        (["shop@1", "--engine", "torch", "--precision", "fp32"], "already torch fp32"),
        (
            ["shop@1", "--engine", "torch", "--precision", "int8"],
            "does not support --precision int8",
        ),
        (["shop@9", *TO_INT8], "shop@9"),
        (["nope", *TO_INT8], "nope"),
        (["shop@1", *TO_INT8, "--questions", "nope.csv"], "nope.csv: No such file"),
    ],
)
def test_mistakes_are_reported_in_one_line(run, words: list[str], problem: str):
    status, out, err = run("convert", *words)
    assert (status, out, len(err.splitlines())) == (2, "", 1)
    assert problem in err
    assert states(run) == {"shop@1": "production"}


def test_what_drifts_is_refused_and_gets_no_number(run, monkeypatch: pytest.MonkeyPatch):
    from worker.lifecycle.conversion import drift
    from worker.model.encoder.base import Precision

    strict = drift.DriftLimits(cosine_least=1.1, cosine_p1=1.1, changed=0.0)
    monkeypatch.setitem(drift.LIMITS, Precision.INT8, strict)
    status, out, err = run("convert", "shop@1", *TO_INT8)
    assert (status, out, len(err.splitlines())) == (2, "", 1)
    assert "the least cosine is" in err
    assert states(run) == {"shop@1": "production"}
