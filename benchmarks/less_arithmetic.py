"""Arithmetic that the cascade and the answer cache save.

Measures, in turns in one process, a built version over jobs of 128 questions: without its cascade,
with it, and also with a cache that already holds every question. Favors us: no queue and no
database. The row of the cache is its best case, in which every question is repeated. Without
repeated questions the cache saves nothing.

    python benchmarks/less_arithmetic.py [--model NAME] [--questions FILE.csv] [--rounds 3]

Without --model, the included sample is built. It is too small for a cascade.
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import _mill
import _models
from end_to_end import answered

from core.settings.load import load
from db.schema import prepare
from worker.inference.answer_cache import AnswerCache, CachedModel
from worker.inference.protocol import AnsweringModel
from worker.process.cpu_threads import set_thread_limits


def main() -> None:
    """Measure and report."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--model")
    parser.add_argument("--questions", type=Path, default=_models.SAMPLE / "questions.csv")
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    texts = list(dict.fromkeys(_models.read(options.questions)))
    if options.model:
        measure(options.model, texts, options.rounds)
        return
    with tempfile.TemporaryDirectory(prefix="am-", ignore_cleanup_errors=True) as home:
        os.environ["ANSWERMILL_HOME"] = home
        knowledge = str(_models.SAMPLE / "knowledge.jsonl")
        build = ["model", "build", "--name", "bench", "--knowledge", knowledge]
        subprocess.run([*_models.COMMAND, *build], check=True, stdout=subprocess.DEVNULL)
        measure("bench", texts, options.rounds)


def measure(name: str, texts: Sequence[str], rounds: int) -> None:
    settings, threads = load(), set_thread_limits()
    # The engine must be imported after its thread limits are set.
    from worker.model.registry import load_model

    model = load_model(settings, name, prepare(settings), threads)
    cached = CachedModel(model, AnswerCache(len(texts)))
    ways: dict[str, AnsweringModel] = {
        "without": replace(model, cascade=None),
        "cascade": model,
        "cascade_and_cache": cached,
    }
    answered(cached, texts)
    rates: dict[str, list[float]] = {way: [] for way in ways}
    for number in range(rounds):
        for way, variant in ways.items():
            rates[way].append(answered(variant, texts))
        print(f"round {number + 1} of {rounds}", file=sys.stderr)
    medians = {way: statistics.median(turns) for way, turns in rates.items()}
    direct = model.answer_without_encoder(list(texts))
    saved = sum(answer is not None for answer in direct) / len(texts)
    title = f"{len(texts)} different questions, {model.kind}, {saved:.1%} need no encoder pass"
    rows = [(way, rate, f"{rate / medians['without']:.2f}") for way, rate in medians.items()]
    _mill.print_table(title, ["way", "questions/s", "ratio to the first"], rows)
    figures = {f"{way}_questions_per_second": round(rate, 1) for way, rate in medians.items()}
    _mill.print_json(
        "less_arithmetic", questions=len(texts), without_pass=round(saved, 4), **figures
    )


if __name__ == "__main__":
    main()
