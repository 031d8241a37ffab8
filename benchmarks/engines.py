"""Speed of the model alone on each engine, and its share of the peak.

Measures in turns, each in a process of its own with all cores: the largest rate of fp32
multiplication by BLAS, with square matrices and a thread for each core; and, for each engine and
precision, the questions/s of the encoder alone and of whole answers, in jobs of 128 questions.
An encoder's arithmetic is that of its real tokens: the weights and attention. Padding,
normalization and softmax do not count. The share of the peak is by the clock and by processor
time, which neighbors on the machine hardly change, but which leaves out the waits of threads.
Favors us: the tokens are ready. Against us: square matrices are the most regular work.

    python benchmarks/engines.py [--questions FILE.csv] [--knowledge KB.jsonl] [--models DIR]
        [--kinds "onnx int8" …]
"""

from __future__ import annotations

import json
import statistics
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

import _mill
import _models

JOB = 128
_SIZES = (384, 768, 1536)  # of the square matrices
_FLOPS = 5e9  # half of the operations of each size and thread


def main() -> None:
    """Measure and report."""
    options = _models.parser().parse_args()
    texts = list(dict.fromkeys(_models.read(options.questions)))
    turns: list[dict[str, Any]] = []
    with _models.built(options) as home:
        for _ in range(options.rounds):
            turn = {
                kind: _models.in_own_process(__file__, kind, str(home), texts)
                for kind in options.kinds
            }
            turns.append({"peak": _models.in_own_process(__file__, "peak", "", []), **turn})
    report(len(texts), turns)


def alone(part: str, home: str, texts: list[str]) -> object:
    return peak() if part == "peak" else rates(part, Path(home), texts)


def peak() -> dict[str, float]:
    """Return the FLOP/s of all cores with the fastest library and size."""
    from worker.process.cpu_threads import set_thread_limits

    threads = set_thread_limits()
    import numpy as np
    import torch

    torch.set_num_threads(1)
    best = {"flops": 0.0, "flops_of_processor": 0.0}
    for size in _SIZES:
        by_numpy = [np.ones((size, size), np.float32) for _ in range(2)]
        by_torch = [torch.ones((size, size)) for _ in range(2)]
        work = 2 * size**3 * threads * round(_FLOPS / size**3)
        for multiply in (lambda a=by_numpy: a[0] @ a[1], lambda a=by_torch: a[0] @ a[1]):
            seconds, processor = timed(partial(_at_once, multiply, threads, size))
            best["flops"] = max(best["flops"], work / seconds)
            best["flops_of_processor"] = max(best["flops_of_processor"], work / processor)
    return best


def _at_once(multiply: Callable[[], object], threads: int, size: int) -> None:
    def turn(_: int) -> None:
        for _ in range(round(_FLOPS / size**3)):
            multiply()

    with ThreadPoolExecutor(threads) as pool:
        list(pool.map(turn, range(threads)))


def rates(kind: str, home: Path, texts: list[str]) -> dict[str, float]:
    """Return the questions/s, and the FLOP/s of the encoder."""
    from worker.inference.passes import answer_texts, form_passes

    model = _models.loaded(home, kind, 0)
    tokens = model.tokenize(texts)
    jobs = [range(at, min(at + JOB, len(texts))) for at in range(0, len(texts), JOB)]
    passes = [
        [tokens[job[i]] for i in members]
        for job in jobs
        for members in form_passes([len(tokens[i]) for i in job], model.budget)
    ]

    def encode() -> None:
        for tokens_of_pass in passes:
            model.encode(tokens_of_pass)

    def answer() -> None:
        for job in jobs:
            answer_texts(model, [texts[i] for i in job])

    (seconds, processor), (whole, _) = timed(encode), timed(answer)
    work = sum(flops(home, length) for length in map(len, tokens))
    return {
        "encoder": len(texts) / seconds,
        "whole": len(texts) / whole,
        "flops": work / seconds,
        "flops_of_processor": work / processor,
        "tokens": sum(map(len, tokens)) / len(tokens),
        "pass": model.budget.questions,
    }


def timed(work: Callable[[], None]) -> tuple[float, float]:
    """Return the seconds of the clock and of the processor.

    Processor seconds are the sum over all threads.
    """
    work()
    started, worked = time.perf_counter(), time.process_time()
    work()
    return time.perf_counter() - started, time.process_time() - worked


def flops(home: Path, tokens: int) -> float:
    """Return the operations of one question in a transformer like BERT."""
    config = json.loads(next((home / "models").glob("*/*/encoder/config.json")).read_bytes())
    size, inner = config["hidden_size"], config["intermediate_size"]
    weights = 4 * size * size + 2 * size * inner
    layer = 2 * weights * tokens + 2 * 2 * size * tokens * tokens
    return float(config["num_hidden_layers"] * layer)


def report(count: int, turns: list[dict[str, Any]]) -> None:
    rows, figures = [], {}
    kinds = [name for name in turns[0] if name != "peak"]
    for kind in kinds:
        encoder, whole = (
            statistics.median(turn[kind][rate] for turn in turns) for rate in ("encoder", "whole")
        )
        ratio, of_processor = (
            statistics.median(turn[kind][rate] / turn["peak"][rate] for turn in turns)
            for rate in ("flops", "flops_of_processor")
        )
        sizes = turns[0][kind]["pass"]
        rows.append([kind, encoder, whole, sizes, f"{ratio:.2f}", f"{of_processor:.2f}"])
        name = kind.replace(" ", "_")
        figures |= {f"{name}_encoder": round(encoder, 1), f"{name}_whole": round(whole, 1)}
        figures[f"{name}_of_peak"] = round(ratio, 3)
        figures[f"{name}_of_peak_by_processor_time"] = round(of_processor, 3)
    gflops = statistics.median(turn["peak"]["flops"] for turn in turns) / 1e9
    mean = turns[0][kinds[0]]["tokens"]
    title = f"{count:,} questions of {mean:.1f} tokens, fp32 peak {gflops:.0f} GFLOP/s, questions/s"
    # "by processor" leaves out the time that neighbors took on the cores.
    head = ["engine", "encoder alone", "whole answers", "pass size", "of the peak", "by processor"]
    _mill.print_table(title, head, rows)
    figures |= {"questions": count, "tokens": round(mean, 1), "peak_gflops": round(gflops, 1)}
    _mill.print_json("engines", **figures)


if __name__ == "__main__":
    _models.run(main, alone)
