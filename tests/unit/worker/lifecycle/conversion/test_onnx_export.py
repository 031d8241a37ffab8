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
    export(tiny_encoder, tmp_path / "made", "tiny")
    found = operations(tmp_path / "made")
    assert found["Attention"] == 2  # one a layer
    assert found["LayerNormalization"] + found["EmbedLayerNormalization"] == 5
    assert found["Softmax"] == found["SkipLayerNormalization"] == 0


def test_the_same_encoder_exports_to_the_same_bytes(tiny_encoder: Path, tmp_path: Path):
    for name in ("one", "two"):
        export(tiny_encoder, tmp_path / name, "tiny")
    one, two = ((tmp_path / name / "model.onnx").read_bytes() for name in ("one", "two"))
    assert one == two
    assert str(tiny_encoder).encode() not in one


def test_what_stands_beside_the_weights_comes_along(tiny_encoder: Path, tmp_path: Path):
    export(tiny_encoder, tmp_path / "made", "tiny")
    for name in ("config.json", "tokenizer.json"):
        assert (tmp_path / "made" / name).read_bytes() == (tiny_encoder / name).read_bytes()


def test_exporting_says_nothing(
    tiny_encoder: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
):
    export(tiny_encoder, tmp_path / "made", "tiny")
    assert capfd.readouterr() == ("", "")


def test_a_folder_without_weights_is_told(tiny_encoder: Path, tmp_path: Path):
    folder = shutil.copytree(tiny_encoder, tmp_path / "encoder")
    (folder / "model.safetensors").unlink()
    with pytest.raises(EncoderInvalid) as caught:
        export(folder, tmp_path / "made", "shop@1")
    assert "shop@1" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_an_architecture_that_cannot_be_exported_is_told_in_one_line(
    tiny_encoder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    def fail(*_: object, **__: object) -> None:
        msg = "no such operator\nand a page about it"
        raise RuntimeError(msg)

    monkeypatch.setattr(torch.onnx, "export", fail)
    with pytest.raises(EncoderInvalid, match=r"\(bert\) can't be exported to ONNX: no such oper"):
        export(tiny_encoder, tmp_path / "made", "tiny")
