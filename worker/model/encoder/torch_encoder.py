"""The encoder on PyTorch: fp32 or bf16, on the CPU or on a CUDA device.

Of the modules of a running worker, only this one and `worker.model.encoder.packed_attention`
import torch. Rows of a pass do not influence each other, but the last bits of a sum vary with
the shape of the pass. In bf16, which has few bits, that would show in answers: on the CPU each
question is computed alone, and on a CUDA device packed passes all have one shape.
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

_DTYPES = {Precision.FP32: torch.float32, Precision.BF16: torch.bfloat16}

# Questions of a pass, the default first. Higher: more padding.
_SIZES = {
    (Device.CPU, Precision.FP32): (32, 1, 8),
    (Device.CPU, Precision.BF16): (32,),
    (Device.CUDA, Precision.FP32): (256, 64, 1_024),
    (Device.CUDA, Precision.BF16): (TOKENS,),  # only the tokens limit a packed pass
}
# Padded tokens of a pass. Higher: more memory.
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
    one_by_one: bool  # questions are computed one by one
    device: Device  # never AUTO
    packed: PackedEncoder | None = None  # for bf16 on a CUDA device

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
            folder: the folder; nothing is downloaded and no code of it is run.
            threads: threads of torch in the whole process; 0 leaves their number unchanged.
            max_tokens: a longer text is truncated.
            pooling: the pooling that the encoder was trained with.
            precision: the precision to compute in.
            device: the device to compute on.

        Raises:
            EncoderInvalid: the files are not an encoder of a known architecture.
            SettingsInvalid: the device is CUDA, and torch finds none.
        """
        device = _resolve(device)
        if threads:
            torch.set_num_threads(threads)
        model = load_weights(folder, str(folder), precision).to(str(device))
        tokenizer = load_tokenizer(folder, max_tokens)
        pad = model.config.pad_token_id or 0
        kind = device, precision
        budgets = tuple(PassBudget(_TOKENS[kind], size) for size in _SIZES[kind])
        packed = None
        if kind == (Device.CUDA, Precision.BF16):
            packed = PackedEncoder.of(model, pooling, max_tokens)
        one_by_one = precision is Precision.BF16
        return cls(model, tokenizer, pooling, pad, budgets, one_by_one, device, packed)

    @property
    def dimensions(self) -> int:
        """The length of an embedding."""
        return int(self.model.config.hidden_size)

    def tokenize(self, texts: Sequence[str]) -> list[list[int]]:
        """Return the tokens of each text, special ones included."""
        return tokenize(self.tokenizer, texts)

    def encode(self, tokens: Sequence[Sequence[int]]) -> NDArray[np.float32]:
        """Run one pass: (questions, dimensions), rows of length 1."""
        if self.packed:
            embeddings: NDArray[np.float32] = self.packed.encode(tokens).cpu().numpy()
            return embeddings
        parts = [[ids] for ids in tokens] if self.one_by_one else [tokens]
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


def _resolve(device: Device) -> Device:
    has_cuda = torch.cuda.is_available()
    if device is Device.CUDA and not has_cuda:
        problem = "cuda, but torch finds no CUDA device; choose auto or cpu"
        raise SettingsInvalid([f"ANSWERMILL_DEVICE: {problem}"])
    return Device.CUDA if has_cuda and device is not Device.CPU else Device.CPU


def _pool(states: torch.Tensor, mask: torch.Tensor, pooling: Pooling) -> torch.Tensor:
    if pooling is Pooling.CLS:
        return states[:, 0]
    weights = mask[:, :, None].to(states.dtype)
    return (states * weights).sum(dim=1) / weights.sum(dim=1)


def load_weights(folder: Path, name: str, precision: Precision = Precision.FP32) -> Any:  # noqa: ANN401 - transformers is untyped
    """Load the transformer from a folder: only safetensors, and no code.

    Raises:
        EncoderInvalid: the folder has no transformer, or not a supported one.
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
            dtype=_DTYPES[precision],
        )
    except Exception as error:  # transformers, safetensors and the hub have errors of their own
        raise EncoderInvalid(name, first_line(error)) from error
    model.pooler = None  # an unused layer over the first token
    return model.eval()
