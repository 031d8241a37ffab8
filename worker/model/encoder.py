"""The encoder: tokens in, embeddings of length 1 out, on PyTorch.

Only this module of the hot path imports torch. The tokenizer is the Rust one, without the
wrapping that transformers puts around it. Rows of a pass do not see each other; their
last bits may still differ with the shape of a pass, as sums are then taken in other orders.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from tokenizers import Tokenizer
from transformers import AutoModel
from transformers.utils import logging as transformers_logging

from db.errors import EncoderInvalid
from worker.passes import PassBudget

WEIGHTS = "model.safetensors"
TOKENIZER = "tokenizer.json"

# Measured on two cores (docs/log.md): larger passes gain nothing, and pad more.
CPU_BUDGET = PassBudget(tokens=2_048, questions=32)


class Pooling(StrEnum):
    """How the embeddings of a question's tokens become its one embedding."""

    MEAN = "mean"
    CLS = "cls"  # the first token's


@dataclass(frozen=True)
class TorchEncoder:
    """A loaded encoder."""

    model: Any  # transformers is untyped
    tokenizer: Tokenizer
    pooling: Pooling
    pad: int

    @classmethod
    def load(
        cls, folder: Path, threads: int = 0, *, max_tokens: int, pooling: Pooling
    ) -> TorchEncoder:
        """Load config.json, model.safetensors and tokenizer.json from a folder.

        Args:
            folder: where they are; nothing is fetched and no code of it is run.
            threads: of torch, for the whole process; 0 leaves them as they are.
            max_tokens: a longer text is cut.
            pooling: how the encoder was trained.

        Raises:
            EncoderInvalid: the files are no encoder of an architecture that we know.
        """
        if threads:
            torch.set_num_threads(threads)
        os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
        model = load_weights(folder, str(folder))
        tokenizer = Tokenizer.from_file(str(folder / TOKENIZER))
        tokenizer.no_padding()
        tokenizer.enable_truncation(max_tokens)
        return cls(model, tokenizer, pooling, model.config.pad_token_id or 0)

    @property
    def dimensions(self) -> int:
        """The length of an embedding."""
        return int(self.model.config.hidden_size)

    def tokenize(self, texts: Sequence[str]) -> list[list[int]]:
        """Return the tokens of each text, special ones included."""
        return [encoding.ids for encoding in self.tokenizer.encode_batch_fast(list(texts))]

    def encode(self, tokens: Sequence[Sequence[int]]) -> NDArray[np.float32]:
        """Run one pass: (questions, dimensions), rows of length 1."""
        ids, mask = self._padded(tokens)
        with torch.inference_mode():
            states = self.model(input_ids=ids, attention_mask=mask).last_hidden_state
            pooled = _pool(states, mask, self.pooling)
            array: NDArray[np.float32] = torch.nn.functional.normalize(pooled, dim=1).numpy()
        return array

    def _padded(self, tokens: Sequence[Sequence[int]]) -> tuple[torch.Tensor, torch.Tensor]:
        lengths = torch.tensor([len(ids) for ids in tokens])
        longest = int(lengths.max())
        rows = [[*ids, *[self.pad] * (longest - len(ids))] for ids in tokens]
        return torch.tensor(rows), (torch.arange(longest) < lengths[:, None]).long()


def _pool(states: torch.Tensor, mask: torch.Tensor, pooling: Pooling) -> torch.Tensor:
    if pooling is Pooling.CLS:
        return states[:, 0]
    kept = mask[:, :, None].to(states.dtype)
    return (states * kept).sum(dim=1) / kept.sum(dim=1)


def load_weights(folder: Path, name: str) -> Any:  # noqa: ANN401 - transformers is untyped
    """Load the transformer from a folder; safetensors only, and none of its code.

    Raises:
        EncoderInvalid: there is none, or not one that we can run.
    """
    transformers_logging.disable_progress_bar()  # type: ignore[no-untyped-call]
    transformers_logging.set_verbosity_error()  # type: ignore[no-untyped-call]
    try:
        model = AutoModel.from_pretrained(
            str(folder),
            local_files_only=True,
            use_safetensors=True,
            trust_remote_code=False,
            attn_implementation="sdpa",
            dtype=torch.float32,
        )
    except Exception as error:  # transformers, safetensors and the hub each raise their own
        raise EncoderInvalid(name, first_line(error)) from error
    model.pooler = None  # a head over the first token that nobody reads
    return model.eval()


def first_line(error: Exception) -> str:
    """Return what a library's long complaint begins with."""
    lines = str(error).strip().splitlines()
    return lines[0] if lines else type(error).__name__
