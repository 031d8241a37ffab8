"""Reasons of hand-offs, and states of proposals.

The parent process of a worker imports this module, so it must not import numpy: OpenBLAS reads its
thread limit at the first import of numpy, which must happen in a child process.
"""

from __future__ import annotations

from enum import StrEnum


class Reason(StrEnum):
    """The reason why a human must answer a question."""

    OUT_OF_SCOPE = "out_of_scope"  # no entry seems to match
    AMBIGUOUS = "ambiguous"  # several entries may match; the runners-up list them
    SEVERAL_QUESTIONS = "several_questions"  # each part has its own entry; the runners-up list them
    WRONG_LANGUAGE = "wrong_language"  # no language of the knowledge base
    TOO_LONG = "too_long"
    EMPTY = "empty"  # no readable text, only punctuation or emoji


class Proposal(StrEnum):
    """The state of a question and answer proposed for the next version."""

    PROPOSED = "proposed"
    ACCEPTED = "accepted"  # the next build with --learned includes it
    REJECTED = "rejected"
