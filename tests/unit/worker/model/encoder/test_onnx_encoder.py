from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import stack
from core.errors import EncoderInvalid
from worker.lifecycle.conversion.onnx_export import export
from worker.model.bundle.bundle import Bundle
from worker.model.encoder.base import EncoderKind, Engine, Pooling, Precision
from worker.model.encoder.onnx_encoder import OnnxEncoder
from worker.model.encoder.torch_encoder import TorchEncoder

TEXTS = ["refund", "where is my order 12345?", "您是机器人吗", "a" * 30, "?", "track"]
FP32, INT8 = EncoderKind(Engine.ONNX, Precision.FP32), EncoderKind(Engine.ONNX, Precision.INT8)


def opened(
    bundles: dict[EncoderKind, Bundle], kind: EncoderKind = FP32, threads: int = 1
) -> OnnxEncoder:
    folder, precision = bundles[kind].encoder, kind.precision
    return OnnxEncoder.load(
        folder, threads, max_tokens=20, pooling=Pooling.MEAN, precision=precision
    )


@pytest.fixture
def folder(tiny_bundles: dict[EncoderKind, Bundle], tmp_path: Path) -> Path:
    """An encoder in fp32 that a test may change."""
    return shutil.copytree(tiny_bundles[FP32].encoder, tmp_path / "encoder")


@pytest.mark.parametrize("kind", [FP32, INT8])
def test_embeddings_have_length_one(tiny_bundles: dict[EncoderKind, Bundle], kind: EncoderKind):
    encoder = opened(tiny_bundles, kind)
    embeddings = encoder.encode(encoder.tokenize(TEXTS))
    assert embeddings.shape == (6, encoder.dimensions) == (6, 32)
    assert embeddings.dtype == np.float32
    np.testing.assert_allclose(np.linalg.norm(embeddings, axis=1), 1, rtol=1e-5)


@pytest.mark.parametrize("pooling", Pooling)
def test_embeddings_in_fp32_are_those_of_torch(
    tiny_bundles: dict[EncoderKind, Bundle], tiny_encoder: Path, pooling: Pooling
):
    torch = TorchEncoder.load(tiny_encoder, max_tokens=64, pooling=pooling)
    onnx = OnnxEncoder.load(tiny_bundles[FP32].encoder, max_tokens=64, pooling=pooling)
    tokens = torch.tokenize(TEXTS)
    assert onnx.tokenize(TEXTS) == tokens
    np.testing.assert_allclose(onnx.encode(tokens), torch.encode(tokens), atol=2e-6)


def test_embeddings_in_int8_are_near_those_in_fp32_and_not_the_same(
    tiny_bundles: dict[EncoderKind, Bundle],
):
    fp32, int8 = opened(tiny_bundles), opened(tiny_bundles, INT8)
    tokens = fp32.tokenize(TEXTS)
    before, after = fp32.encode(tokens), int8.encode(tokens)
    assert ((before * after).sum(axis=1) > 0.99).all()
    assert not (before == after).all(axis=1).any()


@pytest.mark.parametrize("threads", [1, 2, 3])
def test_parts_come_back_in_order_with_any_number_of_threads(
    tiny_bundles: dict[EncoderKind, Bundle], threads: int
):
    encoder = opened(tiny_bundles, threads=threads)
    tokens = encoder.tokenize(TEXTS)
    alone = np.concatenate([encoder.encode([ids]) for ids in tokens])
    for count in range(1, len(tokens) + 1):
        np.testing.assert_allclose(encoder.encode(tokens[:count]), alone[:count], atol=2e-6)


@pytest.mark.parametrize("threads", [1, 3])
def test_in_int8_company_changes_no_bit_of_an_embedding(
    tiny_bundles: dict[EncoderKind, Bundle], threads: int
):
    encoder = opened(tiny_bundles, INT8, threads)
    tokens = encoder.tokenize(TEXTS)
    alone = np.concatenate([encoder.encode([ids]) for ids in tokens])
    assert (encoder.encode(tokens) == alone).all()
    assert (encoder.encode(tokens[::-1])[::-1] == alone).all()


def test_budgets_grow_with_the_threads(tiny_bundles: dict[EncoderKind, Bundle]):
    one, three = opened(tiny_bundles).budgets, opened(tiny_bundles, threads=3).budgets
    assert [budget.questions for budget in three] == [3 * budget.questions for budget in one]


def test_long_texts_are_cut_and_short_ones_not_padded(tiny_bundles: dict[EncoderKind, Bundle]):
    lengths = [len(ids) for ids in opened(tiny_bundles).tokenize(["a b " * 1_000, "?"])]
    assert lengths == [20, 3]


def test_a_missing_graph_is_reported_in_one_line(folder: Path):
    (folder / "model.onnx").unlink()
    with pytest.raises(EncoderInvalid, match=r"model\.onnx") as caught:
        OnnxEncoder.load(folder, max_tokens=8, pooling=Pooling.MEAN)
    assert "\n" not in str(caught.value)


def test_a_broken_graph_is_reported_in_one_line(folder: Path):
    (folder / "model.onnx").write_bytes(b"\x00" * 100)
    with pytest.raises(EncoderInvalid, match=r"model\.onnx") as caught:
        OnnxEncoder.load(folder, max_tokens=8, pooling=Pooling.MEAN)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("content", ["[]", "{", '{"pad_token_id": "none"}'])
def test_a_broken_config_is_reported(folder: Path, content: str):
    (folder / "config.json").write_text(content, encoding="utf-8")
    with pytest.raises(EncoderInvalid, match=r"config\.json"):
        OnnxEncoder.load(folder, max_tokens=8, pooling=Pooling.MEAN)


def test_the_pad_token_is_the_configs(tiny_encoder: Path, tmp_path: Path):
    source = shutil.copytree(tiny_encoder, tmp_path / "source")
    config = json.loads((source / "config.json").read_bytes())
    (source / "config.json").write_text(json.dumps(config | {"pad_token_id": 7}), encoding="utf-8")
    export(source, tmp_path / "exported", "mine")
    loaded = OnnxEncoder.load(tmp_path / "exported", max_tokens=8, pooling=Pooling.MEAN)
    assert loaded.pad == 7


def test_answering_with_an_onnx_version_imports_no_torch(tiny_bundles: dict[EncoderKind, Bundle]):
    code = (
        "import sys\n"
        "from pathlib import Path\n"
        "from worker.model.bundle.bundle import open_bundle\n"
        "from worker.model.registry import load_bundle\n"
        "from worker.inference.passes import answer_texts\n"
        "model = load_bundle(open_bundle(Path(sys.argv[1])), 'tiny@1', 1)\n"
        "assert answer_texts(model, ['refund'])[0].entry_id == 'refund'\n"
        "sys.exit(sorted({'torch', 'transformers', 'sklearn'} & set(sys.modules)) or 0)\n"
    )
    command = [sys.executable, "-c", code, str(tiny_bundles[FP32].path)]
    root = Path(stack.__path__[0]).parent
    done = subprocess.run(command, check=False, cwd=root, capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")
