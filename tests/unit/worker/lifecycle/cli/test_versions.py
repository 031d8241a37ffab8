"""The commands that list and move versions, on the embedded database, in this process."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import typer

from worker.lifecycle.cli.versions import parse_share
from worker.lifecycle.evaluation import gate
from worker.model.bundle.bundle import FORMAT

KB = [
    {"id": "refund", "answer": "Soon.", "questions": ["Where is my refund?", "money back"]},
    {"id": "track", "answer": "See My orders.", "questions": ["Where is my parcel?", "track"]},
]
LABELLED = "question,expected\nwhere is my refund,refund\nwhere is my parcel,track\nknow a joke,\n"


@pytest.fixture(autouse=True)
def _equally_fast(monkeypatch: pytest.MonkeyPatch) -> None:
    """Make the timing independent of the load of the machine."""
    monkeypatch.setattr(gate, "_rate", lambda *_: 100.0)


@pytest.fixture
def shop(run, tiny_encoder: Path, tmp_path: Path):
    """shop@1 in production; shop@2, which lacks an entry, is built."""
    for entries in (KB, KB[:1]):
        file = tmp_path / "kb.jsonl"
        file.write_text("\n".join(map(json.dumps, entries)), encoding="utf-8")
        words = ["--name", "shop", "--knowledge", str(file), "--encoder", str(tiny_encoder)]
        assert run("build", *words)[0] == 0


@pytest.fixture
def labelled_file(tmp_path: Path) -> str:
    file = tmp_path / "labelled.csv"
    file.write_text(LABELLED, encoding="utf-8")
    return str(file)


def states(run):
    return {version["model"]: version["state"] for version in json.loads(run("list", "--json")[1])}


def lines_of(text):
    assert all(len(line) <= 80 for line in text.splitlines())
    return text.splitlines()


@pytest.mark.usefixtures("shop")
def test_a_version_is_promoted_and_rolled_back(run):
    status, out, err = run("promote", "shop@2")
    assert (status, err) == (0, "")
    assert out.endswith("shop@2 is in production now.\n")
    assert run("promote", "shop@latest")[:2] == (0, "shop@2 is in production already.\n")
    assert states(run) == {"shop@1": "retired", "shop@2": "production"}
    assert run("rollback", "shop")[:2] == (0, "shop@1 is in production again.\n")
    assert states(run) == {"shop@1": "production", "shop@2": "withdrawn"}


@pytest.mark.usefixtures("shop")
def test_a_worse_version_is_refused_in_one_line(run, labelled_file):
    status, out, err = run("promote", "shop@2", "--questions", labelled_file)
    assert (status, out) == (2, "")
    (line,) = err.splitlines()
    assert "accuracy 0.5 against 1.0 (margin 0.01)" in line
    assert states(run) == {"shop@1": "production", "shop@2": "built"}


@pytest.mark.usefixtures("shop")
def test_a_forced_promotion_shows_the_metrics_and_is_recorded(run, labelled_file):
    words = ["promote", "shop@2", "--questions", labelled_file, "--force", "--reason", "a new law"]
    status, out, _ = run(*words)
    assert status == 0
    (accuracy,) = [line for line in lines_of(out) if "accuracy" in line]
    assert [cell.strip() for cell in accuracy.strip("│").split("│")] == [
        "accuracy",
        "1.0",
        "0.5",
        "0.01",
        "worse",
    ]
    shown = " ".join(" ".join(lines_of(run("show", "shop@2")[1])).split())
    assert "promoted shop@2; replaced shop@1; by" in shown
    assert "forced; reason: a new law; accuracy 0.5 against 1.0" in shown
    (move,) = json.loads(run("show", "shop@2", "--json")[1])["moves"]
    assert (move["kind"], move["forced"], move["reason"]) == ("promoted", True, "a new law")
    assert move["gate"]["about"]["questions"] == 3


@pytest.mark.usefixtures("shop")
def test_the_margin_is_the_callers(run, labelled_file):
    words = ["promote", "shop@2", "--questions", labelled_file, "--margin"]
    assert run(*words, "0.4")[0] == 2
    assert run(*words, "0.6")[0] == 0


@pytest.mark.usefixtures("shop")
def test_a_canary_is_shown_with_its_share_and_withdrawn_first(run):
    out = run("promote", "shop@2", "--canary", "5%")[1]
    assert out.endswith("shop@2 is a canary now: it answers 5% of the jobs.\n")
    assert "canary 5%" in "\n".join(lines_of(run("list")[1]))
    assert "canary shop@2 5%; production shop@1" in run("show", "shop@2")[1]
    (_, canary) = json.loads(run("list", "--json")[1])
    assert (canary["state"], canary["canary_share"]) == ("canary", 0.05)

    out = run("rollback", "shop")[1]
    assert "The canary shop@2 is withdrawn; shop@1 stays in production." in out
    assert states(run) == {"shop@1": "production", "shop@2": "withdrawn"}


@pytest.mark.usefixtures("shop")
def test_moving_prints_one_json_document(run, labelled_file):
    promoted = json.loads(run("promote", "shop@2", "--canary", "0.05", "--json")[1])
    assert (promoted["model"], promoted["state"], promoted["moved"]) == ("shop@2", "canary", True)
    assert promoted["gate"]["production"] == "shop@1"
    withdrawn = json.loads(run("rollback", "shop", "--json")[1])
    assert (withdrawn["model"], withdrawn["canary_withdrawn"]) == ("shop@1", "shop@2")
    again = json.loads(run("promote", "shop@1", "--questions", labelled_file, "--json")[1])
    assert (again["moved"], again["gate"]) == (False, None)


@pytest.mark.usefixtures("shop")
def test_a_version_is_shown_with_its_manifest_and_history(run):
    shown = json.loads(run("show", "shop", "--json")[1])
    assert (shown["model"], shown["manifest"]["format"]) == ("shop@1", FORMAT)
    assert [move["kind"] for move in shown["moves"]] == ["promoted"]
    assert "verified" in "\n".join(lines_of(run("show", "shop")[1]))


def test_an_empty_list_names_the_build_command(run):
    assert "answermill model build --knowledge" in run("list")[1]
    assert json.loads(run("list", "--json")[1]) == []


@pytest.mark.parametrize(
    ("text", "share"), [("5%", 0.05), ("0.05", 0.05), (".5", 0.5), ("12.5 %", 0.125)]
)
def test_a_share_is_a_percentage_or_a_fraction(text, share):
    assert parse_share(text) == share


@pytest.mark.parametrize("text", ["0%", "100%", "0.0", "1.0", "5", "-5%", "five", "", "5%%", "nan"])
def test_an_invalid_share_is_refused(text):
    with pytest.raises(typer.BadParameter, match="share"):
        parse_share(text)


@pytest.mark.usefixtures("shop")
def test_ctrl_c_during_the_comparison_moves_nothing(run, labelled_file, monkeypatch):
    def interrupted(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(gate, "evaluate", interrupted)
    assert run("promote", "shop@2", "--questions", labelled_file) == (130, "", "")
    assert states(run) == {"shop@1": "production", "shop@2": "built"}


@pytest.mark.usefixtures("shop")
def test_typical_mistakes_are_reported_in_one_line(run, tmp_path):
    mistakes = [
        ["show", "nope"],
        ["promote", "nope@1"],
        ["promote", "nope"],
        ["promote", "shop"],
        ["promote", "shop@2", "--force"],
        ["promote", "shop@2", "--canary", "5"],
        ["promote", "shop@1", "--canary", "5%"],
        ["promote", "shop@2", "--margin", "2"],
        ["promote", "shop@2", "--questions", str(tmp_path / "nope.csv")],
        ["rollback", "nope"],
        ["rollback", "shop"],
    ]
    for words in mistakes:
        status, out, err = run(*words)
        assert (status, out, len(err.splitlines())) == (2, "", 1), words
        assert "Traceback" not in err
    assert states(run) == {"shop@1": "production", "shop@2": "built"}
