"""How much faster are two, three and four replicas than one?

Measures, in turns on the same cores, from the start of `submit` to the last committed result:
one replica with one thread, one with a thread a core, and two with one thread each. The two
share the cores with Redis, the database and the producer, which one replica with one thread
leaves a core to: that is against us.

    python benchmarks/replicas.py [--questions FILE.csv] [--knowledge KB.jsonl] [--models DIR]
        [--kinds "onnx int8" …] [--database postgresql] [--repeat 8] [--rounds 3]
"""

from __future__ import annotations

import os
import statistics

import _mill
import _models

_FORMS = {
    "one replica, one thread": {"replicas": 1, "threads": 1},
    "one replica, a thread a core": {"replicas": 1, "threads": os.cpu_count() or 1},
    "two replicas, one thread each": {"replicas": 2, "threads": 1},
    "three": {"replicas": 3, "threads": 1},
    "four": {"replicas": 4, "threads": 1},
}


def main() -> None:
    """Measure and tell."""
    parser = _models.parser()
    parser.add_argument("--repeat", type=int, default=8)
    parser.add_argument("--database", choices=("sqlite", "postgresql"), default="postgresql")
    options = parser.parse_args()
    texts = _models.different(_models.read(options.questions), options.repeat)
    found: dict[str, list[list[float]]] = {kind: [] for kind in options.kinds}
    with _models.built(options) as home:
        for _ in range(options.rounds):
            for kind in options.kinds:
                found[kind].append(
                    [
                        _models.whole_job(options.database, home, kind, texts, **form)
                        for form in _FORMS.values()
                    ]
                )
    tell(len(texts), found)


def tell(count: int, found: dict[str, list[list[float]]]) -> None:
    rows: list[list[object]] = []
    figures: dict[str, dict[str, object]] = {}
    for kind, turns in found.items():
        for at, form in enumerate(_FORMS):
            median = statistics.median(turn[at] for turn in turns)
            ratio = statistics.median(turn[at] / turn[0] for turn in turns)
            rows.append([kind, form, median, f"{ratio:.2f}"])
            figures.setdefault(kind.replace(" ", "_"), {})[form] = {
                "questions_per_second": round(median, 1),
                "over_first": round(ratio, 3),
            }
    head = ["engine", "worker", "questions/s", "over the first"]
    _mill.tell(f"{count:,} questions, submit to last result, medians", head, rows)
    _mill.tell_json("replicas", questions=count, **figures)


if __name__ == "__main__":
    main()
