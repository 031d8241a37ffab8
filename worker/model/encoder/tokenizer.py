"""The tokenizer of both engines, and the padding of a pass.

It is the Rust tokenizer, without the wrapper of transformers.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from tokenizers import Tokenizer

from core.errors import EncoderInvalid
from worker.model.encoder.base import first_line

TOKENIZER = "tokenizer.json"

Ints = NDArray[np.int32]


def load_tokenizer(folder: Path, max_tokens: int) -> Tokenizer:
    """Load a tokenizer that truncates texts to `max_tokens` and pads none.

    Raises:
        EncoderInvalid: it is not a tokenizer.
    """
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    try:
        tokenizer = Tokenizer.from_file(str(folder / TOKENIZER))
    except Exception as error:  # tokenizers has no narrower class of error
        raise EncoderInvalid(str(folder), f"{TOKENIZER}: {first_line(error)}") from error
    tokenizer.no_padding()
    tokenizer.enable_truncation(max_tokens)
    return tokenizer


def tokenize(tokenizer: Tokenizer, texts: Sequence[str]) -> list[list[int]]:
    """Return the tokens of each text, special ones included."""
    return [encoding.ids for encoding in tokenizer.encode_batch_fast(list(texts))]


def padded(tokens: Sequence[Sequence[int]], pad: int) -> tuple[Ints, Ints]:
    """Return padded tokens and their mask of 0 and 1: (questions, longest)."""
    shape = len(tokens), max(map(len, tokens))
    ids, mask = np.full(shape, pad, np.int32), np.zeros(shape, np.int32)
    for row, question in enumerate(tokens):
        ids[row, : len(question)] = question
        mask[row, : len(question)] = 1
    return ids, mask
