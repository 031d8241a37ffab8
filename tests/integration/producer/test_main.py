"""The command `python -m producer` as a separate process."""

from __future__ import annotations

import os
import signal
import subprocess
import sys

import pytest

pytestmark = pytest.mark.usefixtures("environment")

PRODUCER = [sys.executable, "-W", "error", "-m", "producer"]


def _run(*words, **values):
    return subprocess.run(
        [*PRODUCER, *map(str, words)], capture_output=True, text=True, check=False, **values
    )


def test_help_names_the_commands():
    done = _run("--help")
    assert done.returncode == 0
    for command in ("submit", "ask", "status", "results", "cancel", "retry"):
        assert f" {command} " in done.stdout
    assert done.stderr == ""


def test_a_file_and_standard_input_are_submitted(write, all_there_once):
    path = write("july.csv", 9)
    done = _run("submit", path, "--name", "file")
    expected = "batch 1 (file): 9 questions submitted\n"
    assert (done.returncode, done.stdout, done.stderr) == (0, expected, "")
    done = _run("submit", "-", "--name", "stdin", input=path.read_text())
    expected = "batch 2 (stdin): 9 questions submitted\n"
    assert (done.returncode, done.stdout, done.stderr) == (0, expected, "")
    for batch in (1, 2):
        all_there_once(batch, 9)


def test_ctrl_c_while_reading_ends_in_one_line(tmp_path, stored):
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    with subprocess.Popen([*PRODUCER, "submit", pipe], stderr=subprocess.PIPE) as process:
        writing = os.open(pipe, os.O_WRONLY)
        os.write(
            writing, b"x" * (1 << 20)
        )  # more than the pipe's buffer, so the write returns when it is read
        process.send_signal(signal.SIGINT)
        try:
            _, err = process.communicate(timeout=30)
        finally:
            process.kill()
            os.close(writing)
    assert process.returncode == 130
    hint = b"to start again, run the same command"
    assert err == b"answermill: interrupted, and nothing was stored; " + hint + b"\n"
    assert stored() == (0, 0, 0)


def test_a_closed_pipe_is_not_an_error(cli, write):
    cli("submit", write("july.csv", 9), "--name", "july")
    cli("cancel", "july")
    reading, writing = os.pipe()
    os.close(reading)
    done = subprocess.run(
        [*PRODUCER, "results", "july", "--format", "csv"],
        stdout=writing,
        stderr=subprocess.PIPE,
        check=False,
    )
    os.close(writing)
    assert (done.returncode, done.stderr) == (141, b"")


def test_no_command_loads_torch_or_a_worker(write):
    code = (
        "import sys; from core import console; from producer.cli.batches import app\n"
        "for words in (['submit', sys.argv[1]], ['ask', 'Why?', '--wait', '0s'], ['status', '1'],\n"
        "              ['cancel', '1'], ['results', '1'], ['retry', '2']):\n"
        "    assert console.run(app, words) == 0, words\n"
        "roots = {name.partition('.')[0] for name in sys.modules}\n"
        "assert not roots & {'torch', 'transformers', 'worker', 'stack', 'numpy', 'sklearn'}, roots"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, write("july.csv", 9)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stderr.count("Traceback")) == (0, 0), done.stderr
