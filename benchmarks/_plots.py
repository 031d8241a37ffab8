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

OURS, THEIRS, WANTED = "#2f6db5", "#9aa5b1", "#c0392b"

_JOB = 128  # questions

Figures = dict[str, Any]


def end_to_end(found: Figures, axes: Any) -> None:  # noqa: ANN401 - matplotlib's
    """Bare loop compared with the whole job."""
    both = {name: one for name, one in found.items() if isinstance(one, dict)}
    places = range(len(both))
    bare = [one["bare_questions_per_second"] for one in both.values()]
    whole = [one["whole_questions_per_second"] for one in both.values()]
    axes.bar([at - 0.2 for at in places], bare, 0.4, color=THEIRS, label="bare loop")
    axes.bar([at + 0.2 for at in places], whole, 0.4, color=OURS, label="file to committed results")
    for at, one in enumerate(both.values()):
        axes.annotate(f"{one['ratio']:.2f}", (at + 0.2, whole[at]), ha="center", va="bottom")
    axes.set_xticks(places, [name.replace("_", " ") for name in both])
    axes.set_ylabel("questions/s")
    axes.legend()


def others(found: Figures, axes: Any) -> None:  # noqa: ANN401
    """Other ways to run the encoder."""
    rates = {name: one["questions_per_second"] for name, one in found["found"].items()}
    accuracy = {name: one["accuracy"] for name, one in found["found"].items()}
    told = {name: f"\naccuracy {one:.3f}" if one else "" for name, one in accuracy.items()}
    shown = {name + told[name]: rate for name, rate in rates.items()}
    _bars(shown, axes)
    axes.set_xlabel("questions/s")


def peers(found: Figures, axes: Any) -> None:  # noqa: ANN401
    """Other queues."""
    _bars(found["questions_per_second"], axes)
    axes.set_xscale("log")
    axes.set_xlabel("questions/s, a row of each in PostgreSQL")


def growth(found: Figures, axes: Any) -> None:  # noqa: ANN401
    """Milliseconds after so many finished questions."""
    for name, times in found["milliseconds"].items():
        axes.plot(found["sizes"], times, marker="o", label=name)
    axes.set_xscale("log")
    axes.set_yscale("log")
    axes.set_xlabel("finished questions in the tables")
    axes.set_ylabel("median, ms")
    axes.legend(loc="center left", bbox_to_anchor=(1, 0.5))


def scaling(found: Figures, axes: Any) -> None:  # noqa: ANN401
    """Replicas whose model only waits."""
    replicas = [int(name) for name in found["replicas"]]
    rates = [one["questions_per_second"] for one in found["replicas"].values()]
    most = [_JOB * count / found["pass_s"] for count in replicas]
    axes.plot(replicas, most, color=THEIRS, linestyle="--", label="what sleeping alone allows")
    axes.plot(replicas, rates, color=OURS, marker="o", label="file to committed results")
    axes.set_xscale("log", base=2)
    axes.set_yscale("log", base=2)
    axes.set_xticks(replicas, [str(n) for n in replicas])
    axes.set_yticks(most, [f"{rate:,.0f}" for rate in most])
    axes.set_xlabel("replicas")
    axes.set_ylabel("questions/s")
    axes.legend()


def latency(found: Figures, axes: Any) -> None:  # noqa: ANN401
    """One question, idle and after a backlog."""
    names = {"idle": "idle", "busy": f"after {found['backlog']:,}"}
    places = range(len(names))
    for shift, of, shade in ((-0.2, "p50", OURS), (0.2, "p99", THEIRS)):
        times = [found[f"{name}_{of}_ms"] for name in names]
        axes.bar([at + shift for at in places], times, 0.4, color=shade, label=of)
    wanted = {-0.2: (50, None), 0.2: (150, 1000)}
    for shift, times in wanted.items():
        for at, time in enumerate(times):
            if time is not None:
                axes.hlines(time, at + shift - 0.2, at + shift + 0.2, color=WANTED)
    axes.set_xticks(places, list(names.values()))
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
    """Draw them."""
    folder.mkdir(parents=True, exist_ok=True)
    read = [json.loads(line) for line in lines.read_text().splitlines() if line.startswith("{")]
    for found in {one["benchmark"]: one for one in read}.values():
        if found["benchmark"] not in PLOTS:
            continue
        title, draw = PLOTS[found["benchmark"]]
        figure, axes = plt.subplots(figsize=(8, 4.5), layout="constrained")
        draw(found, axes)
        figure.suptitle(title)
        axes.spines[["top", "right"]].set_visible(False)
        figure.savefig(folder / f"{found['benchmark']}.png", dpi=100)
        plt.close(figure)


if __name__ == "__main__":
    main(*map(Path, sys.argv[1:]))
