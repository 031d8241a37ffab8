"""Parsers of settings that hold several values, such as keys and kinds.

Each function raises ValueError if it cannot parse its text. Messages never quote a secret.
"""

from __future__ import annotations

import base64
import re
from enum import StrEnum
from pathlib import Path

from core.domain.api_key import Scope

# The form of Standard Webhooks: https://www.standardwebhooks.com
_SIGNING, _SIGNING_BYTES = "whsec_", range(24, 65)
_KEY_BYTES = 32  # of AES-256


class Device(StrEnum):
    """The device of a torch encoder."""

    AUTO = "auto"  # CUDA if there is a GPU, otherwise the CPU
    CPU = "cpu"
    CUDA = "cuda"


class RedactionKind(StrEnum):
    """A kind of data that is removed from questions before they are stored."""

    EMAIL = "email"
    PHONE = "phone"
    CARD = "card"


def parse_redaction_kinds(text: str) -> frozenset[RedactionKind]:
    """Read kinds, separated by commas or white space."""
    kinds = []
    for word in filter(None, re.split(r"[,\s]+", text.strip().lower())):
        if word not in tuple(RedactionKind):
            msg = f"{word[:20]!r} is not one of {', '.join(RedactionKind)}"
            raise ValueError(msg)
        kinds.append(RedactionKind(word))
    return frozenset(kinds)


def parse_signing_keys(text: str) -> list[bytes]:
    """Read the secrets of webhooks, separated by white space."""
    keys = []
    for number, word in enumerate(text.split(), 1):
        key = _decoded(word.removeprefix(_SIGNING))
        if not word.startswith(_SIGNING) or len(key) not in _SIGNING_BYTES:
            least, most = _SIGNING_BYTES[0], _SIGNING_BYTES[-1]
            msg = f"secret {number} is not {_SIGNING} and {least} to {most} bytes in base64"
            raise ValueError(msg)
        keys.append(key)
    return keys


def parse_group_scopes(text: str) -> list[tuple[Scope, str]]:
    """Read pairs SCOPE=GROUP, separated by white space."""
    pairs = []
    for word in text.split():
        scope, equals, group = word.partition("=")
        if scope not in tuple(Scope) or not equals or not group:
            msg = f"{word[:40]!r} is not SCOPE=GROUP with a scope of {', '.join(Scope)}"
            raise ValueError(msg)
        pairs.append((Scope(scope), group))
    return pairs


def parse_encryption_keys(text: str) -> list[bytes]:
    """Read encryption keys, separated by commas or white space."""
    keys = []
    for number, word in enumerate(re.split(r"[,\s]+", text.strip()), 1):
        key = _decoded(word)
        if len(key) != _KEY_BYTES:
            msg = (
                f"key {number} is not {_KEY_BYTES} bytes in base64;"
                " create a key with `answermill db encryption-key`"
            )
            raise ValueError(msg)
        keys.append(key)
    return keys


def read_encryption_keys(file: Path) -> list[bytes]:
    """Read encryption keys from a file."""
    return parse_encryption_keys(file.read_text(encoding="utf-8", errors="replace"))


def _decoded(word: str) -> bytes:
    try:
        return base64.b64decode(word, validate=True)
    except ValueError:
        return b""
