"""The same answers as other ways would compute them.

They encode, then the ten nearest phrasings vote.
Runs in a process of its own, Infinity in an environment of its own (benchmarks/infinity.txt).
Knows nothing of us but its input: the encoder's folder, the phrasings' embeddings.

    python _others.py WAY < INPUT.json
"""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

NEAREST, SHARPNESS = 10, 12.0
BATCHES = (4, 8, 16, 32, 64, 128)
PADDED = 32  # questions of a naive batch
TRIED = 384  # questions that each batch size is tried with
TASK, PROCESSES = "answer", 2
GIVE_UP_SECONDS = 240

Encode = Callable[[Sequence[str]], Any]


class Known:
    """The phrasings and their entries."""

    def __init__(self, told: dict[str, Any]) -> None:
        self.rows = np.load(told["embeddings"])[: len(told["entries"])]
        self.entries = told["entries"]

    def decide(self, embeddings: Any) -> list[str]:  # noqa: ANN401 - an array
        """Return the entry for which most of the nearest vote, near ones more."""
        near = np.asarray(embeddings, np.float32) @ self.rows.T
        places = np.argpartition(near, -NEAREST, axis=1)[:, -NEAREST:]
        found = []
        for row, columns in zip(near, places, strict=True):
            votes: Counter[str] = Counter()
            for column in columns:
                votes[self.entries[column]] += float(np.exp(SHARPNESS * (row[column] - 1)))
            found.append(max(votes, key=votes.__getitem__))
        return found


def sentence_transformer(folder: str) -> Any:  # noqa: ANN401 - untyped
    from sentence_transformers import SentenceTransformer, models

    words = models.Transformer(folder, max_seq_length=256)
    pooling = models.Pooling(words.get_embedding_dimension())
    return SentenceTransformer(modules=[words, pooling, models.Normalize()], device="cpu")


def sentence_transformers(told: dict[str, Any]) -> dict[str, Any]:
    model = sentence_transformer(told["encoder"])

    def encode(size: int) -> Encode:
        return lambda texts: model.encode(list(texts), batch_size=size, show_progress_bar=False)

    return at_best_size(told, encode)


def infinity(told: dict[str, Any]) -> dict[str, Any]:
    from infinity_emb import AsyncEmbeddingEngine, EngineArgs

    async def measured(size: int, texts: Sequence[str]) -> tuple[float, list[str]]:
        engine = AsyncEmbeddingEngine.from_args(
            EngineArgs(
                model_name_or_path=told["encoder"],
                engine="torch",
                device="cpu",
                dtype="float32",
                batch_size=size,
                bettertransformer=False,
            )
        )
        async with engine:
            await engine.embed(sentences=list(texts[:8]))
            started = time.perf_counter()
            embeddings, _ = await engine.embed(sentences=list(texts))
            found = known.decide(np.stack(embeddings))
            return len(texts) / (time.perf_counter() - started), found

    known, texts = Known(told), told["questions"]
    tried = {size: asyncio.run(measured(size, texts[:TRIED]))[0] for size in BATCHES[2:]}
    best = max(tried, key=tried.__getitem__)
    rate, entries = asyncio.run(measured(best, texts))
    return {"rate": rate, "batch": best, "entries": entries}


def padded(told: dict[str, Any]) -> dict[str, Any]:
    import torch
    from transformers import AutoModel
    from transformers import PreTrainedTokenizerFast as Fast

    encoder = told["encoder"]
    tokenizer = Fast(tokenizer_file=f"{encoder}/tokenizer.json", pad_token="[PAD]")  # noqa: S106 - no password
    model = AutoModel.from_pretrained(encoder).eval()

    def encode(texts: Sequence[str]) -> Any:  # noqa: ANN401 - an array
        found = []
        for start in range(0, len(texts), PADDED):
            batch = list(texts[start : start + PADDED])
            given = tokenizer(
                batch, padding=True, truncation=True, max_length=256, return_tensors="pt"
            )
            with torch.inference_mode():
                states = model(**{k: given[k] for k in ("input_ids", "attention_mask")})[0]
            kept = given["attention_mask"][:, :, None]
            pooled = (states * kept).sum(1) / kept.sum(1)
            found.append(torch.nn.functional.normalize(pooled, dim=1).numpy())
        return np.concatenate(found)

    return {"batch": PADDED, **timed(told, encode)}


def at_best_size(told: dict[str, Any], encode: Callable[[int], Encode]) -> dict[str, Any]:
    texts = told["questions"]
    tried = {}
    for size in BATCHES:
        encode(size)(texts[:PADDED])
        started = time.perf_counter()
        encode(size)(texts[:TRIED])
        tried[size] = time.perf_counter() - started
    best = min(tried, key=tried.__getitem__)
    return {"batch": best, **timed(told, encode(best))}


def timed(told: dict[str, Any], encode: Encode) -> dict[str, Any]:
    known, texts = Known(told), told["questions"]
    encode(texts[:PADDED])
    started = time.perf_counter()
    entries = known.decide(encode(texts))
    return {"rate": len(texts) / (time.perf_counter() - started), "entries": entries}


def celery_app() -> Any:  # noqa: ANN401 - untyped
    from celery import Celery

    app = Celery("others", broker=f"redis+socket://{os.environ['OTHERS_SOCKET']}")
    app.conf.update(task_ignore_result=True, worker_hijack_root_logger=False)
    own: dict[str, Any] = {}

    @app.task(name=TASK)
    def answer(position: int, text: str) -> None:
        if not own:
            import psycopg
            import torch

            torch.set_num_threads(1)  # a process a core
            with open(os.environ["OTHERS_TOLD"], encoding="utf-8") as file:  # noqa: PTH123 - short
                told = json.load(file)
            own["model"], own["known"] = sentence_transformer(told["encoder"]), Known(told)
            own["conn"] = psycopg.connect(os.environ["OTHERS_DATABASE"], autocommit=True)
        (entry,) = own["known"].decide(own["model"].encode([text], show_progress_bar=False))
        own["conn"].execute("INSERT INTO other_results VALUES (%s, %s)", (position, entry))

    return app


def celery(told: dict[str, Any]) -> dict[str, Any]:
    import psycopg

    texts, app = told["questions"], celery_app()
    command = [sys.executable, "-m", "celery", "-A", "_others:app", "worker"]
    command += ["-c", str(PROCESSES), "-O", "fair", "-l", "ERROR"]
    with psycopg.connect(os.environ["OTHERS_DATABASE"], autocommit=True) as conn:
        conn.execute("DROP TABLE IF EXISTS other_results")
        conn.execute("CREATE TABLE other_results (position int PRIMARY KEY, entry text)")

        def wait_for(count: int) -> None:
            until = time.monotonic() + GIVE_UP_SECONDS
            while conn.execute("SELECT count(*) FROM other_results").fetchone()[0] < count:
                if time.monotonic() > until:
                    sys.exit(f"Celery: {count} rows were not there in time")
                time.sleep(0.02)

        worker = subprocess.Popen(command, stdout=sys.stderr)
        try:
            warm = 64  # so that both processes have loaded their model
            for n in range(warm):
                app.send_task(TASK, (-1 - n, texts[n]))
            wait_for(warm)
            started = time.perf_counter()
            for position, text in enumerate(texts):
                app.send_task(TASK, (position, text))
            wait_for(warm + len(texts))
            rate = len(texts) / (time.perf_counter() - started)
        finally:
            worker.terminate()
            worker.wait()
        query = "SELECT entry FROM other_results WHERE position >= 0 ORDER BY position"
        return {"rate": rate, "entries": [row[0] for row in conn.execute(query)]}


WAYS = {
    "sentence-transformers": sentence_transformers,
    "Infinity": infinity,
    "Celery": celery,
    "padded": padded,
}

if __name__ == "__main__":
    print(json.dumps(WAYS[sys.argv[1]](json.load(sys.stdin))))
elif "OTHERS_SOCKET" in os.environ:
    app = celery_app()
