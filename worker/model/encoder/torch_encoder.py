"""The encoder on PyTorch: fp32 or bf16, on the CPU or on a CUDA device.

Only this module and `worker.model.encoder.packed_attention` import torch on the hot path. Rows of a pass do not
see each other; their last bits may still differ with the shape of a pass, as sums are then taken
in other orders. In bf16, which has few bits, that would show: on the CPU each question is computed
by itself, on a card passes are packed, all to one shape.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from tokenizers import Tokenizer
from transformers import AutoModel
from transformers.utils import logging as transformers_logging

from core.errors import EncoderInvalid, SettingsInvalid
from core.settings.value_parsers import Device
from worker.inference.protocol import PassBudget
from worker.model.encoder.base import Pooling, Precision, first_line
from worker.model.encoder.packed_attention import TOKENS, PackedEncoder
from worker.model.encoder.tokenizer import load_tokenizer, padded, tokenize

WEIGHTS = "model.safetensors"

_KINDS = {Precision.FP32: torch.float32, Precision.BF16: torch.bfloat16}

# Questions of a pass, the one to take unmeasured first. More of them pad more.
_SIZES = {
    (Device.CPU, Precision.FP32): (32, 1, 8),
    (Device.CPU, Precision.BF16): (32,),
    (Device.CUDA, Precision.FP32): (256, 64, 1_024),
    (Device.CUDA, Precision.BF16): (TOKENS,),  # as many as fit
}
# Padded, of a pass; more: more memory.
_TOKENS = {
    (Device.CPU, Precision.FP32): 2_048,
    (Device.CPU, Precision.BF16): 2_048,
    (Device.CUDA, Precision.FP32): 65_536,
    (Device.CUDA, Precision.BF16): TOKENS,
}


@dataclass(frozen=True)
class TorchEncoder:
    """A loaded encoder."""

    model: Any  # transformers is untyped
    tokenizer: Tokenizer
    pooling: Pooling
    pad: int
    budgets: tuple[PassBudget, ...]
    alone: bool  # questions are computed one by one
    device: Device  # never AUTO
    packing: PackedEncoder | None = None  # of passes in bf16 on a card

    @classmethod
    def load(
        cls,
        folder: Path,
        threads: int = 0,
        *,
        max_tokens: int,
        pooling: Pooling,
        precision: Precision = Precision.FP32,
        device: Device = Device.CPU,
    ) -> TorchEncoder:
        """Load config.json, model.safetensors and tokenizer.json from a folder.

        Args:
            folder: where they are; nothing is fetched and no code of it is run.
            threads: of torch, for the whole process; 0 leaves them as they are.
            max_tokens: a longer text is cut.
            pooling: how the encoder was trained.
            precision: what to compute in.
            device: where to compute.

        Raises:
            EncoderInvalid: the files are no encoder of an architecture that we know.
            SettingsInvalid: torch sees no CUDA device, and that is what is wanted.
        """
        device = _found(device)
        if threads:
            torch.set_num_threads(threads)
        model = load_weights(folder, str(folder), precision).to(str(device))
        tokenizer = load_tokenizer(folder, max_tokens)
        pad = model.config.pad_token_id or 0
        kind = device, precision
        budgets = tuple(PassBudget(_TOKENS[kind], size) for size in _SIZES[kind])
        packing = None
        if kind == (Device.CUDA, Precision.BF16):
            packing = PackedEncoder.of(model, pooling, max_tokens)
        alone = precision is Precision.BF16
        return cls(model, tokenizer, pooling, pad, budgets, alone, device, packing)

    @property
    def dimensions(self) -> int:
        """The length of an embedding."""
        return int(self.model.config.hidden_size)

    def tokenize(self, texts: Sequence[str]) -> list[list[int]]:
        """Return the tokens of each text, special ones included."""
        return tokenize(self.tokenizer, texts)

    def encode(self, tokens: Sequence[Sequence[int]]) -> NDArray[np.float32]:
        """Run one pass: (questions, dimensions), rows of length 1."""
        if self.packing:
            packed: NDArray[np.float32] = self.packing.encode(tokens).cpu().numpy()
            return packed
        parts = [[ids] for ids in tokens] if self.alone else [tokens]
        return np.concatenate([self._encode_part(part) for part in parts])

    def _encode_part(self, tokens: Sequence[Sequence[int]]) -> NDArray[np.float32]:
        arrays = padded(tokens, self.pad)
        ids, mask = (torch.from_numpy(array).long().to(str(self.device)) for array in arrays)
        with torch.inference_mode():
            states = self.model(input_ids=ids, attention_mask=mask).last_hidden_state
            pooled = _pool(states.float(), mask, self.pooling)
            unit = torch.nn.functional.normalize(pooled, dim=1)
            array: NDArray[np.float32] = unit.cpu().numpy()
        return array


def _found(wanted: Device) -> Device:
    there = torch.cuda.is_available()
    if wanted is Device.CUDA and not there:
        raise SettingsInvalid(["ANSWERMILL_DEVICE: it is cuda, and torch sees no such device"])
    return Device.CUDA if there and wanted is not Device.CPU else Device.CPU


def _pool(states: torch.Tensor, mask: torch.Tensor, pooling: Pooling) -> torch.Tensor:
    if pooling is Pooling.CLS:
        return states[:, 0]
    kept = mask[:, :, None].to(states.dtype)
    return (states * kept).sum(dim=1) / kept.sum(dim=1)


def load_weights(folder: Path, name: str, precision: Precision = Precision.FP32) -> Any:  # noqa: ANN401 - transformers is untyped
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
            dtype=_KINDS[precision],
        )
    except Exception as error:  # transformers, safetensors and the hub each raise their own
        raise EncoderInvalid(name, first_line(error)) from error
    model.pooler = None  # a head over the first token that nobody reads
    return model.eval()
