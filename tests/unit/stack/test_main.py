"""`answermill` finds each command's owner and imports no other."""

from __future__ import annotations

import subprocess
import sys

import pytest

from stack import main

EVERY_COMMAND = [
    "demo",
    "up",
    "submit",
    "ask",
    "status",
    "results",
    "cancel",
    "retry",
    "keys",
    "web",
    "webhooks",
    "metrics",
    "worker",
    "model",
    "db",
    "check",
]


def test_the_contracts_commands_are_all_there(capsys):
    assert main.main(["--help"]) == 0
    output = capsys.readouterr().out
    for command in EVERY_COMMAND:
        assert f" {command} " in output
    assert set(main.OWNERS) == set(EVERY_COMMAND)


@pytest.mark.parametrize("command", EVERY_COMMAND)
def test_every_command_has_help(command, capsys):
    assert main.main([command, "--help"]) == 0
    assert "Usage:" in capsys.readouterr().out


def test_no_command_but_the_workers_needs_a_model():
    code = (
        "import sys; from stack.main import main\n"
        "for command in ('submit', 'status', 'results', 'ask', 'up', 'demo', 'check'):\n"
        "    main([command, '--help'])\n"
        "heavy = {'torch', 'transformers', 'numpy', 'sklearn', 'worker'} & set(sys.modules)\n"
        "sys.exit(str(heavy) if heavy else 0)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_a_missing_extra_is_named(monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "worker.lifecycle.cli.model", None)

    def gone(name):
        raise ModuleNotFoundError(name=f"torch.{name}")

    monkeypatch.setattr(main, "import_module", gone)
    assert main.main(["worker"]) == 2
    output = capsys.readouterr().err
    assert output == (
        "answermill: this command needs the package torch: pip install 'answermill[worker]'\n"
    )


def test_a_module_of_ours_that_is_missing_is_our_bug(monkeypatch, capsys):
    def gone(name):
        raise ModuleNotFoundError(name=name)

    monkeypatch.setattr(main, "import_module", gone)
    assert main.main(["worker"]) == 1
    assert "Traceback" in capsys.readouterr().err


@pytest.mark.parametrize(
    "words", [["frobnicate"], ["submit"], ["status", "--frobnicate"], ["up", "--workers", "0"]]
)
def test_a_mistake_is_reported_in_one_line(words, capsys):
    assert main.main(words) == 2
    output = capsys.readouterr()
    assert (output.out, len(output.err.splitlines())) == ("", 1)


def test_the_version(capsys):
    assert main.main(["--version"]) == 0
    assert capsys.readouterr().out.count(".") == 2


def test_web_says_which_extra_it_needs(monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "gunicorn.app.base", None)
    monkeypatch.delitem(sys.modules, "producer.web.server", raising=False)
    assert main.main(["web"]) == 2
    assert "package gunicorn: pip install 'answermill[web]'" in capsys.readouterr().err
