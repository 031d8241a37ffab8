from __future__ import annotations

import dataclasses
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from transformers import AutoModel, AutoTokenizer

from core.errors import EncoderInvalid, SettingsInvalid
from core.settings.value_parsers import Device
from worker.model.encoder.base import Pooling
from worker.model.encoder.torch_encoder import TorchEncoder

TEXTS = ["refund", "where is my order 12345?", "您是机器人吗", "a" * 30, "?"]


@pytest.fixture
def encoder(tiny_encoder: Path) -> TorchEncoder:
    return TorchEncoder.load(tiny_encoder, max_tokens=20, pooling=Pooling.MEAN)


def test_embeddings_have_length_one(encoder: TorchEncoder):
    embeddings = encoder.encode(encoder.tokenize(TEXTS))
    assert embeddings.shape == (5, encoder.dimensions) == (5, 32)
    assert embeddings.dtype == np.float32
    np.testing.assert_allclose(np.linalg.norm(embeddings, axis=1), 1, rtol=1e-5)


def test_an_embedding_does_not_depend_on_the_pass_it_was_in(encoder: TorchEncoder):
    tokens = encoder.tokenize(TEXTS)
    together = encoder.encode(tokens)
    alone = np.concatenate([encoder.encode([ids]) for ids in tokens])
    reversed_ = encoder.encode(tokens[::-1])[::-1]
    np.testing.assert_allclose(alone, together, atol=2e-6)
    np.testing.assert_allclose(reversed_, together, atol=2e-6)


def test_long_texts_are_cut_and_short_ones_not_padded(encoder: TorchEncoder):
    lengths = [len(ids) for ids in encoder.tokenize([*TEXTS, "a b " * 1_000])]
    assert max(lengths) == 20
    assert lengths[4] == 3  # [CLS] ? [SEP]


@pytest.mark.parametrize("pooling", Pooling)
def test_embeddings_are_those_that_transformers_computes(tiny_encoder: Path, pooling: Pooling):
    encoder = TorchEncoder.load(tiny_encoder, max_tokens=64, pooling=pooling)
    tokenizer, model = (
        AutoTokenizer.from_pretrained(tiny_encoder),
        AutoModel.from_pretrained(tiny_encoder),
    )
    for text in TEXTS:
        inputs = tokenizer(text, return_tensors="pt")
        with torch.inference_mode():
            states = model(**inputs).last_hidden_state[0]
        expected = states.mean(dim=0) if pooling is Pooling.MEAN else states[0]
        expected = torch.nn.functional.normalize(expected, dim=0).numpy()
        np.testing.assert_allclose(encoder.encode(encoder.tokenize([text]))[0], expected, atol=2e-6)


def test_loading_sets_the_threads_it_is_given(tiny_encoder: Path):
    before = torch.get_num_threads()
    try:
        TorchEncoder.load(tiny_encoder, 1, max_tokens=8, pooling=Pooling.MEAN)
        assert torch.get_num_threads() == 1
    finally:
        torch.set_num_threads(before)


def test_weights_that_are_not_safetensors_are_refused(tiny_encoder: Path, tmp_path: Path):
    folder = shutil.copytree(tiny_encoder, tmp_path / "encoder")
    (folder / "model.safetensors").unlink()
    torch.save({}, folder / "pytorch_model.bin")
    with pytest.raises(EncoderInvalid, match="safetensors"):
        TorchEncoder.load(folder, max_tokens=8, pooling=Pooling.MEAN)


def test_a_broken_config_is_reported_in_one_line(tiny_encoder: Path, tmp_path: Path):
    folder = shutil.copytree(tiny_encoder, tmp_path / "encoder")
    (folder / "config.json").write_text('{"model_type": "nonsense"}', encoding="utf-8")
    with pytest.raises(EncoderInvalid) as caught:
        TorchEncoder.load(folder, max_tokens=8, pooling=Pooling.MEAN)
    assert "\n" not in str(caught.value)


def test_code_that_an_encoder_brings_is_not_run(tiny_encoder: Path, tmp_path: Path):
    folder = shutil.copytree(tiny_encoder, tmp_path / "encoder")
    (folder / "config.json").write_text(
        '{"model_type": "mine", "auto_map": {"AutoConfig": "m.C", "AutoModel": "m.M"}}',
        encoding="utf-8",
    )
    (folder / "m.py").write_text("raise SystemExit('ran')", encoding="utf-8")
    with pytest.raises(EncoderInvalid):
        TorchEncoder.load(folder, max_tokens=8, pooling=Pooling.MEAN)


def test_without_a_cuda_device_auto_is_the_cpu(tiny_encoder: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    encoder = TorchEncoder.load(
        tiny_encoder, max_tokens=8, pooling=Pooling.MEAN, device=Device.AUTO
    )
    assert encoder.device is Device.CPU
    assert (
        encoder.budgets
        == TorchEncoder.load(tiny_encoder, max_tokens=8, pooling=Pooling.MEAN).budgets
    )


def test_a_missing_cuda_device_is_reported(tiny_encoder: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(SettingsInvalid, match="ANSWERMILL_DEVICE: cuda, but torch finds no"):
        TorchEncoder.load(tiny_encoder, max_tokens=8, pooling=Pooling.MEAN, device=Device.CUDA)


def test_a_pass_is_moved_to_the_cuda_device_and_back(
    encoder: TorchEncoder, monkeypatch: pytest.MonkeyPatch
):
    moved, to, cpu = [], torch.Tensor.to, torch.Tensor.cpu

    def record(tensor: torch.Tensor, *target: object, **options: object) -> torch.Tensor:
        if target != ("cuda",):
            return to(tensor, *target, **options)
        moved.append("there")
        return tensor  # without a CUDA device it stays

    monkeypatch.setattr(torch.Tensor, "to", record)
    monkeypatch.setattr(torch.Tensor, "cpu", lambda tensor: moved.append("back") or cpu(tensor))
    on_cuda = dataclasses.replace(encoder, device=Device.CUDA)
    on_cuda.encode(on_cuda.tokenize(TEXTS))
    assert moved == ["there", "there", "back"]  # tokens, their mask, embeddings
