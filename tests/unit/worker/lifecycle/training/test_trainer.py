from __future__ import annotations

import copy
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from worker.lifecycle.training.encoder_accuracy import entry_means
from worker.lifecycle.training.encoder_source import EncoderSource, write_encoder
from worker.lifecycle.training.trainer import EncoderModule, Recipe, mix, train
from worker.model.encoder.base import Pooling
from worker.model.encoder.torch_encoder import TorchEncoder

TEXTS = ["refund", "where is my refund?", "my parcel is late, what now?", "a", "parcel"] * 8
ENTRY_OF = np.array([0, 0, 1, 0, 1] * 8)
RECIPE = Recipe(rate=2e-3, least_steps=5, step=16)


@pytest.fixture(params=Pooling)
def encoder(request: pytest.FixtureRequest, tiny_encoder: Path, tmp_path: Path) -> TorchEncoder:
    write_encoder(EncoderSource("tiny", tiny_encoder), tmp_path)
    return TorchEncoder.load(tmp_path, 1, max_tokens=12, pooling=request.param)


def embed(encoder: TorchEncoder) -> np.ndarray:
    return encoder.encode(encoder.tokenize(TEXTS))


def weights(encoder: TorchEncoder) -> dict[str, torch.Tensor]:
    return {name: tensor.clone() for name, tensor in encoder.model.state_dict().items()}


def trained(encoder: TorchEncoder, recipe: Recipe = RECIPE) -> list[int]:
    progress: list[int] = []
    directions = entry_means(embed(encoder), ENTRY_OF)
    train(encoder, TEXTS, ENTRY_OF, directions, on_step=progress.append, recipe=recipe)
    return progress


def test_training_embeds_texts_as_answering_does(encoder: TorchEncoder):
    module = EncoderModule(encoder).train()
    features = module(module.preprocess(TEXTS))
    embeddings = features["sentence_embedding"].detach().numpy()
    assert embeddings == pytest.approx(embed(encoder), abs=1e-5)


def test_training_moves_entries_apart(encoder: TorchEncoder):
    def cosine() -> float:
        means = entry_means(embed(encoder), ENTRY_OF)
        return float(means[0] @ means[1])

    before = cosine()
    trained(encoder, replace(RECIPE, least_steps=40))
    assert cosine() < before / 2


def test_each_step_reports_the_phrasings_read(encoder: TorchEncoder):
    assert trained(encoder) == [16, 32, 48, 64, 80]
    assert RECIPE.readings(len(TEXTS)) == 80


def test_a_larger_knowledge_base_takes_more_steps_up_to_a_limit():
    recipe = Recipe(epochs=1.5, least_steps=5, step=16)
    assert recipe.readings(1_600) == 2_400
    assert recipe.readings(1_000_000) == recipe.most_steps * recipe.step


def test_token_embeddings_do_not_change(encoder: TorchEncoder):
    before = weights(encoder)
    trained(encoder)
    same = {name for name, tensor in weights(encoder).items() if tensor.equal(before[name])}
    assert same == {"embeddings.word_embeddings.weight"}


@pytest.mark.parametrize("share", [0.0, 0.5, 1.0])
def test_a_mixed_encoder_lies_between_two(encoder: TorchEncoder, share: float):
    original = replace(encoder, model=copy.deepcopy(encoder.model))
    trained(encoder)
    mixed = mix(original, encoder, share)
    ends = weights(original), weights(encoder)
    assert not ends[0]["encoder.layer.0.attention.self.query.weight"].equal(
        ends[1]["encoder.layer.0.attention.self.query.weight"]
    )
    for name, tensor in weights(mixed).items():
        expected = (1 - share) * ends[0][name] + share * ends[1][name]
        assert torch.allclose(tensor, expected, atol=1e-6), name
