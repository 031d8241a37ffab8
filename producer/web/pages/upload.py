"""The page that uploads a file of questions as a batch."""

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
from producer.submission.submit import SubmitRequest, SubmitResult, submit
from producer.web.auth.authorization import caller, requires_scope
from producer.web.context import current_context
from producer.web.pages.layout import page
from producer.web.pages.translation import translate

_SUFFIXES = (".csv", ".tsv", ".jsonl", ".ndjson", ".parquet")
_MAX_STEM = 60  # characters of the file name in the batch name


@page.get("/upload")
@requires_scope(Scope.SUBMIT)
def upload() -> str:
    """Show the form."""
    return _form(None)


@page.post("/upload")
@requires_scope(Scope.SUBMIT, recorded=True, upload=True)
def receive() -> AnyResponse | tuple[str, int]:
    """Check every row, then store all rows, once for each form."""
    file = request.files.get("file")
    if file is None or not file.filename:
        return _form(translate("Choose a file first.")), 422
    if Path(file.filename).suffix.lower() not in _SUFFIXES:
        return _form(
            translate("The file name must end in one of {ends}.", ends=" ".join(_SUFFIXES))
        ), 422
    try:
        result = _submit(file, file.filename)
    except (SourceInvalid, NameInvalid, SourceChanged) as error:
        return _form(str(error)), 422
    return redirect(url_for("page.batch", batch=result.batch.id), 303)


def _submit(file: FileStorage, filename: str) -> SubmitResult:
    form = request.form
    stem = "".join(filter(str.isprintable, Path(filename).stem))[:_MAX_STEM]
    name = form.get("name", "").strip() or f"{stem}-{form.get('token', '')[:8]}"
    lane = Lane.INTERACTIVE if form.get("lane") == Lane.INTERACTIVE else Lane.BULK
    with tempfile.NamedTemporaryFile(
        prefix="answermill-", suffix=Path(filename).suffix.lower()
    ) as copy:
        file.save(copy)
        copy.flush()
        text, key = (form.get(column, "").strip() or None for column in ("text", "key"))
        with opened(copy.name, text=text, key=key, display_name=filename) as source:
            checked_file = check(source)
        submit_request = SubmitRequest(
            checked_file,
            name=checked_name(name),
            lane=lane,
            origin=f"page, key {caller().name}",
            when_full=WhenFull.STOP,
        )
        return submit(current_context().producer, submit_request)


def _form(fault: str | None) -> str:
    token = request.form.get("token") or secrets.token_hex(4)
    return render_template("upload.html", fault=fault, token=token, form=request.form)
