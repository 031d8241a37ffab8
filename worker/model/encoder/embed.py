"""Embeddings of many texts, pass by pass, with progress.

For builds, training and conversion. A worker forms its passes in `worker.inference.passes`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from worker.inference.passes import form_passes
from worker.model.encoder.base import Encoder

Floats = NDArray[np.float32]
EmbedProgress = Callable[[int, int], None]  # texts embedded, texts in all


def embed(encoder: Encoder, texts: Sequence[str], on_progress: EmbedProgress) -> Floats:
    """Return (texts, dimensions), rows of length 1."""
    tokens = encoder.tokenize(texts)
    embeddings = np.empty((len(texts), encoder.dimensions), np.float32)
    done = 0
    for members in form_passes([len(ids) for ids in tokens], encoder.budgets[0]):
        embeddings[members] = encoder.encode([tokens[i] for i in members])
        done += len(members)
        on_progress(done, len(texts))
    return embeddings
