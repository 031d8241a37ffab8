"""How much of the bare engine's speed is left between a submitted file and committed results?

Measures, in turns on the same cores: the engine in a bare loop, in one process, over jobs
of 128 questions; and the main job, from the start of `submit` to the last committed result,
with a worker that has loaded its model. Redis, the database, the producer and the worker
share the cores with each other. Favours us: the worker is warm, as it is in production.
Against us: the bare loop reads no file and stores nothing.

    python benchmarks/end_to_end.py [--questions FILE.csv] [--knowledge KB.jsonl] [--rounds 3]
"""

from __future__ import annotations

import argparse
import csv
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from importlib.resources import files
from pathlib import Path

SAMPLE = Path(str(files("stack"))) / "sample"
COMMAND = [sys.executable, "-m", "stack"]
JOB = 128


def main() -> None:
    """Measure and tell."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--questions", type=Path, default=SAMPLE / "questions.csv")
    parser.add_argument("--knowledge", type=Path, default=SAMPLE / "knowledge.jsonl")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--repeat", type=int, default=3)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="am-", ignore_cleanup_errors=True) as home:
        os.environ["ANSWERMILL_HOME"] = home
        os.environ["ANSWERMILL_FLOWER_PORT"] = "0"
        texts = different(read(options.questions), options.repeat)
        build = ["model", "build", "--name", "bench", "--knowledge", str(options.knowledge)]
        subprocess.run([*COMMAND, *build], check=True, stdout=subprocess.DEVNULL)
        bare, whole = measure(texts, options.rounds)
    tell(len(texts), bare, whole)


def read(path: Path) -> list[str]:
    with path.open(encoding="utf-8", newline="") as file:
        return [row["question"] for row in csv.DictReader(file)]


def different(texts: list[str], repeat: int) -> list[str]:
    """Repeat the texts with a number behind, so that no two are equal."""
    return [f"{text} {n}" if n else text for n in range(repeat) for text in dict.fromkeys(texts)]


def measure(texts: list[str], rounds: int) -> tuple[list[float], list[float]]:
    bare, whole = [], []
    for number in range(rounds):
        bare.append(in_own_process("bare", texts))
        whole.append(in_own_process(f"whole-{number}", texts))
        print(
            f"round {number + 1}: bare {bare[-1]:.1f}/s, whole {whole[-1]:.1f}/s", file=sys.stderr
        )
    return bare, whole


def in_own_process(what: str, texts: list[str]) -> float:
    done = subprocess.run(
        [sys.executable, __file__, "--one", what],
        input=json.dumps(texts),
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        sys.exit(done.stderr)
    return float(done.stdout.splitlines()[-1])


def bare_loop(texts: list[str]) -> float:
    """Return questions/s of the engine alone."""
    from db.config import load
    from db.session import prepare
    from worker.passes import answer_texts
    from worker.threads import limit

    settings, threads = load(), limit()
    from worker.model.registry import load_model  # torch comes after its settings

    model = load_model(settings, "bench", prepare(settings), threads)
    answer_texts(model, texts[:JOB])
    started = time.perf_counter()
    for start in range(0, len(texts), JOB):
        answer_texts(model, texts[start : start + JOB])
    return len(texts) / (time.perf_counter() - started)


def whole_job(name: str, texts: list[str]) -> float:
    """Return questions/s from the start of `submit` to the last committed result."""
    from db.config import load
    from stack.embedded import running

    settings = load()
    with tempfile.TemporaryDirectory() as folder, running(settings, 1, "bench"):
        file = Path(folder) / "questions.csv"
        with file.open("w", encoding="utf-8", newline="") as out:
            csv.writer(out).writerows([["question"], *([text] for text in texts)])
        ask = ["ask", "Is the worker warm?", "--wait", "120s"]
        subprocess.run([*COMMAND, *ask], check=True, stdout=subprocess.DEVNULL)
        started = time.perf_counter()
        submit = subprocess.run(
            [*COMMAND, "submit", str(file), "--name", name, "--json"],
            check=True,
            stdout=subprocess.PIPE,
        )
        await_end(settings, json.loads(submit.stdout)["batch"])
        return len(texts) / (time.perf_counter() - started)


def await_end(settings: object, batch: int) -> None:
    from db.session import open_engine
    from producer.status import standing

    engine = open_engine(settings)  # type: ignore[arg-type]
    while not standing(engine, str(batch)).finished:
        time.sleep(0.05)


def tell(count: int, bare: list[float], whole: list[float]) -> None:
    ratio = statistics.median(w / b for w, b in zip(whole, bare, strict=True))
    print(f"{count} questions, {len(bare)} rounds, medians")
    print(f"  bare loop                {statistics.median(bare):8.1f} questions/s")
    print(f"  submit to last result    {statistics.median(whole):8.1f} questions/s")
    print(f"  ratio                    {ratio:8.3f}")
    figures = {
        "benchmark": "end_to_end",
        "machine": f"{platform.machine()}, {os.cpu_count()} cores",
        "questions": count,
        "bare_questions_per_second": round(statistics.median(bare), 1),
        "whole_questions_per_second": round(statistics.median(whole), 1),
        "ratio": round(ratio, 3),
    }
    print(json.dumps(figures))


if __name__ == "__main__":
    if sys.argv[1:2] == ["--one"]:
        name, given = sys.argv[2], json.load(sys.stdin)
        print(bare_loop(given) if name == "bare" else whole_job(name, given))
    else:
        main()
