"""Passes shrink as memory runs short, under a real limit of a real process."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.fakes import FakeModel
from worker.inference import memory
from worker.inference.memory_budget import MemoryBudgetedModel
from worker.inference.passes import answer_texts
from worker.inference.protocol import PassBudget

ROOT = Path(__file__).parents[4]
MIB = 1 << 20
FULL = PassBudget(tokens=64, questions=8)


@pytest.mark.parametrize(
    ("available", "passes"),
    [(None, [8, 8]), (1 << 40, [8, 8]), (8 * 4 * 2 * 32 * 1024, [8, 8]), (0, [1] * 16)],
)
def test_a_pass_uses_half_of_the_available_memory_and_one_question_at_least(available, passes):
    model = FakeModel(budget=PassBudget(tokens=32, questions=8))
    texts = [f"{n:04}" for n in range(16)]
    answer_texts(MemoryBudgetedModel(model, lambda: available, every=0), texts)
    assert model.passes == passes


def test_passes_shrink_and_grow_within_one_job():
    # Before the second pass, memory is read twice: before and after free memory is released.
    readings = iter([1 << 40, 0, 0, 0, 0, 1 << 40])
    model = FakeModel(budget=FULL)
    texts = [f"{n:04}" for n in range(8 + 3 + 8)]
    answers = answer_texts(MemoryBudgetedModel(model, lambda: next(readings), every=0), texts)
    assert model.passes == [8, 1, 1, 1, 8]
    assert [answer.answer for answer in answers] == texts


def test_with_plenty_of_memory_one_reading_serves_several_passes():
    readings = []

    def available():
        readings.append(1)
        return 1 << 40

    model = FakeModel(budget=FULL)
    answer_texts(MemoryBudgetedModel(model, available, every=60), [f"{n:04}" for n in range(80)])
    assert model.passes == [8] * 10
    assert len(readings) == 1


class Hungry(FakeModel):
    """Runs out of memory if a pass has more than `most` questions."""

    def __init__(self, most: int, error: Exception) -> None:
        super().__init__(budget=FULL)
        self._most, self._error = most, error
        self.refused = 0

    def encode(self, tokens):
        if len(tokens) > self._most:
            self.refused += 1
            raise self._error
        return super().encode(tokens)


TORCH = RuntimeError(
    "[enforce fail at alloc_cpu.cpp:127] err == 0. DefaultCPUAllocator: can't allocate memory:"
    " you tried to allocate 4294967296 bytes."
)
ONNX = RuntimeError(
    "[ONNXRuntimeError] : 6 : RUNTIME_EXCEPTION : Failed to allocate memory for requested buffer"
)


@pytest.mark.parametrize("error", [MemoryError(), TORCH, ONNX])
def test_a_pass_out_of_memory_is_split_until_it_fits(error):
    model = Hungry(2, error)
    texts = [f"{n:04}" for n in range(8)]
    reported: list[int] = []
    answers = answer_texts(model, texts, reported.append)
    assert [answer.answer for answer in answers] == texts
    assert model.passes == [2, 2, 2, 2]
    assert reported == [8]  # few questions are decided together


def test_a_pass_size_out_of_memory_is_not_tried_again():
    model = Hungry(4, MemoryError())
    texts = [f"{n:04}" for n in range(24)]
    answers = answer_texts(MemoryBudgetedModel(model, lambda: 1 << 30, every=0), texts)
    assert [answer.answer for answer in answers] == texts
    assert model.refused == 1
    assert model.passes == [4] * 6


def test_a_question_without_enough_memory_fails():
    with pytest.raises(MemoryError):
        answer_texts(Hungry(0, MemoryError()), ["a", "b", "c"])


def test_another_error_splits_no_pass():
    model = Hungry(2, RuntimeError("the allocation of seats"))
    with pytest.raises(RuntimeError, match="seats"):
        answer_texts(model, [f"{n:04}" for n in range(8)])
    assert model.passes == []


def _limited(mebibytes: int, kind: str) -> dict[str, object]:
    command = [sys.executable, "-m", "tests.unit.worker.hungry", str(mebibytes), kind]
    done = subprocess.run(command, capture_output=True, check=False, cwd=ROOT, text=True)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


@pytest.mark.costly
@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_under_a_real_limit_passes_shrink_before_memory_runs_out():
    report = _limited(300, "sparing")
    assert report["right"]
    assert report["refused"] == 0
    assert 4 <= report["largest"] <= 300 // 8


@pytest.mark.costly
@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_without_a_budget_passes_run_out_of_memory_and_are_split():
    report = _limited(300, "plain")
    assert report["right"]
    assert report["refused"] > 0


def _files(root, **content):
    for name, text in content.items():
        file = root / name.replace("__", "/")
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)


def _proc(root, group):
    _files(
        root,
        proc__statm="2560 1280 0 0 0 0 0",
        proc__meminfo="MemTotal: 9 kB\nMemAvailable:  4096 kB\n",
    )
    (root / "proc/self").mkdir()
    (root / "proc/statm").rename(root / "proc/self/statm")
    (root / "proc/self/cgroup").write_text(group)


def test_the_lowest_of_machine_groups_and_limit_counts(tmp_path):
    _proc(tmp_path, "0::/mill/worker\n")
    assert memory.available_bytes(root=tmp_path) == 4 * MIB
    assert memory.available_bytes(root=tmp_path, replicas=4) == MIB
    top = tmp_path / "sys/fs/cgroup"
    for folder, limit in ((top / "mill/worker", "max"), (top / "mill", str(10 * MIB))):
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "memory.max").write_text(limit + "\n")
        (folder / "memory.current").write_text(f"{9 * MIB}\n")
        (folder / "memory.stat").write_text(f"anon 1\ninactive_file {MIB}\nactive_file 5\n")
    assert memory.available_bytes(root=tmp_path) == 2 * MIB
    resident = 1280 * memory.PAGE_BYTES
    assert memory.available_bytes(resident + 7, root=tmp_path) == 7
    assert memory.available_bytes(resident - 7, root=tmp_path) == 0


@pytest.mark.parametrize("group", ["4:memory:/docker/abc\n", "4:memory:/\n", ""])
def test_version_1_of_cgroups_is_read_in_a_container_too(group, tmp_path):
    _proc(tmp_path, group)
    top = tmp_path / "sys/fs/cgroup/memory"
    top.mkdir(parents=True)
    (top / "memory.limit_in_bytes").write_text(f"{3 * MIB}\n")
    (top / "memory.usage_in_bytes").write_text(f"{2 * MIB}\n")
    (top / "memory.stat").write_text("cache 4\n")
    assert memory.available_bytes(root=tmp_path) == MIB


def test_without_known_limits_passes_keep_their_size(tmp_path):
    assert memory.available_bytes(root=tmp_path) is None
    model = MemoryBudgetedModel(
        FakeModel(budget=FULL), lambda: memory.available_bytes(root=tmp_path)
    )
    assert model.budget == FULL
