from __future__ import annotations

import os
from pathlib import Path

import pytest

from core.errors import OutputInvalid
from worker.lifecycle.evaluation.report.output_file import check_target, write_page


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_a_page_replaces_the_existing_file(tmp_path: Path):
    path = tmp_path / "page.html"
    path.write_text("old", encoding="utf-8")
    check_target(path)
    assert path.read_text(encoding="utf-8") == "old"
    write_page(path, "<p>新的\n")
    assert path.read_bytes() == "<p>新的\n".encode()
    assert names(tmp_path) == ["page.html"]


def test_a_link_is_followed(tmp_path: Path):
    (tmp_path / "link.html").symlink_to(tmp_path / "page.html")
    write_page(tmp_path / "link.html", "new")
    assert (tmp_path / "page.html").read_text(encoding="utf-8") == "new"
    assert (tmp_path / "link.html").is_symlink()


def test_a_target_that_cannot_be_written_is_refused(tmp_path: Path):
    (tmp_path / "file").touch()
    os.mkfifo(tmp_path / "pipe")
    for path, problem in [
        (tmp_path, "is a folder"),
        (tmp_path / "none" / "page.html", "No such file or directory"),
        (tmp_path / "file" / "page.html", "Not a directory"),
        (tmp_path / "pipe", "is not a file that can be written"),
        (tmp_path / ("x" * 300), "File name too long"),
    ]:
        with pytest.raises(OutputInvalid, match=problem) as caught:
            check_target(path)
        assert "\n" not in str(caught.value)
    assert names(tmp_path) == ["file", "pipe"]


def test_a_read_only_file_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    path = tmp_path / "page.html"
    path.touch()
    monkeypatch.setattr(os, "access", lambda *_: False)  # root may write to any file
    with pytest.raises(OutputInvalid, match="can be written"):
        check_target(path)


def test_a_page_that_fails_leaves_the_old_one(tmp_path: Path):
    path = tmp_path / "page.html"
    path.write_text("old", encoding="utf-8")
    with pytest.raises(UnicodeEncodeError):
        write_page(path, "\ud800")
    assert path.read_text(encoding="utf-8") == "old"
    assert names(tmp_path) == ["page.html"]
