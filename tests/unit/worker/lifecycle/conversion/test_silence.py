from __future__ import annotations

import logging
import sys
import warnings

import pytest

from worker.lifecycle.conversion.silence import silenced


def chatter() -> None:
    sys.stdout.write("printed\n")
    sys.stderr.write("complained\n")
    warnings.warn("warned", stacklevel=1)
    logging.getLogger("theirs").critical("logged")


def test_output_and_logs_are_dropped_meanwhile_and_shown_afterwards(
    capfd: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
):
    with silenced():
        chatter()
    assert capfd.readouterr() == ("", "")
    assert caplog.messages == []
    with pytest.warns(UserWarning, match="warned"):
        chatter()
    assert capfd.readouterr() == ("printed\n", "complained\n")
    assert caplog.messages == ["logged"]


def test_an_error_passes_and_ends_the_silence(caplog: pytest.LogCaptureFixture):
    with pytest.raises(ValueError, match="so"), silenced():
        raise ValueError("so")
    logging.getLogger("theirs").critical("logged")
    assert caplog.messages == ["logged"]
