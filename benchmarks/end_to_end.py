"""Share of the bare engine's speed that is left in a whole job.

Measures, in turns on the same cores: the engine in a bare loop, in one process, over 128 or 512
questions at once, whichever is faster; and a whole job, from the start of `submit` to the last
committed result, with a worker that has loaded its model. Redis, the database, the producer and the
worker share the cores. Favors us: the worker is warm, as it is in production. Against us: the bare
loop reads no file and stores nothing.

    python benchmarks/end_to_end.py [--questions FILE.csv] [--knowledge KB.jsonl] [--models DIR]
        [--kinds "onnx int8" …] [--databases sqlite postgresql] [--repeat 8] [--rounds 3]
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import _mill
import _models

if TYPE_CHECKING:
    from worker.inference.protocol import AnsweringModel

JOB = 128
_AT_ONCE = (JOB, 512)


def main() -> None:
    """Measure and report."""
    parser = _models.parser()
    parser.add_argument("--repeat", type=int, default=8)
    both = ("sqlite", "postgresql")
    parser.add_argument("--databases", nargs="+", choices=both, default=both)
    options = parser.parse_args()
    texts = _models.different(_models.read(options.questions), options.repeat)
    found: dict[tuple[str, str], list[tuple[float, float]]] = {}
    with _models.built(options) as home:
        for _ in range(options.rounds):
            for kind in options.kinds:
                bare = _models.in_own_process(__file__, kind, str(home), texts)
                for database in options.databases:
                    whole = _models.whole_job(database, home, kind, texts)
                    found.setdefault((kind, database), []).append((bare, whole))
    report(len(texts), found)


def bare_loop(kind: str, home: str, texts: list[str]) -> float:
    """Return the questions/s of the engine alone, at its faster size."""
    from worker.inference.passes import answer_texts

    model = _models.loaded(Path(home), kind, 0)
    answer_texts(model, texts[:JOB])
    return max(answered(model, texts, at_once) for at_once in _AT_ONCE)


def answered(model: AnsweringModel, texts: Sequence[str], at_once: int = JOB) -> float:
    """Return the questions/s of a bare loop over `at_once` questions."""
    from worker.inference.passes import answer_texts

    started = time.perf_counter()
    for start in range(0, len(texts), at_once):
        answer_texts(model, texts[start : start + at_once])
    return len(texts) / (time.perf_counter() - started)


def report(count: int, found: dict[tuple[str, str], list[tuple[float, float]]]) -> None:
    rows, figures = [], {}
    for (kind, database), turns in found.items():
        bare, whole = (statistics.median(column) for column in zip(*turns, strict=True))
        ratio = statistics.median(whole / bare for bare, whole in turns)
        rows.append([kind, database, bare, whole, f"{ratio:.3f}"])
        figures[f"{kind} {database}".replace(" ", "_")] = {
            "bare_questions_per_second": round(bare, 1),
            "whole_questions_per_second": round(whole, 1),
            "ratio": round(ratio, 3),
        }
    head = ["engine", "database", "bare loop", "submit to last result", "ratio"]
    _mill.print_table(f"{count:,} questions, questions/s, medians", head, rows)
    _mill.print_json("end_to_end", questions=count, **figures)


if __name__ == "__main__":
    _models.run(main, bare_loop)
