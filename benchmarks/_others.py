"""Other ways to compute the same answers with the same encoder.

Each way encodes the questions, then the ten nearest phrasings vote. A way runs in a process of its
own, and Infinity in an environment of its own (benchmarks/infinity.txt). Its input names the
encoder's folder and the embeddings of the phrasings. Not covered: any code of Answermill.

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
TRIED = 384  # questions with which each batch size is tried
TASK, PROCESSES = "answer", 2
GIVE_UP_SECONDS = 240

Encode = Callable[[Sequence[str]], Any]


class Known:
    """The phrasings and their entries."""

    def __init__(self, inputs: dict[str, Any]) -> None:
        self.rows = np.load(inputs["embeddings"])[: len(inputs["entries"])]
        self.entries = inputs["entries"]

    def decide(self, embeddings: Any) -> list[str]:  # noqa: ANN401 - an array
        """Return the entries with the most votes, in which nearer ones count more."""
        similarities = np.asarray(embeddings, np.float32) @ self.rows.T
        nearest = np.argpartition(similarities, -NEAREST, axis=1)[:, -NEAREST:]
        entries = []
        for row, columns in zip(similarities, nearest, strict=True):
            votes: Counter[str] = Counter()
            for column in columns:
                votes[self.entries[column]] += float(np.exp(SHARPNESS * (row[column] - 1)))
            entries.append(max(votes, key=votes.__getitem__))
        return entries


def sentence_transformer(folder: str) -> Any:  # noqa: ANN401 - untyped
    from sentence_transformers import SentenceTransformer, models

    words = models.Transformer(folder, max_seq_length=256)
    pooling = models.Pooling(words.get_embedding_dimension())
    return SentenceTransformer(modules=[words, pooling, models.Normalize()], device="cpu")


def sentence_transformers(inputs: dict[str, Any]) -> dict[str, Any]:
    """Measure `encode` of sentence-transformers at its best batch size."""
    model = sentence_transformer(inputs["encoder"])

    def encode(size: int) -> Encode:
        return lambda texts: model.encode(list(texts), batch_size=size, show_progress_bar=False)

    return at_best_size(inputs, encode)


def infinity(inputs: dict[str, Any]) -> dict[str, Any]:
    """Measure Infinity in this process at its best batch size."""
    from infinity_emb import AsyncEmbeddingEngine, EngineArgs

    async def measured(size: int, texts: Sequence[str]) -> tuple[float, list[str]]:
        engine = AsyncEmbeddingEngine.from_args(
            EngineArgs(
                model_name_or_path=inputs["encoder"],
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
            entries = known.decide(np.stack(embeddings))
            return len(texts) / (time.perf_counter() - started), entries

    known, texts = Known(inputs), inputs["questions"]
    tried = {size: asyncio.run(measured(size, texts[:TRIED]))[0] for size in BATCHES[2:]}
    best = max(tried, key=tried.__getitem__)
    rate, entries = asyncio.run(measured(best, texts))
    return {"rate": rate, "batch": best, "entries": entries}


def padded(inputs: dict[str, Any]) -> dict[str, Any]:
    """Measure batches of 32 in the file's order, padded to the longest."""
    import torch
    from transformers import AutoModel
    from transformers import PreTrainedTokenizerFast as Fast

    encoder = inputs["encoder"]
    tokenizer = Fast(tokenizer_file=f"{encoder}/tokenizer.json", pad_token="[PAD]")  # noqa: S106 - no password
    model = AutoModel.from_pretrained(encoder).eval()

    def encode(texts: Sequence[str]) -> Any:  # noqa: ANN401 - an array
        embeddings = []
        for start in range(0, len(texts), PADDED):
            batch = list(texts[start : start + PADDED])
            padded_batch = tokenizer(
                batch, padding=True, truncation=True, max_length=256, return_tensors="pt"
            )
            with torch.inference_mode():
                states = model(**{k: padded_batch[k] for k in ("input_ids", "attention_mask")})[0]
            mask = padded_batch["attention_mask"][:, :, None]
            pooled = (states * mask).sum(1) / mask.sum(1)
            embeddings.append(torch.nn.functional.normalize(pooled, dim=1).numpy())
        return np.concatenate(embeddings)

    return {"batch": PADDED, **timed(inputs, encode)}


def at_best_size(inputs: dict[str, Any], encode: Callable[[int], Encode]) -> dict[str, Any]:
    texts = inputs["questions"]
    tried = {}
    for size in BATCHES:
        encode(size)(texts[:PADDED])
        started = time.perf_counter()
        encode(size)(texts[:TRIED])
        tried[size] = time.perf_counter() - started
    best = min(tried, key=tried.__getitem__)
    return {"batch": best, **timed(inputs, encode(best))}


def timed(inputs: dict[str, Any], encode: Encode) -> dict[str, Any]:
    known, texts = Known(inputs), inputs["questions"]
    encode(texts[:PADDED])
    started = time.perf_counter()
    entries = known.decide(encode(texts))
    return {"rate": len(texts) / (time.perf_counter() - started), "entries": entries}


def celery_app() -> Any:  # noqa: ANN401 - untyped
    from celery import Celery

    app = Celery("others", broker=f"redis+socket://{os.environ['OTHERS_SOCKET']}")
    app.conf.update(task_ignore_result=True, worker_hijack_root_logger=False)
    loaded: dict[str, Any] = {}  # of this worker process

    @app.task(name=TASK)
    def answer(position: int, text: str) -> None:
        if not loaded:
            import psycopg
            import torch

            torch.set_num_threads(1)  # there is one process for each core
            with open(os.environ["OTHERS_INPUT"], encoding="utf-8") as file:  # noqa: PTH123 - short
                inputs = json.load(file)
            loaded["model"] = sentence_transformer(inputs["encoder"])
            loaded["known"] = Known(inputs)
            loaded["conn"] = psycopg.connect(os.environ["OTHERS_DATABASE"], autocommit=True)
        (entry,) = loaded["known"].decide(loaded["model"].encode([text], show_progress_bar=False))
        loaded["conn"].execute("INSERT INTO other_results VALUES (%s, %s)", (position, entry))

    return app


def celery(inputs: dict[str, Any]) -> dict[str, Any]:
    """Measure a Celery task a question, with the model in two processes.

    Each task inserts a row into PostgreSQL.
    """
    import psycopg

    texts = inputs["questions"]
    command = [sys.executable, "-m", "celery", "-A", "_others:app", "worker"]
    command += ["-c", str(PROCESSES), "-O", "fair", "-l", "ERROR"]
    with psycopg.connect(os.environ["OTHERS_DATABASE"], autocommit=True) as conn:
        conn.execute("DROP TABLE IF EXISTS other_results")
        conn.execute("CREATE TABLE other_results (position int PRIMARY KEY, entry text)")
        worker = subprocess.Popen(command, stdout=sys.stderr)
        try:
            rate = _celery_rate(conn, texts)
        finally:
            worker.terminate()
            worker.wait()
        query = "SELECT entry FROM other_results WHERE position >= 0 ORDER BY position"
        return {"rate": rate, "entries": [row[0] for row in conn.execute(query)]}


def _celery_rate(conn: Any, texts: Sequence[str]) -> float:  # noqa: ANN401 - psycopg's
    """Return the questions/s from the first task sent to the last row."""
    app = celery_app()
    warm = 64  # tasks; after these, both processes have loaded their model
    for number in range(warm):
        app.send_task(TASK, (-1 - number, texts[number]))
    _wait_for_rows(conn, warm)
    started = time.perf_counter()
    for position, text in enumerate(texts):
        app.send_task(TASK, (position, text))
    _wait_for_rows(conn, warm + len(texts))
    return len(texts) / (time.perf_counter() - started)


def _wait_for_rows(conn: Any, count: int) -> None:  # noqa: ANN401 - psycopg's
    deadline = time.monotonic() + GIVE_UP_SECONDS
    while conn.execute("SELECT count(*) FROM other_results").fetchone()[0] < count:
        if time.monotonic() > deadline:
            sys.exit(f"Celery: fewer than {count} rows after {GIVE_UP_SECONDS} s")
        time.sleep(0.02)


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
