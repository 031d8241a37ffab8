from __future__ import annotations

from pathlib import Path

import onnx
import pytest
from safetensors import safe_open

from core.errors import EncoderInvalid
from worker.lifecycle.conversion.quantize import quantize, shorten
from worker.model.bundle.bundle import Bundle
from worker.model.encoder.base import KINDS, EncoderKind

_, _, FP32, INT8 = KINDS


def test_weights_and_token_embeddings_have_eight_bits(tiny_bundles: dict[EncoderKind, Bundle]):
    graph = onnx.load(tiny_bundles[INT8].encoder / "model.onnx").graph
    large = [tensor for tensor in graph.initializer if len(tensor.dims) > 1]
    assert {tensor.data_type for tensor in large} <= {
        onnx.TensorProto.INT8,
        onnx.TensorProto.UINT8,
    }
    scales = [tensor for tensor in graph.initializer if tensor.name.endswith("_scale")]
    assert max(tensor.dims[0] for tensor in scales if tensor.dims) == 96  # one for each column


def test_the_same_encoder_is_quantized_to_the_same_bytes(
    tiny_bundles: dict[EncoderKind, Bundle], tmp_path: Path
):
    quantize(tiny_bundles[FP32].encoder, tmp_path / "converted", "tiny")
    for name in ("config.json", "model.onnx", "tokenizer.json"):
        expected = (tiny_bundles[INT8].encoder / name).read_bytes()
        assert (tmp_path / "converted" / name).read_bytes() == expected


def test_a_graph_that_cannot_be_quantized_is_reported_in_one_line(tmp_path: Path):
    (tmp_path / "encoder").mkdir()
    (tmp_path / "encoder" / "model.onnx").write_bytes(b"nonsense")
    with pytest.raises(EncoderInvalid, match="it cannot be quantized: ") as caught:
        quantize(tmp_path / "encoder", tmp_path / "converted", "tiny")
    assert "\n" not in str(caught.value)


def test_bf16_halves_the_weights(tiny_encoder: Path, tmp_path: Path):
    (tmp_path / "converted").mkdir()
    shorten(tiny_encoder, tmp_path / "converted", "tiny")
    with safe_open(tmp_path / "converted" / "model.safetensors", "pt") as file:
        assert {file.get_slice(name).get_dtype() for name in file.keys()} == {"BF16"}  # noqa: SIM118 - no mapping
