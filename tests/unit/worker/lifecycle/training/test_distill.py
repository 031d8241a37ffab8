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
    dice = np.random.default_rng(7)

    def phrasing(letters: str) -> str:
        return "".join(dice.choice(list(letters), 14))

    alphabets = {"one": "abcdef ", "two": "fghijk ", "many": "klmnop "}
    return [
        Entry(name, f"About {name}.", [phrasing(letters) for _ in range(phrasings)])
        for name, letters in alphabets.items()
    ]


class Distiller:
    """Distils the tiny encoder, which has two layers, with everything filled in."""

    def __init__(self, encoder: Path, folder: Path) -> None:
        self.source = EncoderSource("tiny", encoder)
        self.folder = folder
        self.heard: list[tuple[int, int]] = []

    def __call__(
        self, known: list[Entry], run: str = "run", layers: int = 1, recipe: Recipe = RECIPE
    ) -> DistillResult:
        return distill_encoder(
            self.source,
            known,
            layers,
            self.folder / run,
            threads=1,
            on_progress=lambda done, total: self.heard.append((done, total)),
            recipe=recipe,
        )


@pytest.fixture
def distiller(tiny_encoder: Path, tmp_path: Path) -> Distiller:
    return Distiller(tiny_encoder, tmp_path)


def load(folder: Path, source: EncoderSource) -> TorchEncoder:
    tokens = write_encoder(source, folder)
    return TorchEncoder.load(folder, 1, max_tokens=tokens, pooling=Pooling.MEAN)


def cosine(one: TorchEncoder, other: TorchEncoder, texts: list[str]) -> float:
    first, second = (encoder.encode(encoder.tokenize(texts)) for encoder in (one, other))
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
    left = 1 - cosine(untaught, original, new)
    assert 1 - cosine(taught, original, new) < left / 10
    assert 1 - distilled.cosine < left / 10
    assert distilled.figures() == {
        "layers": 1,
        "of": 2,
        "kept": True,
        "held_out": 36,
        "cosine": round(distilled.cosine, 4),
        "before": vars(distilled.before),
        "after": vars(distilled.after),
    }


def test_where_too_much_is_lost_the_original_stays(
    distiller: Distiller, monkeypatch: pytest.MonkeyPatch
):
    told = iter([Accuracy(0.9, 0.9), Accuracy(0.87, 0.88)])
    monkeypatch.setattr(training_setup, "measure_accuracy", lambda *_: next(told))
    distilled = distiller(entries())
    assert (distilled.kept, distilled.source) == (False, distiller.source)
    assert not (distiller.folder / "run" / "distilled").exists()
    assert distiller.heard[-1][0] == distiller.heard[-1][1]


def test_it_is_judged_by_what_it_was_not_taught(
    distiller: Distiller, monkeypatch: pytest.MonkeyPatch
):
    taught, judged, imitate, judge = [], [], trainer.imitate, training_setup.measure_accuracy

    def watch(encoder, texts, *more, **named):
        taught.extend(texts)
        imitate(encoder, texts, *more, **named)

    def watch_judge(embeddings, entry_of, asked):
        judged.append(int(asked.sum()))
        return judge(embeddings, entry_of, asked)

    monkeypatch.setattr(trainer, "imitate", watch)
    monkeypatch.setattr(training_setup, "measure_accuracy", watch_judge)
    distilled = distiller(entries())
    assert len(taught) == len(set(taught)) == 180 - distilled.held_out
    assert judged == [distilled.held_out] * 2


def test_the_same_inputs_distil_the_same_weights(distiller: Distiller):
    first, again = (distiller(entries(), run) for run in ("first", "again"))
    assert hash_file(first.source.folder / WEIGHTS) == hash_file(again.source.folder / WEIGHTS)


def test_progress_rises_to_its_end(distiller: Distiller):
    distiller(entries())
    done, totals = zip(*distiller.heard, strict=True)
    assert list(done) == sorted(done)
    assert set(totals) == {done[-1]}


def test_it_says_nothing_and_fetches_nothing(
    distiller: Distiller,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
):
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: pytest.fail("asked the network"))
    distiller(entries())
    assert capfd.readouterr() == ("", "")
    assert list((tmp_path / "here").iterdir()) == []


def test_layers_are_taken_evenly_from_the_first_to_the_last(tiny_encoder: Path):
    model = AutoModel.from_pretrained(str(tiny_encoder))
    model.encoder.layer.extend([*map(type(model.encoder.layer[0]), [model.config] * 4)])
    model.config.num_hidden_layers = 6
    for place, layer in enumerate(model.encoder.layer):
        layer.place = place

    def kept(layers: int) -> list[int]:
        few, of = few_layers(model, layers, "tiny")
        assert (of, few.config.num_hidden_layers) == (6, layers)
        return [layer.place for layer in few.encoder.layer]

    assert [kept(layers) for layers in (1, 2, 3, 5)] == [[0], [0, 5], [0, 2, 5], [0, 1, 2, 4, 5]]
    assert len(model.encoder.layer) == model.config.num_hidden_layers == 6


@pytest.mark.parametrize("layers", [0, 2, 3])
def test_so_many_layers_as_there_are_is_refused(distiller: Distiller, layers: int):
    problem = f"it has 2 layers, and {layers} of them are wanted"
    with pytest.raises(DistillationRefused, match=problem):
        distiller(entries(), layers=layers)


def test_what_is_no_row_of_layers_is_refused(tiny_encoder: Path):
    model = AutoModel.from_pretrained(str(tiny_encoder))
    model.config.num_hidden_layers = 5
    with pytest.raises(EncoderInvalid, match=r"architecture \(bert\) has no layers that could be"):
        few_layers(model, 1, "odd")


@pytest.mark.parametrize(
    ("known", "problem"),
    [
        ([Entry("a", "A", [str(n) for n in range(200)])], "there are 200 phrasings of 1 entries"),
        (entries(33), "there are 99 phrasings of 3 entries, and it takes 100 phrasings of 2"),
    ],
)
def test_too_little_to_learn_from_is_refused(
    distiller: Distiller, known: list[Entry], problem: str
):
    with pytest.raises(DistillationRefused, match=problem):
        distiller(known)
    assert not (distiller.folder / "run").exists()


def test_a_missing_trainer_is_told(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda _: None)
    with pytest.raises(ExtraMissing, match=r"sentence-transformers: pip install 'answermill\[life"):
        check_can_distill(entries())


def test_figures_are_json(distiller: Distiller):
    assert json.loads(json.dumps(distiller(entries()).figures()))["layers"] == 1
