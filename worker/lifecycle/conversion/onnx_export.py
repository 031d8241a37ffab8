"""The export of an encoder on PyTorch to model.onnx.

The encoder is traced with its attention written out, the form that the optimizer of ONNX
Runtime recognizes, and then attention and layer norms are fused. The sum before a layer norm
and the bias before a GELU stay separate, as the runtime is faster so. The same encoder is
exported to the same bytes. Not covered: architectures with a decoder, and more than 2 GB of
weights.
"""

from __future__ import annotations

import inspect
import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from core.errors import EncoderInvalid
from worker.lifecycle.conversion.silence import silenced
from worker.model.encoder.base import first_line
from worker.model.encoder.onnx_encoder import GRAPH, IDS, MASK, STATES
from worker.model.encoder.tokenizer import TOKENIZER
from worker.model.encoder.torch_encoder import load_weights

if TYPE_CHECKING:
    from transformers import PretrainedConfig

_OPSET = 20  # the latest that the tracing exporter writes

# Architectures that match the optimizer's patterns for BERT. Others run as traced.
_LIKE_BERT = frozenset({"bert", "camembert", "distilbert", "electra", "roberta", "xlm-roberta"})

_NOT_FUSED = ("enable_skip_layer_norm", "enable_bias_skip_layer_norm", "enable_bias_gelu")

_AXES = {0: "questions", 1: "tokens"}


def export(encoder: Path, folder: Path, name: str) -> None:
    """Write config.json, model.onnx and tokenizer.json.

    Args:
        encoder: the folder with config.json, model.safetensors and tokenizer.json.
        folder: the new folder to write to.
        name: the name of the encoder in errors.

    Raises:
        EncoderInvalid: it cannot be loaded, or its architecture cannot be exported.
    """
    model = load_weights(encoder, name)
    folder.mkdir()
    with silenced():
        try:
            _trace(model, folder / GRAPH)
            if model.config.model_type in _LIKE_BERT:
                _fuse(folder / GRAPH, model.config)
        except Exception as error:  # torch, onnx and onnxruntime have dozens of classes of errors
            kind = model.config.model_type
            problem = f"its architecture ({kind}) cannot be exported to ONNX: {first_line(error)}"
            raise EncoderInvalid(name, problem) from error
    for file in ("config.json", TOKENIZER):
        shutil.copyfile(encoder / file, folder / file)


class _States(torch.nn.Module):
    """A transformer with the inputs and the output of the graph."""

    def __init__(self, model: Any) -> None:  # noqa: ANN401 - transformers is untyped
        super().__init__()
        self.model = model
        self.has_types = "token_type_ids" in inspect.signature(model.forward).parameters

    def forward(self, ids: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        """Return the states of all tokens: (questions, tokens, dimensions)."""
        # Without these, the model looks them up in a buffer, which takes a dozen operations.
        types = {"token_type_ids": torch.zeros_like(ids)} if self.has_types else {}
        states: torch.Tensor = self.model(
            input_ids=ids, attention_mask=mask, **types
        ).last_hidden_state
        return states


def _trace(model: Any, path: Path) -> None:  # noqa: ANN401 - transformers is untyped
    model.set_attn_implementation("eager")
    ids = torch.ones(2, 8, dtype=torch.int32)
    with torch.inference_mode():
        torch.onnx.export(
            _States(model).eval(),
            (ids, ids),
            str(path),
            dynamo=False,
            opset_version=_OPSET,
            input_names=[IDS, MASK],
            output_names=[STATES],
            dynamic_axes=dict.fromkeys((IDS, MASK, STATES), _AXES),
        )


def _fuse(path: Path, config: PretrainedConfig) -> None:
    from onnxruntime.transformers.fusion_options import FusionOptions
    from onnxruntime.transformers.optimizer import optimize_model

    options = FusionOptions("bert")
    for name in _NOT_FUSED:
        setattr(options, name, False)
    fused = optimize_model(
        str(path),
        model_type="bert",
        num_heads=config.num_attention_heads,
        hidden_size=config.hidden_size,
        optimization_options=options,
        opt_level=0,
    )
    fused.save_model_to_file(str(path))
