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


def test_weights_and_words_are_kept_in_eight_bits(tiny_bundles: dict[EncoderKind, Bundle]):
    graph = onnx.load(tiny_bundles[INT8].encoder / "model.onnx").graph
    large = [tensor for tensor in graph.initializer if len(tensor.dims) > 1]
    assert {tensor.data_type for tensor in large} <= {
        onnx.TensorProto.INT8,
        onnx.TensorProto.UINT8,
    }
    scales = [tensor for tensor in graph.initializer if tensor.name.endswith("_scale")]
    assert max(tensor.dims[0] for tensor in scales if tensor.dims) == 96  # one for each column


def test_the_same_encoder_quantises_to_the_same_bytes(
    tiny_bundles: dict[EncoderKind, Bundle], tmp_path: Path
):
    quantize(tiny_bundles[FP32].encoder, tmp_path / "made", "tiny")
    for name in ("config.json", "model.onnx", "tokenizer.json"):
        made, before = (folder / name for folder in (tmp_path / "made", tiny_bundles[INT8].encoder))
        assert made.read_bytes() == before.read_bytes()


def test_a_graph_that_cannot_be_quantised_is_told_in_one_line(tmp_path: Path):
    (tmp_path / "encoder").mkdir()
    (tmp_path / "encoder" / "model.onnx").write_bytes(b"nonsense")
    with pytest.raises(EncoderInvalid, match="it can't be quantised: ") as caught:
        quantize(tmp_path / "encoder", tmp_path / "made", "tiny")
    assert "\n" not in str(caught.value)


def test_bf16_halves_the_weights(tiny_encoder: Path, tmp_path: Path):
    (tmp_path / "made").mkdir()
    shorten(tiny_encoder, tmp_path / "made", "tiny")
    with safe_open(tmp_path / "made" / "model.safetensors", "pt") as file:
        assert {file.get_slice(name).get_dtype() for name in file.keys()} == {"BF16"}  # noqa: SIM118 - no mapping
