from __future__ import annotations

import json
import socket
from pathlib import Path

import numpy as np
import pytest
from transformers import AutoModel

from core.errors import DistillationRefused, EncoderInvalid, ExtraMissing
from worker.lifecycle.training import trainer, training_setup
from worker.lifecycle.training.distill import DistillResult, check_can_distill, distill_encoder
from worker.lifecycle.training.encoder_accuracy import Accuracy
from worker.lifecycle.training.encoder_source import EncoderSource, few_layers, write_encoder
from worker.lifecycle.training.trainer import Recipe
from worker.model.bundle.bundle import Entry, hash_file
from worker.model.encoder.base import Pooling
from worker.model.encoder.torch_encoder import WEIGHTS, TorchEncoder

RECIPE = Recipe(rate=2e-3, least_steps=150)


def entries(phrasings: int = 60) -> list[Entry]:
    random = np.random.default_rng(7)

    def phrasing(letters: str) -> str:
        return "".join(random.choice(list(letters), 14))

    alphabets = {"one": "abcdef ", "two": "fghijk ", "many": "klmnop "}
    return [
        Entry(name, f"About {name}.", [phrasing(letters) for _ in range(phrasings)])
        for name, letters in alphabets.items()
    ]


class Distiller:
    """Distills the tiny encoder of two layers with default arguments."""

    def __init__(self, encoder: Path, folder: Path) -> None:
        self.source = EncoderSource("tiny", encoder)
        self.folder = folder
        self.progress: list[tuple[int, int]] = []

    def __call__(
        self, known: list[Entry], run: str = "run", layers: int = 1, recipe: Recipe = RECIPE
    ) -> DistillResult:
        return distill_encoder(
            self.source,
            known,
            layers,
            self.folder / run,
            threads=1,
            on_progress=lambda done, total: self.progress.append((done, total)),
            recipe=recipe,
        )


@pytest.fixture
def distiller(tiny_encoder: Path, tmp_path: Path) -> Distiller:
    return Distiller(tiny_encoder, tmp_path)


def load(folder: Path, source: EncoderSource) -> TorchEncoder:
    tokens = write_encoder(source, folder)
    return TorchEncoder.load(folder, 1, max_tokens=tokens, pooling=Pooling.MEAN)


def cosine(encoder: TorchEncoder, other: TorchEncoder, texts: list[str]) -> float:
    first, second = (each.encode(each.tokenize(texts)) for each in (encoder, other))
    return float((first * second).sum(axis=1).mean())


def test_fewer_layers_learn_to_embed_as_all_of_them(distiller: Distiller, tmp_path: Path):
    distilled = distiller(entries())
    assert distilled.kept
    assert distilled.source.id == "tiny, 1 of 2 layers"
    original = load(tmp_path / "original", distiller.source)
    taught = load(tmp_path / "taught", distilled.source)
    assert taught.model.config.num_hidden_layers == 1
    cut, _ = few_layers(original.model, 1, "tiny")
    untaught = TorchEncoder(**(vars(original) | {"model": cut}))
    new = ["abcabc def", "fghijk jjk", "ponm lkl"]
    distance = 1 - cosine(untaught, original, new)
    assert 1 - cosine(taught, original, new) < distance / 10
    assert 1 - distilled.cosine < distance / 10
    assert distilled.figures() == {
        "layers": 1,
        "of": 2,
        "kept": True,
        "held_out": 36,
        "cosine": round(distilled.cosine, 4),
        "before": vars(distilled.before),
        "after": vars(distilled.after),
    }


def test_if_too_much_accuracy_is_lost_the_original_is_kept(
    distiller: Distiller, monkeypatch: pytest.MonkeyPatch
):
    accuracies = iter([Accuracy(0.9, 0.9), Accuracy(0.87, 0.88)])
    monkeypatch.setattr(training_setup, "measure_accuracy", lambda *_: next(accuracies))
    distilled = distiller(entries())
    assert (distilled.kept, distilled.source) == (False, distiller.source)
    assert not (distiller.folder / "run" / "distilled").exists()
    assert distiller.progress[-1][0] == distiller.progress[-1][1]


def test_accuracy_is_measured_on_phrasings_that_were_not_trained_on(
    distiller: Distiller, monkeypatch: pytest.MonkeyPatch
):
    trained, measured = [], []
    imitate, measure = trainer.imitate, training_setup.measure_accuracy

    def record_imitate(encoder, texts, *more, **named):
        trained.extend(texts)
        imitate(encoder, texts, *more, **named)

    def record_measure(embeddings, entry_of, held_out):
        measured.append(int(held_out.sum()))
        return measure(embeddings, entry_of, held_out)

    monkeypatch.setattr(trainer, "imitate", record_imitate)
    monkeypatch.setattr(training_setup, "measure_accuracy", record_measure)
    distilled = distiller(entries())
    assert len(trained) == len(set(trained)) == 180 - distilled.held_out
    assert measured == [distilled.held_out] * 2


def test_the_same_inputs_give_the_same_distilled_weights(distiller: Distiller):
    first, again = (distiller(entries(), run) for run in ("first", "again"))
    assert hash_file(first.source.folder / WEIGHTS) == hash_file(again.source.folder / WEIGHTS)


def test_progress_rises_to_its_end(distiller: Distiller):
    distiller(entries())
    done, totals = zip(*distiller.progress, strict=True)
    assert list(done) == sorted(done)
    assert set(totals) == {done[-1]}


def test_it_prints_nothing_and_downloads_nothing(
    distiller: Distiller,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
):
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: pytest.fail("used the network"))
    distiller(entries())
    assert capfd.readouterr() == ("", "")
    assert list((tmp_path / "here").iterdir()) == []


def test_layers_are_taken_evenly_from_the_first_to_the_last(tiny_encoder: Path):
    model = AutoModel.from_pretrained(str(tiny_encoder))
    model.encoder.layer.extend([*map(type(model.encoder.layer[0]), [model.config] * 4)])
    model.config.num_hidden_layers = 6
    for number, layer in enumerate(model.encoder.layer):
        layer.number = number

    def kept(layers: int) -> list[int]:
        few, of = few_layers(model, layers, "tiny")
        assert (of, few.config.num_hidden_layers) == (6, layers)
        return [layer.number for layer in few.encoder.layer]

    assert [kept(layers) for layers in (1, 2, 3, 5)] == [[0], [0, 5], [0, 2, 5], [0, 1, 2, 4, 5]]
    assert len(model.encoder.layer) == model.config.num_hidden_layers == 6


@pytest.mark.parametrize("layers", [0, 2, 3])
def test_an_impossible_number_of_layers_is_refused(distiller: Distiller, layers: int):
    problem = f"it has 2 layers, and {layers} were requested"
    with pytest.raises(DistillationRefused, match=problem):
        distiller(entries(), layers=layers)


def test_an_architecture_without_a_list_of_layers_is_refused(tiny_encoder: Path):
    model = AutoModel.from_pretrained(str(tiny_encoder))
    model.config.num_hidden_layers = 5
    with pytest.raises(EncoderInvalid, match=r"architecture \(bert\) has no list of layers to"):
        few_layers(model, 1, "odd")


@pytest.mark.parametrize(
    ("known", "problem"),
    [
        ([Entry("a", "A", [str(n) for n in range(200)])], "there are 200 phrasings of 1 entries"),
        (
            entries(33),
            "99 phrasings of 3 entries, and at least 100 phrasings of 2 entries are needed",
        ),
    ],
)
def test_too_little_to_learn_from_is_refused(
    distiller: Distiller, known: list[Entry], problem: str
):
    with pytest.raises(DistillationRefused, match=problem):
        distiller(known)
    assert not (distiller.folder / "run").exists()


def test_a_missing_trainer_is_reported(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda _: None)
    with pytest.raises(ExtraMissing, match=r"sentence-transformers: pip install 'answermill\[life"):
        check_can_distill(entries())


def test_figures_are_json(distiller: Distiller):
    assert json.loads(json.dumps(distiller(entries()).figures()))["layers"] == 1
