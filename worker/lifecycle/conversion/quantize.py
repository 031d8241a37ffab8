"""Encoders in fewer bits than fp32: int8 on ONNX Runtime, bf16 on PyTorch.

In int8, weights are quantized in advance and activations at run time. Each column of a weight
has a scale of its own, without which too much accuracy is lost. All eight bits are used: on a
processor without VNNI, sums of two products may then saturate, but seven bits would cost more
accuracy. The same encoder is quantized to the same bytes.
"""

from __future__ import annotations

import shutil
from pathlib import Path

from core.errors import EncoderInvalid
from worker.lifecycle.conversion.silence import silenced
from worker.model.encoder.base import Precision, first_line
from worker.model.encoder.onnx_encoder import GRAPH
from worker.model.encoder.tokenizer import TOKENIZER

# Gather and EmbedLayerNormalization hold the token embeddings, most of a small encoder.
_QUANTIZED = ["Attention", "EmbedLayerNormalization", "Gather", "MatMul"]


def quantize(encoder: Path, folder: Path, name: str) -> None:
    """Write config.json, model.onnx in int8 and tokenizer.json.

    Args:
        encoder: the folder with the same files in fp32.
        folder: the new folder to write to.
        name: the name of the encoder in errors.

    Raises:
        EncoderInvalid: its graph cannot be quantized.
    """
    from onnx import TensorProto
    from onnxruntime.quantization import QuantType, quantize_dynamic

    folder.mkdir()
    with silenced():
        try:
            quantize_dynamic(
                encoder / GRAPH,
                folder / GRAPH,
                op_types_to_quantize=_QUANTIZED,
                per_channel=True,
                weight_type=QuantType.QInt8,
                # Shape inference does not know the fused operations, as they are not ONNX's.
                extra_options={"DefaultTensorType": TensorProto.FLOAT},
            )
        except Exception as error:  # onnx and onnxruntime have dozens of classes of errors
            problem = f"it cannot be quantized: {first_line(error)}"
            raise EncoderInvalid(name, problem) from error
    for file in ("config.json", TOKENIZER):
        shutil.copyfile(encoder / file, folder / file)


def shorten(encoder: Path, folder: Path, name: str) -> None:
    """Write config.json, model.safetensors in bf16 and tokenizer.json.

    The arguments are those of `quantize`.

    Raises:
        EncoderInvalid: it cannot be loaded.
    """
    from worker.lifecycle.training.encoder_source import write_weights
    from worker.model.encoder.torch_encoder import load_weights

    write_weights(load_weights(encoder, name, Precision.BF16), folder)
    shutil.copyfile(encoder / TOKENIZER, folder / TOKENIZER)
