"""CAPTION producer.submission.batch_name."""

from __future__ import annotations

from core.errors import NameInvalid
from producer.question_files.question_file import CheckedFile

LONGEST_NAME = 200  # characters


_DIGEST_SHOWN = 8  # characters of the digest in a batch's name


def name_of(source: CheckedFile, wanted: str | None = None) -> str:
    """Return the batch's name: the wanted one, or the file's with the digest's beginning.

    Raises:
        NameInvalid: no batch can have the wanted one.
    """
    if wanted is None:
        stem = "".join(c for c in source.source.stem if c.isprintable())
        return f"{stem[: LONGEST_NAME // 2]}-{source.digest[:_DIGEST_SHOWN]}"
    return checked_name(wanted)


def checked_name(wanted: str) -> str:
    """Return the name as it is.

    Raises:
        NameInvalid: no batch can have it.
    """
    if not wanted.strip():
        raise NameInvalid(wanted, "it is blank")
    if len(wanted) > LONGEST_NAME:
        raise NameInvalid(wanted, f"it has {len(wanted)} characters, more than {LONGEST_NAME}")
    if wanted.isdecimal():
        raise NameInvalid(wanted, "it would be taken for a batch's id")
    if not wanted.isprintable():
        raise NameInvalid(wanted, "it has characters that can't be shown")
    return wanted
