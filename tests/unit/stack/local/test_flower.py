from __future__ import annotations

import os
import socket
import subprocess
import sys

import pytest

from core.errors import SettingsInvalid
from core.settings.settings import Settings
from stack.local import flower


@pytest.fixture(autouse=True)
def _environment(monkeypatch: pytest.MonkeyPatch):
    # Set first, so that what the guard sets is undone, too.
    monkeypatch.setenv("FLOWER_BASIC_AUTH", "")
    monkeypatch.delenv("FLOWER_BASIC_AUTH")


def test_beyond_loopback_it_serves_nobody_without_a_password():
    with pytest.raises(SettingsInvalid, match="only with a password"):
        flower.guard(Settings(), "0.0.0.0")  # noqa: S104 - refused


@pytest.mark.parametrize("address", ["127.0.0.1", "::1"])
def test_on_loopback_it_asks_for_none(address: str):
    flower.guard(Settings(), address)
    assert "FLOWER_BASIC_AUTH" not in os.environ


def test_the_password_is_not_on_the_command_line():
    flower.guard(Settings(flower_auth="me:hush"), "0.0.0.0")  # noqa: S104 - guarded
    assert os.environ["FLOWER_BASIC_AUTH"] == "me:hush"
    words = flower.arguments("0.0.0.0", "5555", "/seen")  # noqa: S104 - guarded
    assert not any("hush" in word for word in words)
    assert {"--read-only=True", "--persistent=True", "--db=/seen/flower"} <= set(words)


def test_an_invalid_address_is_reported():
    with pytest.raises(SettingsInvalid, match="nowhere"):
        flower.guard(Settings(), "nowhere")


def test_a_port_in_use_is_reported_in_one_line(home):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        done = subprocess.run(
            [sys.executable, "-m", "stack.local.flower", "127.0.0.1", port],
            env={**os.environ, "ANSWERMILL_HOME": str(home)},
            capture_output=True,
            text=True,
            check=False,
        )
    assert done.returncode == 2
    (line,) = done.stderr.splitlines()
    assert f"ANSWERMILL_FLOWER_PORT: Flower cannot use port {port} of 127.0.0.1" in line
