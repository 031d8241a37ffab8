"""The training of an encoder on the CPU, by sentence-transformers.

`train` contrasts entries: a softmax over the cosines of a phrasing to learned directions of all
entries, which begin as the means of their embeddings (Zhai and Wu, "Classification is a Strong
Baseline for Deep Metric Learning", BMVC 2019). `imitate` learns the embeddings of another
encoder. `mix` averages weights before and after training, which reduces overfitting (Wortsman
et al., "Robust fine-tuning of zero-shot models", CVPR 2022). Other attempts: docs/log.md.

Nothing is written, downloaded or printed. Without dropout and with a fixed seed, the same
inputs on the same machine with as many threads train the same weights. Not covered: several
processes.
"""

from __future__ import annotations

import copy
import tempfile
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any, Self

import numpy as np
import torch
from datasets import Dataset
from numpy.typing import NDArray
from sentence_transformers import SentenceTransformer, SentenceTransformerTrainer
from sentence_transformers.base.modules import InputModule
from sentence_transformers.sentence_transformer.losses import EmbedDistillLoss
from sentence_transformers.sentence_transformer.modules import Pooling
from sentence_transformers.sentence_transformer.training_args import (
    SentenceTransformerTrainingArguments,
)
from torch import nn
from torch.nn.functional import cross_entropy, normalize
from torch.nn.utils.rnn import pad_sequence
from transformers import PrinterCallback, TrainerCallback

from worker.inference.passes import form_passes
from worker.inference.protocol import PassBudget
from worker.model.encoder.torch_encoder import TorchEncoder

Floats = NDArray[np.float32]
Ints = NDArray[np.int64]


@dataclass(frozen=True)
class Recipe:
    """The parameters of a training. Their measurements are in docs/log.md."""

    epochs: float = 1.5
    least_steps: int = 60  # for a small knowledge base, which is read more often
    most_steps: int = 400  # for a large one, which is not read completely; higher: slower
    step: int = 64  # phrasings; higher: steadier steps, and fewer of them in the same time
    rate: float = 1e-4  # highest learning rate of the encoder's weights
    entry_rate: float = 1e-3  # learning rate of the entries' directions
    warm_up: float = 0.1  # share of the steps in which the rate rises
    sharpness: float = 20.0  # of exp(sharpness * cosine); lower: entries further apart
    seed: int = 7

    def readings(self, phrasings: int) -> int:
        """Return the number of phrasings read, repeated ones counted again."""
        return self.step * self.steps(phrasings)

    def steps(self, phrasings: int) -> int:
        """Return the number of steps."""
        steps = round(self.epochs * phrasings / self.step)
        return min(max(self.least_steps, steps), self.most_steps)


# Measured: the activations of such a part fit into the processor's cache.
_PART = PassBudget(tokens=512, questions=32)


def train(
    encoder: TorchEncoder,
    texts: Sequence[str],
    entry_of: Ints,
    directions: Floats,
    *,
    on_step: Callable[[int], None],
    recipe: Recipe = Recipe(),
) -> None:
    """Train an encoder in place to embed phrasings of one entry alike.

    Args:
        encoder: the encoder; its token embeddings do not change.
        texts: the phrasings.
        entry_of: (phrasings,), the row of each one's entry in `directions`.
        directions: (entries, dimensions), rows of length 1, the initial directions.
        on_step: called after each step with the number of phrasings read so far, repeated ones
            counted again.
        recipe: the parameters.
    """

    def loss(model: SentenceTransformer) -> nn.Module:
        return _EntryContrast(model, directions, recipe.sharpness)

    data = Dataset.from_dict({"text": list(texts), "label": entry_of.tolist()})
    _train(encoder, data, loss, recipe, on_step, directions=recipe.entry_rate)


def imitate(
    encoder: TorchEncoder,
    texts: Sequence[str],
    embeddings: Floats,
    *,
    on_step: Callable[[int], None],
    recipe: Recipe,
) -> None:
    """Train an encoder in place to embed texts as another encoder does.

    Args:
        encoder: the encoder; its token embeddings do not change.
        texts: the texts.
        embeddings: (texts, dimensions), rows of length 1, those of the other encoder.
        on_step: called after each step with the number of texts read so far, repeated ones
            counted again.
        recipe: the parameters; those of entries are not used.
    """
    data = Dataset.from_dict({"text": list(texts), "label": list(embeddings)})
    _train(encoder, data, EmbedDistillLoss, recipe, on_step)


def _train(
    encoder: TorchEncoder,
    data: Dataset,
    loss: Callable[[SentenceTransformer], nn.Module],
    recipe: Recipe,
    on_step: Callable[[int], None],
    **rates: float,  # learning rates of the loss's parameters
) -> None:
    encoder.model.get_input_embeddings().requires_grad_(requires_grad=False)
    model = SentenceTransformer(modules=[EncoderModule(encoder)], device="cpu")
    with tempfile.TemporaryDirectory() as unused:
        trainer = _Trainer(
            model=model,
            args=_arguments(recipe, len(data), unused, rates),
            train_dataset=data,
            loss=loss(model),
            callbacks=[_StepCounter(lambda steps: on_step(steps * recipe.step))],
        )
        trainer.remove_callback(PrinterCallback)
        trainer.train()


def mix(original: TorchEncoder, trained: TorchEncoder, share: float) -> TorchEncoder:
    """Return an encoder between the two: the trained one for the share 1."""
    model = copy.deepcopy(original.model)
    with torch.no_grad():
        pairs = zip(model.parameters(), trained.model.parameters(), strict=True)
        for weights, trained_weights in pairs:
            weights.lerp_(trained_weights, share)
    return replace(original, model=model)


def _arguments(
    recipe: Recipe, phrasings: int, unused: str, rates: dict[str, float]
) -> SentenceTransformerTrainingArguments:
    return SentenceTransformerTrainingArguments(
        output_dir=unused,
        max_steps=recipe.steps(phrasings),
        per_device_train_batch_size=recipe.step,
        learning_rate=recipe.rate,
        learning_rate_mapping=rates,
        warmup_steps=recipe.warm_up,
        seed=recipe.seed,
        data_seed=recipe.seed,
        use_cpu=True,
        dataloader_pin_memory=False,
        disable_tqdm=True,
        logging_strategy="no",
        save_strategy="no",
        report_to="none",
    )


class EncoderModule(InputModule):
    """An encoder as a module of sentence-transformers: texts to embeddings."""

    def __init__(self, encoder: TorchEncoder) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.transformer = encoder.model
        self._encoder = encoder
        self._pooling = Pooling(encoder.dimensions, pooling_mode=encoder.pooling.value)

    def train(self, mode: bool = True) -> Self:  # noqa: FBT001, FBT002, ARG002 - torch's signature
        """Stay in evaluation mode, without dropout."""
        return super().train(mode=False)

    def preprocess(self, inputs: Sequence[Any], *_: object, **__: object) -> dict[str, Any]:
        """Return the tokens of the texts and their mask."""
        rows = [torch.tensor(ids) for ids in self._encoder.tokenize(inputs)]
        lengths = torch.tensor([len(row) for row in rows])
        ids = pad_sequence(rows, batch_first=True, padding_value=self._encoder.pad)
        return {"input_ids": ids, "attention_mask": torch.arange(ids.shape[1]) < lengths[:, None]}

    def forward(self, features: dict[str, Any], **_: object) -> dict[str, Any]:
        """Add the embeddings. Rows of similar length share a part, to pad less."""
        lengths = features["attention_mask"].sum(dim=1).tolist()
        parts = form_passes(lengths, _PART)
        computed = torch.cat([self._part(features, part, lengths[part[0]]) for part in parts])
        order = torch.tensor([row for part in parts for row in part])
        return features | {"sentence_embedding": normalize(computed[order.argsort()], dim=1)}

    def _part(self, features: dict[str, Any], rows: list[int], longest: int) -> torch.Tensor:
        ids = features["input_ids"][rows, :longest]
        mask = features["attention_mask"][rows, :longest].long()
        states = self.transformer(input_ids=ids, attention_mask=mask).last_hidden_state
        pooled = self._pooling({"token_embeddings": states, "attention_mask": mask})
        embeddings: torch.Tensor = pooled["sentence_embedding"]
        return embeddings

    def save(self, output_path: str, *_: object, **__: object) -> None:
        """Save nothing, as the caller has the encoder."""


class _EntryContrast(nn.Module):
    """The loss of a phrasing's distance from its entry against the others."""

    def __init__(self, model: SentenceTransformer, directions: Floats, sharpness: float) -> None:
        super().__init__()
        self.model = model
        self.directions = nn.Parameter(torch.from_numpy(directions))
        self.sharpness = sharpness

    def forward(
        self, features: Iterable[dict[str, torch.Tensor]], labels: torch.Tensor
    ) -> torch.Tensor:
        """Return the mean loss of a step."""
        (feature,) = features
        embeddings = self.model(feature)["sentence_embedding"]
        cosines = embeddings @ normalize(self.directions, dim=1).T
        return cross_entropy(self.sharpness * cosines, labels)


class _Trainer(SentenceTransformerTrainer):
    """The trainer without a model card, which would call the hub."""

    def add_model_card_callback(self, default_args_dict: dict[str, Any]) -> None:
        """Add no model card."""


class _StepCounter(TrainerCallback):
    """Reports the number of steps after each step."""

    def __init__(self, on_step: Callable[[int], None]) -> None:
        self._on_step = on_step

    def on_step_end(self, args: object, state: Any, control: object, **_: object) -> None:  # noqa: ANN401, ARG002 - transformers' signature
        """Report it."""
        self._on_step(state.global_step)
