"""The commands on the embedded database, in this process."""

from __future__ import annotations

import importlib.util
import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import stack
from worker.model.bundle.bundle import open_bundle

KB = [
    {"id": "refund", "answer": "Soon.", "questions": ["Where is my refund?", "money back"]},
    {"id": "track", "answer": "See My orders.", "questions": ["Where is my parcel?", "track"]},
]


@pytest.fixture
def knowledge(tmp_path: Path) -> Path:
    file = tmp_path / "kb.jsonl"
    file.write_text("\n".join(map(json.dumps, KB)), encoding="utf-8")
    return file


@pytest.fixture
def build(run, knowledge: Path, tiny_encoder: Path):
    words = ["build", "--name", "shop", "--knowledge", str(knowledge), "--encoder"]
    return lambda *more: run(*words, str(tiny_encoder), *more)


def test_the_life_of_a_model(run, build, knowledge: Path, tmp_path: Path):
    status, out, err = build()
    assert (status, err) == (0, "")
    assert out.startswith("Built shop@1 in ")
    assert "2 entries, 4 phrasings" in out
    assert "in production: workers answer with it" in out

    assert "The same bundle is shop@1 already" in build()[1]

    knowledge.write_text(json.dumps(KB[0]), encoding="utf-8")
    assert "To put it into production: answermill model promote shop@2" in build()[1]
    questions = tmp_path / "q.csv"
    questions.write_text("question,expected\nwhere is my refund,refund\n???,\n", encoding="utf-8")
    status, out, err = run("evaluate", "shop", "--questions", str(questions), "--json")
    assert (status, err) == (0, "")
    report = json.loads(out)
    assert list(report) == [
        "questions",
        "accuracy",
        "answered",
        "precision",
        "coverage",
        "handoff_recall",
        "auroc",
        "ece",
        "threshold",
        "questions_per_second",
        "cascade_share",
        "handoff_recall_near",
        "handoff_recall_far",
        "entries",
        "reasons",
    ]
    assert (report["questions"], report["accuracy"], report["handoff_recall"]) == (2, 1.0, 1.0)
    table = run("evaluate", "shop@1", "--questions", str(questions))[1]
    assert "shop@1 on 2 labelled questions" in table
    assert all(len(line) <= 80 for line in table.splitlines())


def test_a_missing_package_is_reported_before_the_work(build, home: Path, monkeypatch):
    installed = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util,
        "find_spec",
        lambda name, *more: None if name == "onnx" else installed(name, *more),
    )
    monkeypatch.setattr(
        "worker.lifecycle.build.build_bundle.build", lambda *_, **__: pytest.fail("it was built")
    )
    status, out, err = build("--engine", "onnx")
    assert (status, out) == (2, "")
    assert err.strip().endswith("needs the package onnx: pip install 'answermill[lifecycle]'")
    assert len(err.splitlines()) == 1
    assert not list((home / "models").glob("*/*"))


@pytest.fixture
def labelled(tmp_path: Path) -> Path:
    file = tmp_path / "labelled.csv"
    rows = ["where is my refund,refund,", "parcel refund money,track,", "<b>tents</b>,,near"]
    file.write_text("\n".join(["question,expected,scope", *rows, "rain?,,far"]), encoding="utf-8")
    return file


def test_evaluate_shows_hand_offs_and_the_worst_entries(run, build, labelled: Path):
    build()
    report = json.loads(run("evaluate", "shop", "--questions", str(labelled), "--json")[1])
    assert [entry["entry"] for entry in report["entries"]] == ["refund", "track"]
    assert report["entries"][1] == {
        "entry": "track",
        "questions": 1,
        "right": 0,
        "answered": report["entries"][1]["answered"],
        "confused_with": "refund",
        "confused": 1,
    }
    assert report["answered"] + sum(report["reasons"].values()) == 4
    assert {report["handoff_recall_near"], report["handoff_recall_far"]} <= {0.0, 1.0}
    status, out, _ = run("evaluate", "shop", "--questions", str(labelled))
    assert status == 0
    assert "The entries with the most wrong questions" in out
    assert all(len(line) <= 80 for line in out.splitlines())


def test_entries_with_long_names_fit_into_80_columns(run, knowledge: Path, tiny_encoder: Path):
    long = [entry | {"id": entry["id"] * 15} for entry in KB]
    knowledge.write_text("\n".join(map(json.dumps, long)), encoding="utf-8")
    words = ["--name", "shop", "--knowledge", str(knowledge), "--encoder", str(tiny_encoder)]
    run("build", *words)
    questions = knowledge.with_name("q.csv")
    questions.write_text(f"question,expected\nmoney back,{'track' * 15}\n", encoding="utf-8")
    out = run("evaluate", "shop", "--questions", str(questions))[1]
    assert "trackt" in out
    assert "…" not in out  # nothing of it is cut
    assert all(len(line) <= 80 for line in out.splitlines())


def test_evaluate_writes_a_page(run, build, labelled: Path, tmp_path: Path):
    build()
    page = tmp_path / "page.html"
    words = ["evaluate", "shop", "--questions", str(labelled), "--report", str(page)]
    status, out, err = run(*words)
    assert (status, err) == (0, "")
    assert out.endswith(f"The report is {page}. It quotes questions.\n")
    html = page.read_text(encoding="utf-8")
    assert html.startswith("<!doctype html>")
    assert "&lt;b&gt;tents&lt;/b&gt;" in html
    assert "<b>tents" not in html

    page.unlink()
    assert json.loads(run(*words, "--json")[1])["questions"] == 4
    assert page.exists()


def test_a_page_that_cannot_be_written_is_reported_before_the_evaluation(
    run, build, labelled: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    build()
    monkeypatch.setattr("worker.lifecycle.evaluation.evaluate.evaluate_each", None)
    for target, problem in [("none/page.html", "No such file or directory"), ("", "is a folder")]:
        words = ["--questions", str(labelled), "--report", str(tmp_path / target)]
        status, out, err = run("evaluate", "shop", *words)
        assert (status, out, len(err.splitlines())) == (2, "", 1)
        assert problem in err


def test_build_prints_one_json_document(build):
    status, out, _ = build("--json")
    document = json.loads(out)
    assert status == 0
    assert (document["model"], document["state"], document["new"]) == ("shop@1", "production", True)


def test_shared_phrasings_are_a_warning_on_standard_error(build, knowledge: Path):
    twin = KB[1] | {"questions": ["WHERE is my refund", "track"]}
    knowledge.write_text("\n".join(map(json.dumps, [KB[0], twin])), encoding="utf-8")
    status, out, err = build("--json")
    assert status == 0
    assert json.loads(out)
    assert err == (
        "warning: phrasings of two entries, which may be handed off as ambiguous:"
        " 'WHERE is my refund' (refund, track)\n"
    )


@pytest.mark.parametrize("name", ["Shop", "", "-shop", "a" * 64, "shop@1", "../shop", "sh op"])
def test_an_invalid_name_is_refused(run, knowledge: Path, name: str):
    status, out, err = run("build", "--knowledge", str(knowledge), f"--name={name}")
    assert (status, out, len(err.splitlines())) == (2, "", 1)
    assert "--name" in err


@pytest.mark.parametrize(
    ("words", "fault"),
    [
        (
            ["--engine", "onnx", "--precision", "bf16"],
            "--engine onnx does not support --precision bf16; use --precision fp32 or int8",
        ),
        (
            ["--precision", "int8"],
            "--engine torch does not support --precision int8; use --precision fp32 or bf16",
        ),
    ],
)
def test_a_precision_that_the_engine_does_not_support_is_refused(build, words, fault):
    status, out, err = build(*words)
    assert (status, out) == (2, "")
    assert fault in err


def test_typical_mistakes_are_reported_in_one_line(run, build, knowledge: Path, tmp_path: Path):
    mistakes = [
        ["build", "--name", "shop", "--knowledge", str(tmp_path / "nope.jsonl")],
        ["build", "--name", "shop", "--knowledge", str(knowledge), "--encoder", "./nope"],
        ["evaluate", "nope", "--questions", str(knowledge)],
    ]
    for words in mistakes:
        status, out, err = run(*words)
        assert (status, out, len(err.splitlines())) == (2, "", 1), words
        assert "Traceback" not in err
    build()
    assert "no column named 'question'" in run("evaluate", "shop", "--questions", str(knowledge))[2]
    questions = tmp_path / "q.csv"
    questions.write_text("question,expected\na,x\nb,track|y\n", encoding="utf-8")
    assert run("evaluate", "shop", "--questions", str(questions)) == (
        2,
        "",
        f"answermill: {questions}: the model has no entry 'x' (row 2), 'y' (row 3)\n",
    )


def test_help_and_a_bad_knowledge_base_do_not_wait_for_torch():
    code = (
        "import sys; from core import console; from worker.lifecycle.cli.model import app;"
        " console.run(app, ['build', '--name', 'a', '--knowledge', 'nope']);"
        " sys.exit('torch' in sys.modules)"
    )
    root = Path(stack.__path__[0]).parent
    assert subprocess.run([sys.executable, "-c", code], check=False, cwd=root).returncode == 0


def test_a_build_is_uploaded_to_a_store_with_a_url(run, build, tmp_path, home, monkeypatch):
    store = tmp_path / "store"  # local:// is handled like a remote store
    monkeypatch.setenv("ANSWERMILL_MODEL_STORE", f"local://{store}")
    built = json.loads(build("--json")[1])
    assert Path(built["path"]).is_relative_to(home / "fetched")
    (put,) = (store / "shop").iterdir()
    assert open_bundle(put).manifest.digest == built["digest"]

    shutil.rmtree(home / "fetched")
    assert json.loads(run("show", "shop", "--json")[1])["path"] == built["path"]
    assert open_bundle(Path(built["path"])).manifest.digest == built["digest"]


def test_a_store_without_a_package_for_it_is_reported_before_the_build(build, home, monkeypatch):
    monkeypatch.setenv("ANSWERMILL_MODEL_STORE", "s3://bucket/models")
    status, out, err = build()
    assert (status, out, len(err.splitlines())) == (2, "", 1)
    assert "s3fs" in err
    assert not (home / "fetched").exists()
