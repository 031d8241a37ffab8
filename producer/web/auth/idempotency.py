"""Requests sent twice: the same Idempotency-Key of the same API key does a thing once."""

from __future__ import annotations

import hashlib
from typing import Annotated

from pydantic import BaseModel, Field

from producer.web.auth.authorization import caller

_DIGITS = 32


class Idempotency(BaseModel):
    """The header of a request that may be sent again."""

    idempotency_key: Annotated[
        str | None, Field(alias="Idempotency-Key", min_length=1, max_length=200)
    ] = None


def token_of(header: Idempotency) -> str | None:
    """Return what stands for the header among all callers, None when none was sent."""
    if header.idempotency_key is None:
        return None
    told = f"{caller().name}\n{header.idempotency_key}"
    return hashlib.sha256(told.encode(errors="surrogateescape")).hexdigest()[:_DIGITS]
