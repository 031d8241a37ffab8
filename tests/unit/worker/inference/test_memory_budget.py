"""Passes shrink as memory runs short, under a real limit of a real process."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.unit.worker.inference.test_passes import EchoModel
from worker.inference import memory
from worker.inference.memory_budget import MemoryBudgetedModel
from worker.inference.passes import answer_texts
from worker.inference.protocol import PassBudget

ROOT = Path(__file__).parents[4]
MIB = 1 << 20
FULL = PassBudget(tokens=64, questions=8)


@pytest.mark.parametrize(
    ("left", "passes"),
    [(None, [8, 8]), (1 << 40, [8, 8]), (8 * 4 * 2 * 32 * 1024, [8, 8]), (0, [1] * 16)],
)
def test_a_pass_takes_half_of_what_is_left_and_one_question_at_least(left, passes):
    model = EchoModel(PassBudget(tokens=32, questions=8))
    answer_texts(MemoryBudgetedModel(model, lambda: left, every=0), [f"{n:04}" for n in range(16)])
    assert model.passes == passes


def test_passes_shrink_and_grow_within_one_job():
    # The second pass looks twice: before and after it has given back what was free.
    left = iter([1 << 40, 0, 0, 0, 0, 1 << 40])
    model = EchoModel(FULL)
    texts = [f"{n:04}" for n in range(8 + 3 + 8)]
    answers = answer_texts(MemoryBudgetedModel(model, lambda: next(left), every=0), texts)
    assert model.passes == [8, 1, 1, 1, 8]
    assert [answer.answer for answer in answers] == texts


def test_while_there_is_plenty_nobody_looks_for_each_pass():
    looks = []

    def left():
        looks.append(1)
        return 1 << 40

    model = EchoModel(FULL)
    answer_texts(MemoryBudgetedModel(model, left, every=60), [f"{n:04}" for n in range(80)])
    assert model.passes == [8] * 10
    assert len(looks) == 1


class Hungry(EchoModel):
    """Needs memory for each question of a pass, and has little."""

    def __init__(self, most: int, error: Exception) -> None:
        super().__init__(FULL)
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
def test_a_pass_without_memory_is_halved_until_it_fits(error):
    model = Hungry(2, error)
    texts = [f"{n:04}" for n in range(8)]
    heard: list[int] = []
    answers = answer_texts(model, texts, heard.append)
    assert [answer.answer for answer in answers] == texts
    assert model.passes == [2, 2, 2, 2]
    assert heard == [8]  # decided together, as so few are


def test_what_is_refused_once_is_not_asked_for_again():
    model = Hungry(4, MemoryError())
    texts = [f"{n:04}" for n in range(24)]
    answers = answer_texts(MemoryBudgetedModel(model, lambda: 1 << 30, every=0), texts)
    assert [answer.answer for answer in answers] == texts
    assert model.refused == 1
    assert model.passes == [4] * 6


def test_a_question_that_has_no_memory_alone_fails():
    with pytest.raises(MemoryError):
        answer_texts(Hungry(0, MemoryError()), ["a", "b", "c"])


def test_another_error_halves_nothing():
    model = Hungry(2, RuntimeError("the allocation of seats"))
    with pytest.raises(RuntimeError, match="seats"):
        answer_texts(model, [f"{n:04}" for n in range(8)])
    assert model.passes == []


def _limited(mebibytes: int, kind: str) -> dict[str, object]:
    command = [sys.executable, "-m", "tests.unit.worker.hungry", str(mebibytes), kind]
    done = subprocess.run(command, capture_output=True, check=False, cwd=ROOT, text=True)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_under_a_real_limit_passes_are_small_before_anything_is_refused():
    found = _limited(300, "sparing")
    assert found["right"]
    assert found["refused"] == 0
    assert 4 <= found["largest"] <= 300 // 8


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_without_sparing_it_is_refused_and_halved():
    found = _limited(300, "plain")
    assert found["right"]
    assert found["refused"] > 0


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


def test_the_least_of_machine_groups_and_limit_counts(tmp_path):
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
    resident = 1280 * memory._PAGE
    assert memory.available_bytes(resident + 7, root=tmp_path) == 7
    assert memory.available_bytes(resident - 7, root=tmp_path) == 0


@pytest.mark.parametrize("group", ["4:memory:/docker/abc\n", "4:memory:/\n", ""])
def test_the_first_version_of_groups_is_read_too_also_in_a_container(group, tmp_path):
    _proc(tmp_path, group)
    top = tmp_path / "sys/fs/cgroup/memory"
    top.mkdir(parents=True)
    (top / "memory.limit_in_bytes").write_text(f"{3 * MIB}\n")
    (top / "memory.usage_in_bytes").write_text(f"{2 * MIB}\n")
    (top / "memory.stat").write_text("cache 4\n")
    assert memory.available_bytes(root=tmp_path) == MIB


def test_where_nothing_is_known_nothing_is_limited(tmp_path):
    assert memory.available_bytes(root=tmp_path) is None
    model = MemoryBudgetedModel(EchoModel(FULL), lambda: memory.available_bytes(root=tmp_path))
    assert model.budget == FULL
