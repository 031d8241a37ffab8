"""Names of batches: chosen by the caller, or derived from the file.

A derived name ends in the start of the file's digest, so the same file gets the same name again.
"""

from __future__ import annotations

from core.errors import NameInvalid
from producer.question_files.question_file import CheckedFile

LONGEST_NAME = 200  # characters
_DIGEST_CHARS = 8  # characters of the digest in a derived name


def name_of(file: CheckedFile, requested: str | None = None) -> str:
    """Return the requested name, or one derived from the file.

    Raises:
        NameInvalid: a batch cannot have the requested name.
    """
    if requested is None:
        stem = "".join(filter(str.isprintable, file.source.stem))
        return f"{stem[: LONGEST_NAME // 2]}-{file.digest[:_DIGEST_CHARS]}"
    return checked_name(requested)


def checked_name(requested: str) -> str:
    """Return the requested name unchanged.

    Raises:
        NameInvalid: a batch cannot have this name.
    """
    if not requested.strip():
        raise NameInvalid(requested, "the name is blank")
    if len(requested) > LONGEST_NAME:
        problem = f"the name has {len(requested)} characters, more than {LONGEST_NAME}"
        raise NameInvalid(requested, problem)
    if requested.isdecimal():
        raise NameInvalid(requested, "a number is read as the id of a batch")
    if not requested.isprintable():
        raise NameInvalid(requested, "the name contains characters that cannot be printed")
    return requested
