from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from db.errors import EncoderInvalid
from worker.lifecycle.export import export
from worker.lifecycle.indexing import embed
from worker.lifecycle.quantise import quantise
from worker.model.encoder import Pooling, Precision
from worker.model.onnx_encoder import OnnxEncoder
from worker.model.torch_encoder import TorchEncoder

TEXTS = ["refund", "where is my order 12345?", "您是机器人吗", "a" * 30, "?", "thank you"]


@pytest.fixture(scope="module")
def exported(tiny_encoder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("exported") / "encoder"
    export(tiny_encoder, folder, "tiny")
    return folder


@pytest.fixture(scope="module")
def quantised(exported: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("quantised") / "encoder"
    quantise(exported, folder, "tiny")
    return folder


@pytest.fixture(scope="module")
def fp32(exported: Path) -> OnnxEncoder:
    return OnnxEncoder.load(exported, 1, max_tokens=20, pooling=Pooling.MEAN)


@pytest.fixture(scope="module")
def int8(quantised: Path) -> OnnxEncoder:
    return OnnxEncoder.load(
        quantised, 1, max_tokens=20, pooling=Pooling.MEAN, precision=Precision.INT8
    )


@pytest.mark.parametrize("pooling", Pooling)
def test_embeddings_are_those_that_torch_computes(
    tiny_encoder: Path, exported: Path, pooling: Pooling
):
    original = TorchEncoder.load(tiny_encoder, max_tokens=20, pooling=pooling)
    encoder = OnnxEncoder.load(exported, 1, max_tokens=20, pooling=pooling)
    tokens = encoder.tokenize(TEXTS)
    assert tokens == original.tokenize(TEXTS)
    assert encoder.dimensions == original.dimensions == 32
    np.testing.assert_allclose(encoder.encode(tokens), original.encode(tokens), atol=1e-5)


def test_int8_embeddings_are_near_those_in_fp32_and_not_the_same(
    fp32: OnnxEncoder, int8: OnnxEncoder
):
    for ids in fp32.tokenize(TEXTS):
        before, after = fp32.encode([ids])[0], int8.encode([ids])[0]
        assert float(before @ after) > 0.9
        assert not np.array_equal(before, after)


@settings(max_examples=40, deadline=None)
@given(texts=st.lists(st.sampled_from(TEXTS), min_size=1, max_size=12), data=st.data())
def test_an_embedding_does_not_depend_on_neighbours_or_order(
    fp32: OnnxEncoder, int8: OnnxEncoder, texts: list[str], data: st.DataObject
):
    order = data.draw(st.permutations(range(len(texts))))
    for encoder, tolerance in ((fp32, 2e-6), (int8, 0.0)):
        alone = np.concatenate([encoder.encode([ids]) for ids in encoder.tokenize(texts)])
        together = embed(encoder, [texts[i] for i in order], lambda *_: None)
        np.testing.assert_allclose(together, alone[order], rtol=0, atol=tolerance)


def test_the_same_encoder_quantises_to_the_same_bytes(
    exported: Path, quantised: Path, tmp_path: Path
):
    quantise(exported, tmp_path / "again", "tiny")
    assert (tmp_path / "again" / "model.onnx").read_bytes() == (
        quantised / "model.onnx"
    ).read_bytes()


def test_a_broken_graph_is_told_in_one_line(exported: Path, tmp_path: Path):
    folder = shutil.copytree(exported, tmp_path / "encoder")
    (folder / "model.onnx").write_bytes(b"nonsense")
    with pytest.raises(EncoderInvalid, match=r"model\.onnx") as caught:
        OnnxEncoder.load(folder, 1, max_tokens=8, pooling=Pooling.MEAN)
    assert "\n" not in str(caught.value)


def test_loading_an_onnx_encoder_imports_no_torch(exported: Path):
    code = (
        "import sys; from pathlib import Path\n"
        "from worker.model.encoder import Pooling\n"
        "from worker.model.onnx_encoder import OnnxEncoder\n"
        "e = OnnxEncoder.load(Path(sys.argv[1]), 1, max_tokens=8, pooling=Pooling.MEAN)\n"
        "e.encode(e.tokenize(['refund']))\n"
        "print(sorted({'torch', 'transformers'} & set(sys.modules)))"
    )
    told = subprocess.run(
        [sys.executable, "-c", code, str(exported)], capture_output=True, text=True, check=True
    )
    assert told.stdout.strip() == "[]"
