from __future__ import annotations

import json
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from db.errors import ConversionDrifted, ConversionRefused
from tests.unit.worker.conftest import ENTRIES
from worker.lifecycle import convert as converting
from worker.lifecycle import drift
from worker.lifecycle.convert import convert_version
from worker.model.bundle import Bundle, open_bundle
from worker.model.encoder import Engine, Kind, Precision
from worker.model.registry import load_bundle

ONNX = Kind(Engine.ONNX, Precision.FP32)
INT8 = Kind(Engine.ONNX, Precision.INT8)
BF16 = Kind(Engine.TORCH, Precision.BF16)
TORCH = Kind(Engine.TORCH, Precision.FP32)


def converted(store: Path, original: Bundle, to: Kind) -> Bundle:
    return convert_version(
        store, original, to, version="tiny@1", threads=1, on_progress=lambda *_: None
    )


@pytest.fixture
def original(tiny_bundle: Bundle, tmp_path: Path) -> Bundle:
    """The tiny bundle in a store that a test may fill."""
    place = tmp_path / "tiny" / tiny_bundle.path.name
    shutil.copytree(tiny_bundle.path, place)
    return open_bundle(place)


@pytest.mark.parametrize(("to", "steps"), [(ONNX, 1), (INT8, 2), (BF16, 1)])
def test_a_converted_version_is_a_whole_bundle_with_its_figures(
    tmp_path: Path, original: Bundle, to: Kind, steps: int
):
    before = original.manifest.digest
    made = converted(tmp_path, original, to)
    opened = open_bundle(made.path)
    manifest = opened.manifest
    assert (manifest.engine, manifest.precision) == to
    assert manifest.conversion is not None
    assert manifest.conversion["from"]["digest"] == before
    told = manifest.conversion["steps"]
    assert len(told) == steps
    assert all(step["cosine_least"] > 0.85 and step["questions"] == 11 for step in told)
    assert open_bundle(original.path).manifest.digest == before != manifest.digest
    assert manifest.threshold == original.manifest.threshold


def test_an_onnx_version_answers_as_its_original(tmp_path: Path, original: Bundle):
    made = open_bundle(converted(tmp_path, original, ONNX).path)
    texts = ["Where is my parcel?", "您是机器人吗", "thank you", "where my money"]
    answers = []
    for bundle in (original, made):
        model = load_bundle(bundle, "tiny@1", threads=1)
        answers.append(model.decide(texts, model.encode(model.tokenize(texts))))
    for one, other in zip(*answers, strict=True):
        assert (one.status, one.entry_id, one.matched) == (
            other.status,
            other.entry_id,
            other.matched,
        )
        assert one.confidence == pytest.approx(other.confidence, abs=1e-3)


def test_loading_an_onnx_version_imports_no_torch(tmp_path: Path, original: Bundle):
    made = converted(tmp_path, original, ONNX)
    code = (
        "import sys; from pathlib import Path\n"
        "from worker.model.bundle import open_bundle\n"
        "from worker.model.registry import load_bundle\n"
        "m = load_bundle(open_bundle(Path(sys.argv[1])), 'tiny@1', threads=1)\n"
        "m.decide(['refund'], m.encode(m.tokenize(['refund'])))\n"
        "print(sorted({'torch', 'transformers', 'sklearn'} & set(sys.modules)))"
    )
    told = subprocess.run(
        [sys.executable, "-c", code, str(made.path)], capture_output=True, text=True, check=True
    )
    assert told.stdout.strip() == "[]"


def test_one_that_drifts_is_refused_and_nothing_is_stored(
    tmp_path: Path, original: Bundle, monkeypatch: pytest.MonkeyPatch
):
    strict = replace(drift.LIMITS[Precision.INT8], cosine_least=1.0)
    monkeypatch.setitem(drift.LIMITS, Precision.INT8, strict)
    with pytest.raises(ConversionDrifted, match="least cosine"):
        converted(tmp_path, original, INT8)
    assert [path.name for path in (tmp_path / "tiny").iterdir()] == [original.path.name]


@pytest.mark.parametrize("to", [TORCH, BF16])
def test_there_is_no_way_back(tmp_path: Path, original: Bundle, to: Kind):
    made = open_bundle(converted(tmp_path, original, ONNX).path)
    with pytest.raises(ConversionRefused, match="no way leads there"):
        converting.check(made.manifest, to, "tiny@2")


@pytest.fixture
def shop(run, tiny_encoder: Path, tmp_path: Path) -> None:
    """shop@1, in production."""
    file = tmp_path / "kb.jsonl"
    rows = [
        {"id": entry.id, "answer": entry.answer, "questions": entry.questions} for entry in ENTRIES
    ]
    file.write_text("\n".join(map(json.dumps, rows)), encoding="utf-8")
    words = ["--name", "shop", "--knowledge", str(file), "--encoder", str(tiny_encoder)]
    assert run("build", *words)[0] == 0


def bundles(home: Path) -> int:
    return len(list((home / "models" / "shop").iterdir()))


@pytest.mark.usefixtures("shop")
def test_the_command_converts_and_registers_a_version(run, home: Path):
    words = ("convert", "shop@1", "--engine", "onnx", "--precision", "int8")
    status, out, _ = run(*words)
    assert status == 0
    assert "Made shop@2" in out
    assert "Against the original, on 11 phrasings of its own: cosine " in out
    assert "onnx int8" in run("show", "shop@2")[1]
    assert bundles(home) == 2
    again = json.loads(run(*words, "--json")[1])
    assert (again["version"], again["new"]) == (2, False)
    assert run("promote", "shop@2", "--force", "--reason", "a test")[0] == 0


@pytest.mark.usefixtures("shop")
def test_a_converted_version_is_checked_on_questions_of_a_file(run, tmp_path: Path):
    file = tmp_path / "labelled.csv"
    file.write_text("question,expected\nrefund now,refund\nparcel,track\n", encoding="utf-8")
    words = ("convert", "shop@1", "--engine", "onnx", "--precision", "fp32")
    told = json.loads(run(*words, "--questions", str(file), "--json")[1])
    assert told["conversion"]["asked"] == "questions of labelled.csv"
    assert told["conversion"]["steps"][0]["questions"] == 2


@pytest.mark.usefixtures("shop")
@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["shop@1", "--engine", "torch", "--precision", "int8"], "not int8"),
        (["shop@1", "--engine", "torch", "--precision", "fp32"], "it is that already"),
        (["shop@9", "--engine", "onnx", "--precision", "fp32"], "no model version"),
        (["shop@1", "--engine", "onnx", "--precision", "fp32", "--questions", "no.csv"], "no.csv"),
    ],
)
def test_a_mistake_is_told_in_one_line_and_makes_nothing(
    run, home: Path, words: list[str], told: str
):
    status, out, err = run("convert", *words)
    assert (status, out) == (2, "")
    assert told in err
    assert len(err.strip().splitlines()) == 1
    assert bundles(home) == 1
