from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from core.errors import EncoderInvalid
from worker.model.encoder.tokenizer import load_tokenizer, padded, tokenize


def test_texts_are_tokenized_each_by_itself_and_truncated(tiny_encoder: Path):
    tokenizer = load_tokenizer(tiny_encoder, 6)
    texts = ["a", "abc", "a b c d e f g"]
    assert [len(ids) for ids in tokenize(tokenizer, texts)] == [3, 5, 6]
    assert tokenize(tokenizer, texts[:1]) == tokenize(tokenizer, texts)[:1]


def test_padding_follows_the_tokens_and_is_masked():
    ids, mask = padded([[5, 6, 7], [8]], pad=9)
    assert ids.tolist() == [[5, 6, 7], [8, 9, 9]]
    assert mask.tolist() == [[1, 1, 1], [1, 0, 0]]


@pytest.mark.parametrize("content", [None, "{", "{}"])
def test_an_invalid_tokenizer_is_reported_in_one_line(
    tiny_encoder: Path, tmp_path: Path, content: str | None
):
    folder = shutil.copytree(tiny_encoder, tmp_path / "encoder")
    (folder / "tokenizer.json").unlink()
    if content is not None:
        (folder / "tokenizer.json").write_text(content, encoding="utf-8")
    with pytest.raises(EncoderInvalid, match=r"tokenizer\.json") as caught:
        load_tokenizer(folder, 6)
    assert "\n" not in str(caught.value)
