"""Idempotent requests: a repeated Idempotency-Key has one effect.

The key becomes part of a batch name. The unique name makes the second request find the batch.
"""

from __future__ import annotations

import hashlib
from typing import Annotated

from pydantic import BaseModel, Field

from producer.web.auth.authorization import caller

_DIGITS = 32  # of the hexadecimal digest


class IdempotencyHeader(BaseModel):
    """The header of a request that a client may repeat."""

    idempotency_key: Annotated[
        str | None, Field(alias="Idempotency-Key", min_length=1, max_length=200)
    ] = None


def token_of(header: IdempotencyHeader) -> str | None:
    """Return a token unique to API key and header, or None without a header."""
    if header.idempotency_key is None:
        return None
    unique = f"{caller().name}\n{header.idempotency_key}"
    return hashlib.sha256(unique.encode(errors="surrogateescape")).hexdigest()[:_DIGITS]
