"""Speed of the whole job compared with other ways to run the encoder.

Measures, in turns on the same cores, the ways of `_others.py`, and us: from `submit` to the last
committed result, cascade off and on, no answer cache, all questions different, with `--layers` also
distilled. Reports each accuracy on the same questions. Theirs is a vote of ten phrasings.
Favors us: a warm worker, and int8 and distilling are ours alone. Against us: only Celery stores
anything, and only we start a process in the measured time.

    python benchmarks/others.py --questions LABELLED.csv --knowledge KB.jsonl [--models DIR]
        [--layers 3] [--kinds "onnx int8" …] [--ways Celery …] [--repeat 8] [--rounds 3]

Infinity needs `.venv-infinity`, which `make bench-others` creates.
"""

from __future__ import annotations

import argparse
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
class Measured:
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
    parser.add_argument(
        "--layers", help="measure also the encoder distilled to this number of layers"
    )
    options = parser.parse_args()
    os.environ["ANSWERMILL_ANSWER_CACHE"] = "0"
    if "Infinity" in options.ways and not INFINITY.exists():
        sys.exit(
            f"{INFINITY} was not found. Create it with `make bench-others`,"
            " or leave Infinity out with --ways"
        )
    label = labels(options.questions)
    texts = _models.different(list(label), options.repeat)
    report(len(texts), len(label), measure(options, label, texts))


def measure(
    options: argparse.Namespace, label: dict[str, str], texts: list[str]
) -> dict[str, Measured]:
    """Return the figures of every way, from all rounds."""
    expected = list(label.values()) * options.repeat
    measured: dict[str, Measured] = {}
    with ExitStack() as kept:
        homes = {
            name: kept.enter_context(_models.built(options, *how))
            for name, how in versions(options.layers).items()
        }
        folder = Path(kept.enter_context(tempfile.TemporaryDirectory()))
        inputs = write_inputs(folder, homes["cascade off"], list(label))
        for _ in range(options.rounds):
            for way in options.ways:
                note(measured, way, other(way, inputs), list(label.values()))
            for kind, (name, home) in product(options.kinds, homes.items()):
                rate, entries = _models.answered_job("postgresql", home, kind, texts)
                ours = {"rate": rate, "entries": entries}
                note(measured, f"Answermill, {kind}, {name}", ours, expected)
    return measured


def versions(layers: str | None) -> dict[str, list[str]]:
    """Return the build options of each of our versions."""
    ways = {"cascade off": ["--no-cascade"], "cascade on": []}
    if layers is None:
        return ways
    fewer = ["--layers", layers]
    return ways | {f"{layers} layers, {name}": [*fewer, *how] for name, how in ways.items()}


def labels(path: Path) -> dict[str, str]:
    """Return the entry that each question expects."""
    with path.open(encoding="utf-8", newline="") as file:
        return {row["question"]: row["expected"] for row in csv.DictReader(file) if row["expected"]}


def write_inputs(folder: Path, home: Path, texts: list[str]) -> Path:
    """Write the encoder, embeddings, entries and questions for the others."""
    from worker.model.bundle.bundle import open_bundle
    from worker.model.retrieval.knowledge_base import KnowledgeBase

    bundle = open_bundle(_models.bundle(home, "torch fp32"))
    known = KnowledgeBase.of(bundle.entries())
    inputs = {
        "encoder": str(bundle.encoder),
        "embeddings": str(bundle.path / "embeddings.npy"),
        "entries": [known.entries[number].id for number in known.entry_of],
        "questions": texts,
    }
    path = folder / "inputs.json"
    path.write_text(json.dumps(inputs))
    return path


def other(way: str, inputs: Path) -> dict[str, Any]:
    """Run one of the other ways and return its rate and entries."""
    python = INFINITY if way == "Infinity" else sys.executable
    environment = os.environ | {"HF_HUB_OFFLINE": "1", "OTHERS_INPUT": str(inputs)}
    environment["PYTHONPATH"] = str(HERE)
    if way != "Celery":
        return run(python, way, inputs, environment)
    with _mill.services() as settings:
        services = {
            "OTHERS_SOCKET": str(settings.redis_socket),
            "OTHERS_DATABASE": settings.database.replace("+psycopg", ""),
        }
        return run(python, way, inputs, environment | services)


def run(python: Path | str, way: str, inputs: Path, environment: dict[str, str]) -> dict[str, Any]:
    with inputs.open("rb") as file:
        done = subprocess.run(
            [python, "_others.py", way],
            cwd=HERE,
            env=environment,
            stdin=file,
            capture_output=True,
            check=False,
        )
    if done.returncode:
        sys.exit(f"{way}: {done.stderr.decode()}")
    result: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    print(way, result["rate"], result.get("batch"), file=sys.stderr)
    return result


def note(
    measured: dict[str, Measured], name: str, result: dict[str, Any], expected: list[str]
) -> None:
    """Add the result of one round to those of its way."""
    way = measured.setdefault(name, Measured())
    way.rates.append(result["rate"])
    way.batch = result.get("batch")
    pairs = list(zip(result["entries"], expected, strict=True))
    way.accuracy = sum(entry == right for entry, right in pairs) / len(pairs)


def report(count: int, theirs: int, measured: dict[str, Measured]) -> None:
    others = {name: way.rate for name, way in measured.items() if name in WAYS}
    head = ["way", "questions/s", "accuracy", "batch", *(f"ratio to {name}" for name in others)]
    rows = [
        [
            name,
            way.rate,
            f"{way.accuracy:.4f}",
            way.batch or "",
            *(f"{way.rate / rate:.2f}" for rate in others.values()),
        ]
        for name, way in measured.items()
    ]
    _mill.print_table(f"{count:,} questions of ours, {theirs:,} of theirs, medians", head, rows)
    figures = {
        name: {"questions_per_second": round(way.rate, 1), "accuracy": round(way.accuracy, 4)}
        for name, way in measured.items()
    }
    _mill.print_json("others", questions=count, theirs=theirs, found=figures)


if __name__ == "__main__":
    main()
