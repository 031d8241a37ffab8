"""A tiny encoder with random weights, and bundles built with it."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors
from transformers import BertConfig, BertModel, PreTrainedTokenizerFast

from worker.lifecycle.build.build_bundle import build
from worker.lifecycle.conversion.convert import convert_version
from worker.lifecycle.training.encoder_source import EncoderSource
from worker.model.bundle.bundle import Bundle, Entry
from worker.model.encoder.base import KINDS, EncoderKind

_SPECIAL = {"pad_token": "[PAD]", "unk_token": "[UNK]", "cls_token": "[CLS]", "sep_token": "[SEP]"}

ENTRIES = [
    Entry("refund", "Within 14 days.", ["Where is my refund?", "I want my money back", "refund"]),
    Entry(
        "track",
        "See My orders.",
        ["Where is my parcel?", "Track my order", "parcel late"],
        url="https://shop.example/orders",
    ),
    Entry("robot-zh", "是的。", ["您是机器人吗", "你是真人吗？", "机器人？"], language="zh"),
    Entry("thanks", "You are welcome!", ["Thank you", "👍"], tags=["small-talk"]),
]


@pytest.fixture(scope="session")
def tiny_encoder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of transformers: BERT with two layers, which reads characters."""
    folder = tmp_path_factory.mktemp("tiny-encoder")
    characters = [*"abcdefghijklmnopqrstuvwxyz0123456789?!.,'@#", *"您是机器人吗你真订单退款"]
    words = [*_SPECIAL.values(), *characters, *(f"##{char}" for char in characters)]
    _tokenizer(words).save_pretrained(folder)
    torch.manual_seed(7)
    config = BertConfig(
        vocab_size=len(words),
        hidden_size=32,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=64,
        max_position_embeddings=64,
    )
    BertModel(config).eval().save_pretrained(folder)
    return folder


def _tokenizer(words: list[str]) -> PreTrainedTokenizerFast:
    vocabulary = {word: number for number, word in enumerate(words)}
    core = Tokenizer(models.WordPiece(vocabulary, unk_token="[UNK]"))
    core.normalizer = normalizers.BertNormalizer(lowercase=True)
    core.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    ends = [(name, vocabulary[name]) for name in ("[CLS]", "[SEP]")]
    core.post_processor = processors.TemplateProcessing("[CLS] $A [SEP]", special_tokens=ends)
    return PreTrainedTokenizerFast(tokenizer_object=core, model_max_length=64, **_SPECIAL)


@pytest.fixture(scope="session")
def tiny_bundle(tiny_encoder: Path, tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    """A bundle that no test may change. To damage it, copy its folder."""
    source = EncoderSource("tiny", tiny_encoder)
    store = tmp_path_factory.mktemp("store")
    return build(store, "tiny", ENTRIES, source, threads=1, on_progress=lambda *_: None)


@pytest.fixture(scope="session")
def tiny_bundles(
    tiny_bundle: Bundle, tmp_path_factory: pytest.TempPathFactory
) -> dict[EncoderKind, Bundle]:
    """The tiny bundle by the kind of its encoder. No test may change one."""
    store = tmp_path_factory.mktemp("converted")
    return {KINDS[0]: tiny_bundle} | {
        kind: convert_version(
            store, tiny_bundle, kind, version="tiny@1", threads=1, on_progress=lambda *_: None
        )
        for kind in KINDS[1:]
    }
