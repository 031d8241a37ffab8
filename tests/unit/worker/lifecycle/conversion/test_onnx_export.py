from __future__ import annotations

import shutil
from collections import Counter
from pathlib import Path

import onnx
import pytest
import torch

from core.errors import EncoderInvalid
from worker.lifecycle.conversion.onnx_export import export


def operations(folder: Path) -> Counter[str]:
    return Counter(node.op_type for node in onnx.load(folder / "model.onnx").graph.node)


def test_attention_and_layer_norms_are_fused(tiny_encoder: Path, tmp_path: Path):
    export(tiny_encoder, tmp_path / "converted", "tiny")
    counts = operations(tmp_path / "converted")
    assert counts["Attention"] == 2  # one a layer
    assert counts["LayerNormalization"] + counts["EmbedLayerNormalization"] == 5
    assert counts["Softmax"] == counts["SkipLayerNormalization"] == 0


def test_the_same_encoder_exports_to_the_same_bytes(tiny_encoder: Path, tmp_path: Path):
    for name in ("first", "second"):
        export(tiny_encoder, tmp_path / name, "tiny")
    first, second = ((tmp_path / name / "model.onnx").read_bytes() for name in ("first", "second"))
    assert first == second
    assert str(tiny_encoder).encode() not in first


def test_config_and_tokenizer_are_copied(tiny_encoder: Path, tmp_path: Path):
    export(tiny_encoder, tmp_path / "converted", "tiny")
    for name in ("config.json", "tokenizer.json"):
        assert (tmp_path / "converted" / name).read_bytes() == (tiny_encoder / name).read_bytes()


def test_an_export_prints_nothing(
    tiny_encoder: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
):
    export(tiny_encoder, tmp_path / "converted", "tiny")
    assert capfd.readouterr() == ("", "")


def test_a_folder_without_weights_is_reported(tiny_encoder: Path, tmp_path: Path):
    folder = shutil.copytree(tiny_encoder, tmp_path / "encoder")
    (folder / "model.safetensors").unlink()
    with pytest.raises(EncoderInvalid) as caught:
        export(folder, tmp_path / "converted", "shop@1")
    assert "shop@1" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_an_architecture_that_cannot_be_exported_is_reported_in_one_line(
    tiny_encoder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    def fail(*_: object, **__: object) -> None:
        msg = "no such operator\nand a page about it"
        raise RuntimeError(msg)

    monkeypatch.setattr(torch.onnx, "export", fail)
    with pytest.raises(EncoderInvalid, match=r"\(bert\) cannot be exported to ONNX: no such oper"):
        export(tiny_encoder, tmp_path / "converted", "tiny")
