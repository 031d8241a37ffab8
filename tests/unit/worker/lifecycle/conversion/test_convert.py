from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from core.errors import ConversionDrifted, ConversionRefused, ExtraMissing
from worker.inference.passes import answer_texts
from worker.lifecycle.build.build_bundle import build
from worker.lifecycle.build.options import BuildOptions
from worker.lifecycle.conversion import convert, drift
from worker.lifecycle.conversion.convert import check, convert_version
from worker.lifecycle.conversion.quantize import quantize
from worker.lifecycle.training.encoder_source import EncoderSource
from worker.model.bundle.bundle import Bundle, Entry, open_bundle
from worker.model.encoder.base import KINDS, EncoderKind, Engine, Precision
from worker.model.registry import load_bundle

TORCH, BF16, FP32, INT8 = KINDS
TEXTS = ["refund", "parcel where is it", "您是机器人", "rain"]


class Converter:
    """Converts with everything filled in."""

    def __init__(self, store: Path) -> None:
        self.store = store
        self.progress: list[tuple[int, int]] = []

    def __call__(self, bundle: Bundle, to: EncoderKind) -> Bundle:
        return convert_version(
            self.store,
            bundle,
            to,
            version="tiny@1",
            threads=1,
            on_progress=lambda *report: self.progress.append(report),
        )


@pytest.fixture
def convert_to(tmp_path: Path) -> Converter:
    return Converter(tmp_path / "store")


def is_empty(store: Path) -> bool:
    return list(store.rglob("*")) == []


@pytest.mark.parametrize("kind", [BF16, FP32, INT8])
def test_all_but_the_encoder_stays_as_it_was(
    tiny_bundle: Bundle, tiny_bundles: dict[EncoderKind, Bundle], kind: EncoderKind
):
    before = open_bundle(tiny_bundle.path).manifest
    after = open_bundle(tiny_bundles[kind].path).manifest
    assert before.digest != after.digest
    assert (after.engine, after.precision) == kind
    others = [name for name in before.files if not name.startswith("encoder/")]
    assert [after.files[name] for name in others] == [before.files[name] for name in others]
    assert (after.threshold, after.confidence) == (before.threshold, before.confidence)
    weights = {"torch": "model.safetensors", "onnx": "model.onnx"}[kind.engine]
    folder = {name for name in after.files if name.startswith("encoder/")}
    assert folder == {f"encoder/{name}" for name in ("config.json", "tokenizer.json", weights)}


@pytest.mark.parametrize("kind", [BF16, FP32, INT8])
def test_a_converted_version_answers_as_the_original(
    tiny_bundle: Bundle, tiny_bundles: dict[EncoderKind, Bundle], kind: EncoderKind
):
    before = answer_texts(load_bundle(tiny_bundle, "tiny@1"), TEXTS)
    after = answer_texts(load_bundle(tiny_bundles[kind], "tiny@2"), TEXTS)
    assert [answer.entry_id for answer in after] == [answer.entry_id for answer in before]


def test_the_manifest_keeps_every_steps_figures_and_limits(
    tiny_bundle: Bundle, tiny_bundles: dict[EncoderKind, Bundle]
):
    conversion = tiny_bundles[INT8].manifest.conversion
    assert conversion is not None
    assert conversion["from"] == {
        "engine": "torch",
        "precision": "fp32",
        "digest": tiny_bundle.manifest.digest,
    }
    assert conversion["asked"] == "phrasings of its own"
    first, last = conversion["steps"]
    assert (first["engine"], first["precision"]) == ("onnx", "fp32")
    assert (last["engine"], last["precision"], last["questions"]) == ("onnx", "int8", 11)
    assert first["cosine_least"] > last["cosine_least"] > last["limits"]["cosine_least"] == 0.85


@pytest.mark.parametrize("kind", [FP32, INT8])
def test_the_same_version_converts_to_the_same_digest(
    convert_to: Converter,
    tiny_bundle: Bundle,
    tiny_bundles: dict[EncoderKind, Bundle],
    kind: EncoderKind,
):
    converted = convert_to(tiny_bundle, kind)
    assert converted.manifest.digest == tiny_bundles[kind].manifest.digest
    assert convert_to(tiny_bundle, kind).path == converted.path
    assert list((convert_to.store / "tiny").iterdir()) == [converted.path]


def test_int8_of_onnx_is_the_int8_of_torch(
    convert_to: Converter, tiny_bundles: dict[EncoderKind, Bundle]
):
    converted = convert_to(tiny_bundles[FP32], INT8)
    assert converted.manifest.digest == tiny_bundles[INT8].manifest.digest


def test_a_build_of_another_kind_is_the_conversion_of_a_build(
    tiny_encoder: Path, tiny_bundles: dict[EncoderKind, Bundle], tmp_path: Path
):
    built = build(
        tmp_path,
        "tiny",
        tiny_bundles[INT8].entries(),
        EncoderSource("tiny", tiny_encoder),
        BuildOptions(kind=INT8),
        threads=1,
        on_progress=lambda *_: None,
    )
    assert built.manifest.digest == tiny_bundles[INT8].manifest.digest


def test_progress_ends_at_all_texts(convert_to: Converter, tiny_bundle: Bundle):
    convert_to(tiny_bundle, INT8)
    assert convert_to.progress[-1] == (33, 33)  # 11 phrasings by three encoders


def test_an_encoder_that_drifts_is_refused_and_nothing_stored(
    convert_to: Converter, tiny_bundle: Bundle, monkeypatch: pytest.MonkeyPatch
):
    def scramble(encoder: Path, folder: Path, name: str) -> None:
        import onnx
        from onnx import numpy_helper

        quantize(encoder, folder, name)
        graph = onnx.load(folder / "model.onnx")
        for tensor in graph.graph.initializer:
            if tensor.name.endswith("_quantized"):
                array = numpy_helper.to_array(tensor)
                shuffled = np.random.default_rng(7).permutation(array.ravel()).reshape(array.shape)
                tensor.CopyFrom(numpy_helper.from_array(shuffled, tensor.name))
        onnx.save(graph, folder / "model.onnx")

    monkeypatch.setattr("worker.lifecycle.conversion.quantize.quantize", scramble)
    with pytest.raises(ConversionDrifted) as caught:
        convert_to(tiny_bundle, INT8)
    message = str(caught.value)
    assert "tiny@1" in message
    assert "onnx int8" in message
    assert "the least cosine is " in message
    assert "\n" not in message
    assert is_empty(convert_to.store)


def test_the_limits_are_those_of_each_step(
    convert_to: Converter, tiny_bundle: Bundle, monkeypatch: pytest.MonkeyPatch
):
    strict = drift.DriftLimits(cosine_least=1.1, cosine_p1=0.0, changed=1.0)
    monkeypatch.setitem(drift.LIMITS, Precision.FP32, strict)
    with pytest.raises(ConversionDrifted, match="to onnx fp32"):
        convert_to(tiny_bundle, INT8)
    assert is_empty(convert_to.store)


def test_a_killed_conversion_stores_nothing(
    convert_to: Converter, tiny_bundle: Bundle, monkeypatch: pytest.MonkeyPatch
):
    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("worker.lifecycle.conversion.quantize.quantize", interrupt)
    with pytest.raises(KeyboardInterrupt):
        convert_to(tiny_bundle, INT8)
    assert is_empty(convert_to.store)


@pytest.mark.parametrize(
    ("source", "to", "problem"),
    [
        (TORCH, TORCH, "its encoder is already torch fp32"),
        (INT8, INT8, "its encoder is already onnx int8"),
        (INT8, FP32, "onnx int8 cannot be converted to it; convert the version that this"),
        (FP32, TORCH, "onnx fp32 cannot be converted to it"),
        (BF16, INT8, "torch bf16 cannot be converted to it"),
    ],
)
def test_an_impossible_conversion_is_refused(
    tiny_bundles: dict[EncoderKind, Bundle], source: EncoderKind, to: EncoderKind, problem: str
):
    with pytest.raises(ConversionRefused, match=problem):
        check(tiny_bundles[source].manifest, to, "tiny@1")


def test_a_missing_package_is_reported_with_its_extra(
    tiny_bundle: Bundle, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(convert.importlib.util, "find_spec", lambda _: None)
    with pytest.raises(ExtraMissing, match="lifecycle"):
        check(tiny_bundle.manifest, EncoderKind(Engine.ONNX, Precision.INT8), "tiny@1")
    check(tiny_bundle.manifest, BF16, "tiny@1")


@pytest.mark.parametrize("kind", [BF16, FP32, INT8])
def test_the_smallest_knowledge_base_converts(
    convert_to: Converter, tiny_encoder: Path, kind: EncoderKind, tmp_path: Path
):
    source = EncoderSource("tiny", tiny_encoder)
    smallest = build(
        tmp_path / "other",
        "tiny",
        [Entry("a", "A", ["hello"])],
        source,
        threads=1,
        on_progress=lambda *_: None,
    )
    assert convert_to(smallest, kind).manifest.conversion["steps"][-1]["questions"] == 1
