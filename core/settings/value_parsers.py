"""What settings may be: a device, and several values in one, such as keys, secrets and kinds.

Each function raises ValueError when it can't read what it is told.
"""

from __future__ import annotations

import base64
import re
from enum import StrEnum
from pathlib import Path

_SIGNING, _SIGNING_BYTES = "whsec_", range(24, 65)  # as Standard Webhooks has it
SCOPES = (
    "submit",
    "read",
    "desk",
    "admin",
)  # of `core.domain.api_key.Scope`; a test holds them together
_KEY_BYTES = 32  # of AES-256


class Device(StrEnum):
    """Where torch computes."""

    AUTO = "auto"  # CUDA where there is a card, else the CPU
    CPU = "cpu"
    CUDA = "cuda"


class RedactionKind(StrEnum):
    """What can be taken out of questions before they are stored."""

    EMAIL = "email"
    PHONE = "phone"
    CARD = "card"


def kinds(told: str) -> frozenset[RedactionKind]:
    """Read kinds, separated by commas or blanks."""
    found = []
    for word in filter(None, re.split(r"[,\s]+", told.strip().lower())):
        if word not in tuple(RedactionKind):
            msg = f"{word[:20]!r} is none of {', '.join(RedactionKind)}"
            raise ValueError(msg)
        found.append(RedactionKind(word))
    return frozenset(found)


def signing_keys(told: str) -> list[bytes]:
    """Read secrets of webhooks, none of which is quoted in what is said of a fault."""
    found = []
    for word in told.split():
        try:
            key = base64.b64decode(word.removeprefix(_SIGNING), validate=True)
        except ValueError:
            key = b""
        if not word.startswith(_SIGNING) or len(key) not in _SIGNING_BYTES:
            msg = f"not {_SIGNING} and {_SIGNING_BYTES[0]} to {_SIGNING_BYTES[-1]} bytes as base64"
            raise ValueError(msg)
        found.append(key)
    return found


def groups(told: str) -> list[tuple[str, str]]:
    """Read pairs of a scope and a group."""
    found = []
    for word in told.split():
        scope, equals, group = word.partition("=")
        if scope not in SCOPES or not equals or not group:
            msg = f"{word[:40]!r} is no SCOPE=GROUP with one of {', '.join(SCOPES)}"
            raise ValueError(msg)
        found.append((scope, group))
    return found


def keys(told: str) -> list[bytes]:
    """Read keys, none of which is quoted in what is said of a fault."""
    found = []
    for number, word in enumerate(re.split(r"[,\s]+", told.strip()), 1):
        try:
            key = base64.b64decode(word, validate=True)
        except ValueError:
            key = b""
        if len(key) != _KEY_BYTES:
            msg = f"key {number} is no {_KEY_BYTES} bytes as base64; `answermill db encryption-key`"
            raise ValueError(f"{msg} makes one")
        found.append(key)
    return found


def keys_in(file: Path) -> list[bytes]:
    """Read keys from a file."""
    return keys(file.read_text(encoding="utf-8", errors="replace"))
