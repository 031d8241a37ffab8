"""A file of questions, dropped or chosen, becomes a batch."""

from __future__ import annotations

import secrets
import tempfile
from pathlib import Path

from flask import redirect, render_template, request, url_for
from werkzeug.datastructures import FileStorage
from werkzeug.wrappers import Response as AnyResponse

from core.domain.api_key import Scope
from core.domain.batch import Lane
from core.errors import NameInvalid, SourceChanged, SourceInvalid
from producer.question_files.question_file import check, opened
from producer.submission.admission import WhenFull
from producer.submission.batch_name import checked_name
from producer.submission.submit import SubmitResult, submit
from producer.web.auth.authorization import caller, requires_scope
from producer.web.context import current_context
from producer.web.pages.layout import page
from producer.web.pages.translation import translate

_SUFFIXES = (".csv", ".tsv", ".jsonl", ".ndjson", ".parquet")
_LONGEST_STEM = 60  # characters of a file's name that go into the batch's


@page.get("/upload")
@requires_scope(Scope.SUBMIT)
def upload() -> str:
    """Ask for a file."""
    return _form(None)


@page.post("/upload")
@requires_scope(Scope.SUBMIT, recorded=True, upload=True)
def receive() -> AnyResponse | tuple[str, int]:
    """Check every row, then store all of them; the same form sent twice stores them once."""
    file = request.files.get("file")
    if file is None or not file.filename:
        return _form(translate("Choose a file first.")), 422
    if Path(file.filename).suffix.lower() not in _SUFFIXES:
        return _form(
            translate("The file's name must end in one of {ends}.", ends=" ".join(_SUFFIXES))
        ), 422
    try:
        done = _stored(file, file.filename)
    except (SourceInvalid, NameInvalid, SourceChanged) as error:
        return _form(str(error)), 422
    return redirect(url_for("page.batch", batch=done.batch.id), 303)


def _stored(file: FileStorage, filename: str) -> SubmitResult:
    s, form = current_context(), request.form
    stem = "".join(c for c in Path(filename).stem if c.isprintable())[:_LONGEST_STEM]
    name = form.get("name", "").strip() or f"{stem}-{form.get('token', '')[:8]}"
    lane = Lane.INTERACTIVE if form.get("lane") == Lane.INTERACTIVE else Lane.BULK
    with tempfile.NamedTemporaryFile(
        prefix="answermill-", suffix=Path(filename).suffix.lower()
    ) as copy:
        file.save(copy)
        copy.flush()
        text, key = (form.get(column, "").strip() or None for column in ("text", "key"))
        with opened(copy.name, text=text, key=key, called=filename) as source:
            checked = check(source)
        return submit(
            s.engine,
            s.client,
            s.settings,
            checked,
            name=checked_name(name),
            lane=lane,
            deadline=None,
            origin=f"page, key {caller().name}",
            when_full=WhenFull.STOP,
        )


def _form(fault: str | None) -> str:
    token = request.form.get("token") or secrets.token_hex(4)
    return render_template("upload.html", fault=fault, token=token, given=request.form)
