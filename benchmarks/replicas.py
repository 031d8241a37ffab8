"""Speed-up of two, three and four replicas compared with one.

Measures, in turns on the same cores, from the start of `submit` to the last committed result: one
replica with one thread, one with a thread for each core, and two to four with one thread each.
Against us: several replicas share the cores with Redis, the database and the producer. One replica
with one thread leaves a core to these.

    python benchmarks/replicas.py [--questions FILE.csv] [--knowledge KB.jsonl] [--models DIR]
        [--kinds "onnx int8" …] [--database postgresql] [--repeat 8] [--rounds 3]
"""

from __future__ import annotations

import os
import statistics

import _mill
import _models

_SETUPS = {
    "one replica, one thread": {"replicas": 1, "threads": 1},
    "one replica, a thread a core": {"replicas": 1, "threads": os.cpu_count() or 1},
    "two replicas, one thread each": {"replicas": 2, "threads": 1},
    "three": {"replicas": 3, "threads": 1},
    "four": {"replicas": 4, "threads": 1},
}


def main() -> None:
    """Measure and report."""
    parser = _models.parser()
    parser.add_argument("--repeat", type=int, default=8)
    parser.add_argument("--database", choices=("sqlite", "postgresql"), default="postgresql")
    options = parser.parse_args()
    texts = _models.different(_models.read(options.questions), options.repeat)
    turns_by_kind: dict[str, list[list[float]]] = {kind: [] for kind in options.kinds}
    with _models.built(options) as home:
        for _ in range(options.rounds):
            for kind in options.kinds:
                turns_by_kind[kind].append(
                    [
                        _models.whole_job(options.database, home, kind, texts, **setup)
                        for setup in _SETUPS.values()
                    ]
                )
    report(len(texts), turns_by_kind)


def report(count: int, turns_by_kind: dict[str, list[list[float]]]) -> None:
    rows: list[list[object]] = []
    figures: dict[str, dict[str, object]] = {}
    for kind, turns in turns_by_kind.items():
        for number, setup in enumerate(_SETUPS):
            median = statistics.median(turn[number] for turn in turns)
            ratio = statistics.median(turn[number] / turn[0] for turn in turns)
            rows.append([kind, setup, median, f"{ratio:.2f}"])
            figures.setdefault(kind.replace(" ", "_"), {})[setup] = {
                "questions_per_second": round(median, 1),
                "over_first": round(ratio, 3),
            }
    head = ["engine", "worker", "questions/s", "ratio to the first"]
    _mill.print_table(f"{count:,} questions, submit to last result, medians", head, rows)
    _mill.print_json("replicas", questions=count, **figures)


if __name__ == "__main__":
    main()
