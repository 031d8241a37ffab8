"""Why questions are handed off.

Imported by a worker's parent process, and so without numpy: its OpenBLAS reads how many threads
it may have when it is first imported, which is for a child to do.
"""

from __future__ import annotations

from enum import StrEnum


class Reason(StrEnum):
    """Why a human must take a question."""

    OUT_OF_SCOPE = "out_of_scope"  # no entry seems to be about it
    AMBIGUOUS = "ambiguous"  # several entries may be; the runners-up name them
    SEVERAL_QUESTIONS = "several_questions"  # each part has an entry of its own; they are named
    WRONG_LANGUAGE = "wrong_language"  # one that the knowledge base doesn't speak
    TOO_LONG = "too_long"
    EMPTY = "empty"  # nothing readable, only punctuation or emoji


class Proposal(StrEnum):
    """What became of a pair that somebody's answer proposes to learn."""

    PROPOSED = "proposed"
    ACCEPTED = "accepted"  # the next build with --learned takes it in
    REJECTED = "rejected"
