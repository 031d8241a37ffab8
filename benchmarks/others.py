"""Speed of the whole job compared with other ways to run the encoder.

Measures, in turns on the same cores: sentence-transformers' `encode` at its best batch size;
Infinity in-process at its best; naive batches of 32 in the file's order, padded to the longest;
a Celery task a question, the model in two worker processes, a row a question in PostgreSQL; and
us, from the start of `submit` to the last committed result, the cascade off and on, the
answer cache off, no two questions equal; with `--layers` once more with the encoder distilled to
so many. Next to it, the accuracy of each, on the same questions. Theirs is a vote of the ten
nearest phrasings. Favors us: our worker is warm, and int8 and distilling are ours alone. Against
us: only Celery stores anything, and only we start a process in the time.

    python benchmarks/others.py --questions LABELLED.csv --knowledge KB.jsonl [--models DIR]
        [--layers 3] [--kinds "onnx int8" …] [--ways Celery …] [--repeat 8] [--rounds 3]

Infinity needs the environment `.venv-infinity`: `make bench-others` makes it.
"""

from __future__ import annotations

import csv
import json
import os
import statistics
import subprocess
import sys
import tempfile
from contextlib import ExitStack
from dataclasses import dataclass, field
from itertools import product
from pathlib import Path
from typing import Any

import _mill
import _models

HERE = Path(__file__).parent
INFINITY = HERE.parent / ".venv-infinity" / "bin" / "python"
WAYS = ("sentence-transformers", "Infinity", "padded", "Celery")


@dataclass
class Found:
    """Accuracy, batch size and rates of one way."""

    accuracy: float = 0.0
    batch: int | None = None
    rates: list[float] = field(default_factory=list)

    @property
    def rate(self) -> float:
        """Questions a second."""
        return statistics.median(self.rates)


def main() -> None:
    """Measure and report."""
    parser = _models.parser()
    parser.add_argument("--repeat", type=int, default=8)
    parser.add_argument("--ways", nargs="*", choices=WAYS, default=WAYS)
    parser.add_argument("--layers", help="also with the encoder distilled to so many")
    options = parser.parse_args()
    os.environ["ANSWERMILL_ANSWER_CACHE"] = "0"
    if "Infinity" in options.ways and not INFINITY.exists():
        sys.exit(f"not there: {INFINITY}; `make bench-others` makes it, or leave it out by --ways")
    label = labels(options.questions)
    texts = _models.different(list(label), options.repeat)
    expected = list(label.values()) * options.repeat
    found: dict[str, Found] = {}
    with ExitStack() as kept:
        homes = {
            name: kept.enter_context(_models.built(options, *how))
            for name, how in versions(options.layers).items()
        }
        folder = Path(kept.enter_context(tempfile.TemporaryDirectory()))
        told = tell_others(folder, homes["cascade off"], list(label))
        for _ in range(options.rounds):
            for way in options.ways:
                note(found, way, other(way, told), list(label.values()))
            for kind, (name, home) in product(options.kinds, homes.items()):
                rate, entries = _models.answered_job("postgresql", home, kind, texts)
                ours = {"rate": rate, "entries": entries}
                note(found, f"Answermill, {kind}, {name}", ours, expected)
    tell(len(texts), len(label), found)


def versions(layers: str | None) -> dict[str, list[str]]:
    """Return how each of our versions is built."""
    made = {"cascade off": ["--no-cascade"], "cascade on": []}
    if layers is None:
        return made
    fewer = ["--layers", layers]
    return made | {f"{layers} layers, {name}": [*fewer, *how] for name, how in made.items()}


def labels(path: Path) -> dict[str, str]:
    """Return the entry that each question expects."""
    with path.open(encoding="utf-8", newline="") as file:
        return {row["question"]: row["expected"] for row in csv.DictReader(file) if row["expected"]}


def tell_others(folder: Path, home: Path, texts: list[str]) -> Path:
    """Write the input of the others to a file.

    It holds the encoder, embeddings, entries and questions.
    """
    from worker.model.bundle.bundle import open_bundle
    from worker.model.retrieval.knowledge_base import KnowledgeBase

    bundle = open_bundle(_models.bundle(home, "torch fp32"))
    known = KnowledgeBase.of(bundle.entries())
    told = {
        "encoder": str(bundle.encoder),
        "embeddings": str(bundle.path / "embeddings.npy"),
        "entries": [known.entries[place].id for place in known.entry_of],
        "questions": texts,
    }
    path = folder / "told.json"
    path.write_text(json.dumps(told))
    return path


def other(way: str, told: Path) -> dict[str, Any]:
    """Run one of the others."""
    python = INFINITY if way == "Infinity" else sys.executable
    environment = os.environ | {"HF_HUB_OFFLINE": "1", "OTHERS_TOLD": str(told)}
    environment["PYTHONPATH"] = str(HERE)
    if way != "Celery":
        return run(python, way, told, environment)
    with _mill.surroundings() as settings:
        places = {
            "OTHERS_SOCKET": str(settings.redis_socket),
            "OTHERS_DATABASE": settings.database.replace("+psycopg", ""),
        }
        return run(python, way, told, environment | places)


def run(python: Path | str, way: str, told: Path, environment: dict[str, str]) -> dict[str, Any]:
    with told.open("rb") as given:
        done = subprocess.run(
            [python, "_others.py", way],
            cwd=HERE,
            env=environment,
            stdin=given,
            capture_output=True,
            check=False,
        )
    if done.returncode:
        sys.exit(f"{way}: {done.stderr.decode()}")
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    print(way, found["rate"], found.get("batch"), file=sys.stderr)
    return found


def note(found: dict[str, Found], name: str, one: dict[str, Any], expected: list[str]) -> None:
    mine = found.setdefault(name, Found())
    mine.rates.append(one["rate"])
    mine.batch = one.get("batch")
    pairs = list(zip(one["entries"], expected, strict=True))
    mine.accuracy = sum(got == wanted for got, wanted in pairs) / len(pairs)


def tell(count: int, theirs: int, found: dict[str, Found]) -> None:
    others = {name: one.rate for name, one in found.items() if name in WAYS}
    head = ["", "questions/s", "accuracy", "batch", *(f"over {name}" for name in others)]
    rows = [
        [
            name,
            one.rate,
            f"{one.accuracy:.4f}",
            one.batch or "",
            *(f"{one.rate / rate:.2f}" for rate in others.values()),
        ]
        for name, one in found.items()
    ]
    _mill.tell(f"{count:,} questions of ours, {theirs:,} of theirs, medians", head, rows)
    figures = {
        name: {"questions_per_second": round(one.rate, 1), "accuracy": round(one.accuracy, 4)}
        for name, one in found.items()
    }
    _mill.tell_json("others", questions=count, theirs=theirs, found=figures)


if __name__ == "__main__":
    main()
