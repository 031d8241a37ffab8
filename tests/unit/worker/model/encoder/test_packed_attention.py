from __future__ import annotations

import inspect
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers import BertConfig, BertModel, GPT2Config, GPT2Model, RobertaConfig, RobertaModel

from core.settings.value_parsers import Device
from worker.model.encoder import packed_attention
from worker.model.encoder.base import Pooling, Precision
from worker.model.encoder.packed_attention import PackedEncoder
from worker.model.encoder.torch_encoder import TorchEncoder

SIZES = {
    "vocab_size": 60,
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "intermediate_size": 64,
    "max_position_embeddings": 80,
}
QUESTIONS = st.lists(st.lists(st.integers(5, 59), min_size=1, max_size=30), min_size=1, max_size=12)


def bert() -> BertModel:
    torch.manual_seed(7)
    return BertModel(BertConfig(**SIZES), add_pooling_layer=False).eval()


def roberta() -> RobertaModel:
    torch.manual_seed(7)
    return RobertaModel(RobertaConfig(**SIZES, pad_token_id=1), add_pooling_layer=False).eval()


def alone(model: BertModel, pooling: Pooling, tokens: list[list[int]]) -> np.ndarray:
    with torch.inference_mode():
        states = [model(input_ids=torch.tensor([ids])).last_hidden_state for ids in tokens]
    pooled = [state[:, 0] if pooling is Pooling.CLS else state.mean(dim=1) for state in states]
    return torch.nn.functional.normalize(torch.cat(pooled), dim=1).numpy()


@pytest.mark.parametrize("pooling", Pooling)
@pytest.mark.parametrize("make", [bert, roberta])
def test_packed_embeddings_are_those_of_each_question_by_itself(make, pooling: Pooling):
    random = np.random.default_rng(7)
    tokens = [random.integers(5, 60, size).tolist() for size in (1, 30, 7, 7, 64, 2, 19)]
    expected = alone(make(), pooling, tokens)
    packed = PackedEncoder.of(make(), pooling, longest=64)
    assert packed is not None
    np.testing.assert_allclose(packed.encode(tokens).numpy(), expected, atol=1e-5)


@settings(max_examples=30, deadline=None)
@given(tokens=QUESTIONS, data=st.data())
def test_no_bit_depends_on_neighbors_number_or_order(tokens: list[list[int]], data):
    packed = PackedEncoder(bert(), Pooling.MEAN, longest=30, tokens=128)
    packed.model.set_attn_implementation(packed_attention.ATTENTION)
    together = packed.encode(tokens).numpy()
    order = data.draw(st.permutations(range(len(tokens))))
    np.testing.assert_array_equal(packed.encode([tokens[i] for i in order]), together[order])
    for i, ids in enumerate(tokens):
        np.testing.assert_array_equal(packed.encode([ids])[0], together[i])


def test_every_pass_has_as_many_tokens(monkeypatch: pytest.MonkeyPatch):
    packed = PackedEncoder.of(bert(), Pooling.MEAN, longest=30)
    small = PackedEncoder(packed.model, Pooling.MEAN, 30, tokens=100)
    seen, states = [], PackedEncoder._states

    def watch(self: PackedEncoder, tokens: list[list[int]]) -> torch.Tensor:
        seen.append(sum(map(len, tokens)))
        return states(self, tokens)

    monkeypatch.setattr(PackedEncoder, "_states", watch)
    assert small.encode([[7] * 30] * 7 + [[9]]).shape == (8, 32)
    assert seen == [100, 100, 100]


def test_an_architecture_that_cannot_be_packed_stays_as_it_was():
    model = GPT2Model(GPT2Config(vocab_size=60, n_positions=80, n_embd=32, n_layer=1, n_head=4))
    before = model.config._attn_implementation
    # GPT-2 is causal: packed attention would show a token the tokens after it.
    assert PackedEncoder.of(model.eval(), Pooling.MEAN, longest=30) is None
    assert model.config._attn_implementation == before


def test_attention_on_a_card_is_called_as_torch_wants_it(monkeypatch: pytest.MonkeyPatch):
    called = []

    def attention(*words: object, **named: object) -> torch.Tensor:
        bound = inspect.signature(packed_attention.varlen_attn.__wrapped__).bind(*words, **named)
        called.append(bound.arguments)
        return words[0]

    attention.__wrapped__ = packed_attention.varlen_attn
    monkeypatch.setattr(packed_attention, "varlen_attn", attention)

    class OnCard(torch.Tensor):
        is_cuda = True

    rows = torch.zeros(1, 4, 10, 8).as_subclass(OnCard)
    ends = torch.tensor([0, 4, 10], dtype=torch.int32)
    attended, _ = packed_attention.attend(
        None, rows, rows, rows, None, ends=ends, longest=30, scaling=0.5
    )
    assert attended.shape == (1, 10, 4, 8)
    (arguments,) = called
    assert arguments["query"].shape == (10, 4, 8)
    assert (arguments["max_q"], arguments["max_k"], arguments["num_splits"]) == (30, 30, 1)
    assert (arguments["scale"], arguments["cu_seq_k"] is ends) == (0.5, True)


def test_no_pass_is_packed_on_the_cpu(tiny_encoder: Path):
    for precision in (Precision.FP32, Precision.BF16):
        encoder = TorchEncoder.load(
            tiny_encoder, max_tokens=20, pooling=Pooling.MEAN, precision=precision
        )
        assert (encoder.device, encoder.packed) == (Device.CPU, None)


def test_bf16_on_a_card_is_packed(tiny_encoder: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("worker.model.encoder.torch_encoder._resolve", lambda _: Device.CUDA)
    monkeypatch.setattr(torch.nn.Module, "to", lambda self, *_: self)
    encoder = TorchEncoder.load(
        tiny_encoder, max_tokens=20, pooling=Pooling.MEAN, precision=Precision.BF16
    )
    assert encoder.packed is not None
    tokens = encoder.tokenize(["refund", "where is my order 12345?"])
    separate = np.concatenate([encoder.encode([ids]) for ids in tokens])
    np.testing.assert_array_equal(encoder.encode(tokens), separate)
    assert {budget.tokens for budget in encoder.budgets} == {packed_attention.TOKENS}
