"""From fp32 to fewer bits: int8 on ONNX Runtime, bf16 on PyTorch.

In int8 weights are quantised beforehand, activations as they come. Each column of a weight
has a scale of its own, without which too much is lost. All eight bits are used: on a
processor without VNNI sums of two products may then saturate, but that costs less than a
bit does. The same encoder quantises to the same bytes.
"""

from __future__ import annotations

import shutil
from pathlib import Path

from core.errors import EncoderInvalid
from worker.lifecycle.conversion.silence import silenced
from worker.model.encoder.base import Precision, first_line
from worker.model.encoder.onnx_encoder import GRAPH
from worker.model.encoder.tokenizer import TOKENIZER

# Gather and EmbedLayerNormalization hold the words' embeddings, most of a small encoder.
_QUANTIZED = ["Attention", "EmbedLayerNormalization", "Gather", "MatMul"]


def quantize(encoder: Path, folder: Path, name: str) -> None:
    """Write config.json, model.onnx and tokenizer.json.

    Args:
        encoder: the folder with the same in fp32.
        folder: where to; it is made.
        name: what errors call the encoder.

    Raises:
        EncoderInvalid: its graph can't be quantised.
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
                # Of what shape inference leaves open, as the fused operations are not ONNX's.
                extra_options={"DefaultTensorType": TensorProto.FLOAT},
            )
        except Exception as error:  # onnx and onnxruntime raise dozens of their own
            problem = f"it can't be quantised: {first_line(error)}"
            raise EncoderInvalid(name, problem) from error
    for beside in ("config.json", TOKENIZER):
        shutil.copyfile(encoder / beside, folder / beside)


def shorten(encoder: Path, folder: Path, name: str) -> None:
    """Write config.json, model.safetensors in bf16 and tokenizer.json; arguments as above.

    Raises:
        EncoderInvalid: it can't be loaded.
    """
    from worker.lifecycle.training.encoder_source import write_weights
    from worker.model.encoder.torch_encoder import load_weights

    write_weights(load_weights(encoder, name, Precision.BF16), folder)
    shutil.copyfile(encoder / TOKENIZER, folder / TOKENIZER)
