"""Throughput compared with other queues on the same PostgreSQL.

Measures, one after the other on the same cores, Redis and PostgreSQL with fsync: each peer as its
users would write it, from the first task sent to the last row, with one task a question that
inserts one row and commits; and us, from the start of `submit` to the last committed result. No
model anywhere. Favors us: our workers commit a whole job at once, which is the purpose of jobs. Our
file is larger, as the start of `submit`, half a second of Python, is in our time and no start is in
theirs. Against us: we store each question too, with its key, state, lease and cursor.

    python benchmarks/peers.py [--questions 3000] [--ours 100000] [--rounds 3]

Needs `.venv-peers` and `.venv-peers-arq`, which `make bench-peers` creates.
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

import _mill
import queue_and_database as ours

from core.settings.settings import Settings

HERE = Path(__file__).parent
PEERS = {
    name: HERE.parent / (".venv-peers-arq" if name == "arq" else ".venv-peers") / "bin" / "python"
    for name in ("Celery", "RQ", "Dramatiq", "Huey", "arq", "Procrastinate")
}


def main() -> None:
    """Measure and report."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--questions", type=int, default=3_000)
    parser.add_argument("--ours", type=int, default=100_000)
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    if missing := {str(python) for python in PEERS.values() if not python.exists()}:
        names = ", ".join(sorted(missing))
        sys.exit(f"not found: {names}. Create them with `make bench-peers`")
    rates: dict[str, list[float]] = {name: [] for name in (*PEERS, "Answermill")}
    with tempfile.TemporaryDirectory() as folder, _mill.services() as settings:
        file = ours.write_questions(Path(folder) / "questions.csv", options.ours)
        for number in range(options.rounds):
            with _mill.workers(settings):
                result = ours.whole(settings, file, f"round-{number}", options.ours)
            rates["Answermill"].append(result.rate)
            for name in PEERS:
                rates[name].append(peer(settings, name, options.questions))
    report(options, {name: statistics.median(turns) for name, turns in rates.items()})


def peer(settings: Settings, name: str, count: int) -> float:
    """Return the questions/s of a peer, run in its own environment."""
    database = settings.database.replace("+psycopg", "")
    services = {"PEER_SOCKET": str(settings.redis_socket), "PEER_DATABASE": database}
    done = subprocess.run(
        [PEERS[name], "_peers.py", name, str(count)],
        cwd=HERE,
        env=os.environ | services | {"PYTHONPATH": str(HERE)},
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        sys.exit(done.stderr or done.stdout)
    return float(done.stdout)


def report(options: argparse.Namespace, rates: dict[str, float]) -> None:
    us = rates["Answermill"]
    rows = [[name, rate, us / rate] for name, rate in sorted(rates.items(), key=lambda x: -x[1])]
    title = f"{options.questions:,} questions, {options.ours:,} of ours; medians"
    _mill.print_table(title, ["queue", "questions/s", "ratio of ours to it"], rows)
    best = max(rate for name, rate in rates.items() if name != "Answermill")
    _mill.print_json(
        "peers",
        questions=options.questions,
        ours=options.ours,
        rounds=options.rounds,
        questions_per_second={name: round(rate) for name, rate in rates.items()},
        ratio_to_best=round(us / best, 1),
    )


if __name__ == "__main__":
    main()
