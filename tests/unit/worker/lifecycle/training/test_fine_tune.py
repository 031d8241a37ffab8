from __future__ import annotations

import socket
from pathlib import Path

import numpy as np
import pytest

from core.errors import ExtraMissing, TuningRefused
from worker.lifecycle.training import trainer
from worker.lifecycle.training.encoder_source import EncoderSource, read_pooling, write_encoder
from worker.lifecycle.training.fine_tune import FineTuneResult, check_can_tune, tune_encoder
from worker.lifecycle.training.trainer import Recipe
from worker.model.bundle.bundle import Entry, hash_file
from worker.model.encoder.base import Pooling
from worker.model.encoder.tokenizer import TOKENIZER
from worker.model.encoder.torch_encoder import WEIGHTS

RECIPE = Recipe(rate=2e-3, least_steps=40)  # for random weights


def differing_by_a_character(phrasings: int = 40) -> list[Entry]:
    random = np.random.default_rng(7)

    def phrasing(sign: str) -> str:
        letters = "".join(random.choice(list("abcdefgh"), 12))
        return letters[:6] + sign + letters[6:]

    signs = {"one": "1", "two": "2", "many": "?"}
    return [
        Entry(name, f"About {name}.", [phrasing(sign) for _ in range(phrasings)])
        for name, sign in signs.items()
    ]


def separable() -> list[Entry]:
    return [
        Entry(sign, sign, [f"{sign * 20} {n}" for n in ("a", "b", "c", "d", "e")]) for sign in "12"
    ]


class Tuner:
    """Tunes the tiny encoder with default arguments."""

    def __init__(self, encoder: Path, folder: Path) -> None:
        self.source = EncoderSource("tiny", encoder)
        self.folder = folder
        self.progress: list[tuple[int, int]] = []

    def __call__(self, entries: list[Entry], run: str = "run") -> FineTuneResult:
        return tune_encoder(
            self.source,
            entries,
            self.folder / run,
            threads=1,
            on_progress=lambda done, total: self.progress.append((done, total)),
            recipe=RECIPE,
        )


@pytest.fixture
def tune(tiny_encoder: Path, tmp_path: Path) -> Tuner:
    return Tuner(tiny_encoder, tmp_path)


def test_tuning_learns_to_separate_entries(tune: Tuner):
    tuned = tune(differing_by_a_character())
    assert tuned.helped
    assert tuned.after.neighbours > tuned.before.neighbours + 0.2
    assert (tuned.source.id, tuned.trial.id) == ("tiny, tuned", "tiny, tuned")
    hashes = {
        hash_file(source.folder / WEIGHTS) for source in (tune.source, tuned.source, tuned.trial)
    }
    assert len(hashes) == 3
    assert tuned.figures() == {
        "share": tuned.share,
        "held_out": 24,
        "before": vars(tuned.before),
        "after": vars(tuned.after),
    }


def test_the_original_is_kept_if_tuning_does_not_help(tune: Tuner):
    tuned = tune(separable())
    assert (tuned.share, tuned.before.mean, tuned.source) == (0.0, 1.0, tune.source)
    assert not (tune.folder / "run" / "tuned").exists()
    assert tune.progress[-1][0] == tune.progress[-1][1]


@pytest.mark.parametrize("share", [0.5, 1.0])
def test_the_most_accurate_share_is_kept(
    tune: Tuner, monkeypatch: pytest.MonkeyPatch, share: float
):
    monkeypatch.setattr("worker.lifecycle.training.fine_tune._SHARES", (0.0001, share))
    assert tune(differing_by_a_character()).share == share


def test_a_tuned_encoder_has_the_other_files_of_its_source(tune: Tuner, tmp_path: Path):
    (tune.folder / "cls").mkdir()
    for file in tune.source.folder.iterdir():
        (tune.folder / "cls" / file.name).write_bytes(file.read_bytes())
    (tune.folder / "cls" / "1_Pooling").mkdir()
    (tune.folder / "cls" / "1_Pooling" / "config.json").write_text('{"pooling_mode": "cls"}')
    tune.source = EncoderSource("tiny", tune.folder / "cls")
    tuned = tune(differing_by_a_character())
    assert read_pooling(tuned.source) is Pooling.CLS
    tokens = [
        write_encoder(source, tmp_path / name)
        for source, name in ((tune.source, "a"), (tuned.source, "b"))
    ]
    assert tokens == [64, 64]
    files = [sorted(path.name for path in (tmp_path / name).iterdir()) for name in ("a", "b")]
    assert files == [["config.json", WEIGHTS, TOKENIZER]] * 2
    assert hash_file(tmp_path / "a" / TOKENIZER) == hash_file(tmp_path / "b" / TOKENIZER)
    assert hash_file(tmp_path / "a" / "config.json") == hash_file(tmp_path / "b" / "config.json")


def test_the_same_inputs_give_the_same_tuned_weights(tune: Tuner):
    first, again = (tune(differing_by_a_character(), run) for run in ("first", "again"))
    assert hash_file(first.source.folder / WEIGHTS) == hash_file(again.source.folder / WEIGHTS)
    assert first.after == again.after


def test_the_trial_is_trained_without_the_held_out_phrasings(
    tune: Tuner, monkeypatch: pytest.MonkeyPatch
):
    trained, train = [], trainer.train

    def record(encoder, texts, *more, **named):
        trained.append(set(texts))
        train(encoder, texts, *more, **named)

    monkeypatch.setattr(trainer, "train", record)
    known = differing_by_a_character()
    tuned = tune(known)
    phrasings = [text for entry in known for text in entry.questions]
    held_out = {phrasings[i] for i in np.flatnonzero(tuned.held_out)}
    assert trained == [set(phrasings) - held_out, set(phrasings)]


def test_progress_rises_to_its_end(tune: Tuner):
    tune(differing_by_a_character())
    done, totals = zip(*tune.progress, strict=True)
    assert list(done) == sorted(done)
    assert set(totals) == {done[-2]}  # the last step, before the end is reported
    assert len(done) > 2 * RECIPE.least_steps


def test_tuning_prints_nothing_downloads_nothing_and_leaves_no_files(
    tune: Tuner, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
):
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: pytest.fail("used the network"))
    tune(differing_by_a_character())
    assert capfd.readouterr() == ("", "")
    assert list((tmp_path / "here").iterdir()) == []


@pytest.mark.parametrize(
    ("entries", "problem"),
    [
        ([Entry("a", "A", ["w", "x", "y", "z"])], "there is one entry, and at least 2 are needed"),
        (
            [Entry("a", "A", ["w", "x", "y", "z"]), Entry("b", "B", ["v", "u"])],
            "6 phrasings of 2 entries, and at least 4 of each are needed on average",
        ),
    ],
)
def test_too_little_to_learn_from_is_refused(tune: Tuner, entries: list[Entry], problem: str):
    with pytest.raises(TuningRefused, match=problem):
        tune(entries)
    assert not (tune.folder / "run").exists()


def test_a_missing_trainer_is_reported(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda _: None)
    with pytest.raises(ExtraMissing, match=r"sentence-transformers: pip install 'answermill\[life"):
        check_can_tune(differing_by_a_character())
