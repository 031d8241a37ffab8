"""What is stored so that only holders of a key can read it.

AES-256-GCM-SIV (RFC 8452), which a nonce that comes twice does not break: nonces are random,
and a key seals far more values than AES-GCM would allow. The first key seals, all of them
open. A sealed value says by which key, so that values of several keys, and plain ones, lie side
by side while they are sealed anew. It says nothing of its row: whoever may write to the
database can swap two values of a column.
"""

from __future__ import annotations

import base64
import hashlib
import os
from binascii import Error, a2b_base64, b2a_base64
from collections.abc import Sequence
from typing import Any

from core.errors import ExtraMissing, KeyMissing, TextDamaged

KEY_BYTES = 32
_NONCE_BYTES = 12
_ID_DIGITS = 8

# Before what is sealed: `am1:KEYID:`. Plain text that begins so is stored behind `am1:-:`.
MARK = "am1:"
_PLAIN = f"{MARK}-:"
_HEAD = len(MARK) + _ID_DIGITS + 1


def new_key() -> str:
    """Return a key as the settings take it."""
    return base64.b64encode(os.urandom(KEY_BYTES)).decode()


def id_of(key: bytes) -> str:
    """Return what a key is called, which tells nothing of it."""
    return hashlib.sha256(b"answermill key" + key).hexdigest()[:_ID_DIGITS]


def require_open(text: str) -> None:
    """Refuse a text that is still sealed.

    Raises:
        KeyMissing: so it is, with a key that is not here.
    """
    if text.startswith(MARK):
        raise KeyMissing(text[len(MARK) : _HEAD - 1])


class Cipher:
    """Seals by the first of its keys and opens by any; without keys it seals nothing.

    With `opens_only` it stores plain text, for leaving encryption behind.
    """

    def __init__(self, keys: Sequence[bytes] = (), *, opens_only: bool = False) -> None:
        self._keys: dict[str, Any] = {id_of(key): _algorithm(key) for key in keys}
        self.current = id_of(keys[0]) if keys and not opens_only else None
        self._head = f"{MARK}{self.current}:"

    def encrypt(self, text: str, column: str) -> str:
        """Return the text as it is stored in a column."""
        if self.current is None:
            return _PLAIN + text if text.startswith(MARK) else text
        return (
            self._head + b2a_base64(self._encrypted(text.encode(), column), newline=False).decode()
        )

    def decrypt(self, stored: str, column: str) -> str:
        """Return the text of what is stored in a column.

        Raises:
            KeyMissing: its key is not among ours.
            TextDamaged: it is not what was stored.
        """
        if not stored.startswith(MARK):
            return stored
        if stored.startswith(_PLAIN):
            return stored.removeprefix(_PLAIN)
        try:
            sealed = a2b_base64(stored[_HEAD:], strict_mode=True)
        except (Error, ValueError) as error:
            raise TextDamaged(column) from error
        return self._decrypted(stored[:_HEAD], sealed, column).decode()

    def encrypt_bytes(self, content: bytes, column: str) -> bytes:
        """Return the bytes as they are stored in a column."""
        if self.current is None:
            return _PLAIN.encode() + content if content.startswith(MARK.encode()) else content
        return self._head.encode() + self._encrypted(content, column)

    def decrypt_bytes(self, stored: bytes, column: str) -> bytes:
        """Return the bytes of what is stored in a column; raises as `open` does."""
        if not stored.startswith(MARK.encode()):
            return stored
        if stored.startswith(_PLAIN.encode()):
            return stored.removeprefix(_PLAIN.encode())
        head = stored[:_HEAD].decode(errors="replace")
        return self._decrypted(head, stored[_HEAD:], column)

    def is_current(self, stored: str | bytes) -> bool:
        """Tell whether it is stored as this cipher would store it now."""
        head = stored[:_HEAD]
        told = head if isinstance(head, str) else head.decode(errors="replace")
        if self.current is None:
            return not told.startswith(MARK) or told.startswith(_PLAIN)
        return told == self._head

    def _encrypted(self, content: bytes, column: str) -> bytes:
        nonce = os.urandom(_NONCE_BYTES)
        sealed: bytes = self._keys[str(self.current)].encrypt(nonce, content, column.encode())
        return nonce + sealed

    def _decrypted(self, head: str, sealed: bytes, column: str) -> bytes:
        from cryptography.exceptions import InvalidTag

        key = self._keys.get(head[len(MARK) : -1])
        if key is None:
            raise KeyMissing(head[len(MARK) : -1])
        nonce, content = sealed[:_NONCE_BYTES], sealed[_NONCE_BYTES:]
        try:
            opened: bytes = key.decrypt(nonce, content, column.encode())
        except (InvalidTag, ValueError) as error:
            raise TextDamaged(column) from error
        return opened


def _algorithm(key: bytes) -> Any:  # noqa: ANN401 - the class is imported here alone
    try:
        from cryptography.hazmat.primitives.ciphers.aead import AESGCMSIV
    except ModuleNotFoundError as error:
        raise ExtraMissing("cryptography", "encryption") from error
    return AESGCMSIV(key)
