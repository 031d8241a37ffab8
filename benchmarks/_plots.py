"""Draw the plots of docs/plots from the JSON lines of the benchmarks.

A benchmark without a line in the file gets no plot; of several lines the last one counts.

    python benchmarks/_plots.py LINES.jsonl FOLDER
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import matplotlib as mpl

mpl.use("Agg")
from matplotlib import pyplot as plt

OURS, THEIRS, TARGET = "#2f6db5", "#9aa5b1", "#c0392b"

_JOB = 128  # questions

Figures = dict[str, Any]


def end_to_end(figures: Figures, axes: Any) -> None:  # noqa: ANN401 - matplotlib's
    """Draw the bare loop next to the whole job."""
    both = {name: run for name, run in figures.items() if isinstance(run, dict)}
    indexes = range(len(both))
    bare = [run["bare_questions_per_second"] for run in both.values()]
    whole = [run["whole_questions_per_second"] for run in both.values()]
    axes.bar([at - 0.2 for at in indexes], bare, 0.4, color=THEIRS, label="bare loop")
    axes.bar(
        [at + 0.2 for at in indexes], whole, 0.4, color=OURS, label="file to committed results"
    )
    for at, run in enumerate(both.values()):
        axes.annotate(f"{run['ratio']:.2f}", (at + 0.2, whole[at]), ha="center", va="bottom")
    axes.set_xticks(indexes, [name.replace("_", " ") for name in both])
    axes.set_ylabel("questions/s")
    axes.legend()


def others(figures: Figures, axes: Any) -> None:  # noqa: ANN401
    """Draw the rates of other ways to run the encoder."""
    rates = {name: run["questions_per_second"] for name, run in figures["found"].items()}
    accuracy = {name: run["accuracy"] for name, run in figures["found"].items()}
    notes = {name: f"\naccuracy {value:.3f}" if value else "" for name, value in accuracy.items()}
    _bars({name + notes[name]: rate for name, rate in rates.items()}, axes)
    axes.set_xlabel("questions/s")


def peers(figures: Figures, axes: Any) -> None:  # noqa: ANN401
    """Draw the rates of other queues."""
    _bars(figures["questions_per_second"], axes)
    axes.set_xscale("log")
    axes.set_xlabel("questions/s, a row of each in PostgreSQL")


def growth(figures: Figures, axes: Any) -> None:  # noqa: ANN401
    """Draw the milliseconds by the number of finished questions."""
    for name, times in figures["milliseconds"].items():
        axes.plot(figures["sizes"], times, marker="o", label=name)
    axes.set_xscale("log")
    axes.set_yscale("log")
    axes.set_xlabel("finished questions in the tables")
    axes.set_ylabel("median, ms")
    axes.legend(loc="center left", bbox_to_anchor=(1, 0.5))


def scaling(figures: Figures, axes: Any) -> None:  # noqa: ANN401
    """Draw the rate of replicas whose model only sleeps."""
    replicas = [int(name) for name in figures["replicas"]]
    rates = [run["questions_per_second"] for run in figures["replicas"].values()]
    most = [_JOB * count / figures["pass_s"] for count in replicas]
    axes.plot(replicas, most, color=THEIRS, linestyle="--", label="limit set by the sleep")
    axes.plot(replicas, rates, color=OURS, marker="o", label="file to committed results")
    axes.set_xscale("log", base=2)
    axes.set_yscale("log", base=2)
    axes.set_xticks(replicas, [str(n) for n in replicas])
    axes.set_yticks(most, [f"{rate:,.0f}" for rate in most])
    axes.set_xlabel("replicas")
    axes.set_ylabel("questions/s")
    axes.legend()


def latency(figures: Figures, axes: Any) -> None:  # noqa: ANN401
    """Draw the latency of one question, idle and after a backlog."""
    names = {"idle": "idle", "busy": f"after {figures['backlog']:,}"}
    indexes = range(len(names))
    for shift, of, shade in ((-0.2, "p50", OURS), (0.2, "p99", THEIRS)):
        times = [figures[f"{name}_{of}_ms"] for name in names]
        axes.bar([at + shift for at in indexes], times, 0.4, color=shade, label=of)
    targets = {-0.2: (50, None), 0.2: (150, 1000)}  # ms, idle and busy
    for shift, times in targets.items():
        for at, time in enumerate(times):
            if time is not None:
                axes.hlines(time, at + shift - 0.2, at + shift + 0.2, color=TARGET)
    axes.set_xticks(indexes, list(names.values()))
    axes.set_ylabel("ms; red: target")
    axes.legend(loc="upper left")


def _bars(rates: dict[str, float], axes: Any) -> None:  # noqa: ANN401
    rates = dict(sorted(rates.items(), key=lambda pair: pair[1]))
    shades = [OURS if name.startswith("Answermill") else THEIRS for name in rates]
    bars = axes.barh(list(rates), list(rates.values()), color=shades)
    axes.bar_label(bars, [f" {rate:,.0f}" for rate in rates.values()])
    axes.margins(x=0.15)


PLOTS: dict[str, tuple[str, Callable[[Figures, Any], None]]] = {
    "end_to_end": ("The whole job compared with the bare engine", end_to_end),
    "others": ("The whole job compared with other ways to run the same encoder", others),
    "peers": ("Queue and database compared with other queues", peers),
    "growth": ("Growth", growth),
    "scaling": ("Replicas whose model sleeps 0.5 s a job", scaling),
    "latency": ("One interactive question", latency),
}


def main(lines: Path, folder: Path) -> None:
    """Draw a plot for each benchmark that has a line and a plot."""
    folder.mkdir(parents=True, exist_ok=True)
    printed = [json.loads(line) for line in lines.read_text().splitlines() if line.startswith("{")]
    for figures in {line["benchmark"]: line for line in printed}.values():
        if figures["benchmark"] not in PLOTS:
            continue
        title, draw = PLOTS[figures["benchmark"]]
        figure, axes = plt.subplots(figsize=(8, 4.5), layout="constrained")
        draw(figures, axes)
        figure.suptitle(title)
        axes.spines[["top", "right"]].set_visible(False)
        figure.savefig(folder / f"{figures['benchmark']}.png", dpi=100)
        plt.close(figure)


if __name__ == "__main__":
    main(*map(Path, sys.argv[1:]))
