"""Memory of each process, and of a worker compared with the bare engine.

Measures, after the same questions: the engine in a bare loop in one process, and a worker's parent
and child, once with one replica and once with two. A process counts with all of its memory, and
pages that processes share count once: proportional set size where the system reports it.

    python benchmarks/memory.py [--questions FILE.csv] [--knowledge KB.jsonl] [--models DIR]
        [--kinds "onnx int8" …]
"""

from __future__ import annotations

import tempfile
from pathlib import Path

import _mill
import _models
import psutil

JOB = 128
_MB = 1e6


def main() -> None:
    """Measure and report."""
    options = _models.parser().parse_args()
    texts = _models.read(options.questions)
    rows, figures = [], {}
    with _models.built(options) as home:
        for kind in options.kinds:
            bare = _models.in_own_process(__file__, kind, str(home), texts)
            (parent, child), two = (worker(home, kind, count, texts) for count in (1, 2))
            ratio, of_two = (parent + child) / bare, sum(two) / (2 * bare)
            rows.append([kind, bare, parent, child, f"{ratio:.2f}", f"{of_two:.2f}"])
            figures[kind.replace(" ", "_")] = {
                "bare_mb": round(bare, 1),
                "parent_mb": round(parent, 1),
                "child_mb": round(child, 1),
                "ratio": round(ratio, 3),
                "ratio_of_two": round(of_two, 3),
            }
    head = ["engine", "bare", "parent", "child", "ratio to bare", "two replicas to two bare"]
    _mill.print_table("Memory after the same questions, MB", head, rows)
    _mill.print_json("memory", questions=len(texts), **figures)


def bare_loop(kind: str, home: str, texts: list[str]) -> float:
    """Return the megabytes of a process that only runs the engine."""
    from worker.inference.passes import answer_texts

    model = _models.loaded(Path(home), kind, 0)
    for start in range(0, len(texts), JOB):
        answer_texts(model, texts[start : start + JOB])
    return megabytes(psutil.Process())


def worker(home: Path, kind: str, replicas: int, texts: list[str]) -> list[float]:
    """Return the megabytes of a worker's parent and of its children."""
    with tempfile.TemporaryDirectory() as folder, _mill.services() as settings:
        file = _models.write(Path(folder) / "questions.csv", texts)
        _models.register(settings, home)
        with _models.worker(settings, home, kind, replicas) as parent:
            _mill.await_results(settings, _models.submit(file), len(texts))
            return [megabytes(process) for process in (parent, *parent.children(recursive=True))]


def megabytes(process: psutil.Process) -> float:
    """Return the proportional set size, or the unique one."""
    memory = process.memory_full_info()
    return float(getattr(memory, "pss", memory.uss)) / _MB


if __name__ == "__main__":
    _models.run(main, bare_loop)
