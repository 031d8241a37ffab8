"""Time from a worker's start to its first committed answer.

Measures, on an otherwise idle system, from the start of the process `answermill worker` to a row in
the results, of a question that waits in the queue. Reports also the processor time of parent and
child until then, which a busy machine stretches less. Favors us: the model's files are in the page
cache after the first round, as they are when a worker is restarted.

    python benchmarks/start.py [--questions FILE.csv] [--knowledge KB.jsonl] [--models DIR]
        [--kinds "onnx int8" …]
"""

from __future__ import annotations

import statistics
import sys
import tempfile
import time
from pathlib import Path

import _mill
import _models
import psutil

from db.engine import open_engine
from producer.batches.status import batch_status


def main() -> None:
    """Measure and report."""
    options = _models.parser().parse_args()
    texts = _models.read(options.questions)[: options.rounds]
    turns_by_kind: dict[str, list[tuple[float, float]]] = {kind: [] for kind in options.kinds}
    with _models.built(options) as home:
        for text in texts:
            for kind in options.kinds:
                turns_by_kind[kind].append(start(home, kind, text))
    report(turns_by_kind)


def start(home: Path, kind: str, text: str) -> tuple[float, float]:
    """Return the seconds to the first answer, and the processor seconds."""
    with tempfile.TemporaryDirectory() as folder, _mill.services() as settings:
        _models.register(settings, home)
        batch = _models.submit(_models.write(Path(folder) / "question.csv", [text]))
        with (Path(folder) / "worker.log").open("wb") as log:
            started = time.perf_counter()
            process = _models.start_worker(home, kind, log)
        try:
            engine = open_engine(settings)
            _mill.wait(
                lambda: process.poll() is None and batch_status(engine, str(batch)).finished,
                (Path(folder) / "worker.log").read_text,
            )
            seconds = time.perf_counter() - started
            parent = psutil.Process(process.pid)
            processor = sum(map(processor_seconds, (parent, *parent.children(recursive=True))))
            print(f"{kind}: {seconds:.2f} s, {processor:.2f} s of the processor", file=sys.stderr)
            return seconds, processor
        finally:
            process.terminate()
            process.wait()


def processor_seconds(process: psutil.Process) -> float:
    times = process.cpu_times()
    return float(times.user + times.system)


def report(turns_by_kind: dict[str, list[tuple[float, float]]]) -> None:
    rows, figures = [], {}
    for kind, turns in turns_by_kind.items():
        seconds, processor = (list(column) for column in zip(*turns, strict=True))
        rows.append(
            [kind, *(f"{statistics.median(column):.2f}" for column in (seconds, processor))]
        )
        rows[-1].append(f"{max(seconds):.2f}")
        figures[f"{kind.replace(' ', '_')}_seconds"] = round(statistics.median(seconds), 2)
    head = ["engine", "seconds, median", "processor seconds, median", "longest"]
    _mill.print_table("From a worker's start to the first committed answer", head, rows)
    _mill.print_json("start", **figures)


if __name__ == "__main__":
    main()
