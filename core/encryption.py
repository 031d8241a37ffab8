"""Encryption of stored texts, so that only holders of a key can read them.

The algorithm is AES-256-GCM-SIV (RFC 8452), which stays secure if a nonce repeats. Nonces are
random, so one key may encrypt far more values than with AES-GCM. The first key encrypts, and all
keys decrypt. A stored value names its key, so values of several keys, and plain values, can stand
in one column during a re-encryption.

Not covered: the row of a value. A user who may write to the database can swap two values of a
column.
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

# An encrypted value begins with `am1:KEYID:`. Plain text that begins so is stored after `am1:-:`.
MARK = "am1:"
_PLAIN = f"{MARK}-:"
_HEAD = len(MARK) + _ID_DIGITS + 1


def new_key() -> str:
    """Return a random key in the form that the settings accept."""
    return base64.b64encode(os.urandom(KEY_BYTES)).decode()


def id_of(key: bytes) -> str:
    """Return the id of a key, which reveals nothing about the key."""
    return hashlib.sha256(b"answermill key" + key).hexdigest()[:_ID_DIGITS]


def require_decrypted(text: str) -> None:
    """Refuse a text that is still encrypted.

    Raises:
        KeyMissing: it is encrypted with a key that is not configured.
    """
    if text.startswith(MARK):
        raise KeyMissing(text[len(MARK) : _HEAD - 1])


class Cipher:
    """Encrypts with the first of its keys and decrypts with any of them.

    Without keys, or with `decrypt_only` (to end encryption), it stores plain text.
    """

    def __init__(self, keys: Sequence[bytes] = (), *, decrypt_only: bool = False) -> None:
        self._keys: dict[str, Any] = {id_of(key): _algorithm(key) for key in keys}
        self.current = id_of(keys[0]) if keys and not decrypt_only else None
        self._head = f"{MARK}{self.current}:"

    def encrypt(self, text: str, column: str) -> str:
        """Return the text in the form in which the column stores it."""
        if self.current is None:
            return _PLAIN + text if text.startswith(MARK) else text
        encrypted = self._encrypted(text.encode(), column)
        return self._head + b2a_base64(encrypted, newline=False).decode()

    def decrypt(self, stored: str, column: str) -> str:
        """Return the text of a value that the column stores.

        Raises:
            KeyMissing: the cipher does not have its key.
            TextDamaged: the value was changed, or belongs to another column.
        """
        if not stored.startswith(MARK):
            return stored
        if stored.startswith(_PLAIN):
            return stored.removeprefix(_PLAIN)
        try:
            encrypted = a2b_base64(stored[_HEAD:], strict_mode=True)
        except (Error, ValueError) as error:
            raise TextDamaged(column) from error
        return self._decrypted(stored[:_HEAD], encrypted, column).decode()

    def encrypt_bytes(self, content: bytes, column: str) -> bytes:
        """Return the bytes in the form in which the column stores them."""
        if self.current is None:
            return _PLAIN.encode() + content if content.startswith(MARK.encode()) else content
        return self._head.encode() + self._encrypted(content, column)

    def decrypt_bytes(self, stored: bytes, column: str) -> bytes:
        """Return the bytes of a value that the column stores.

        Raises:
            KeyMissing: the cipher does not have its key.
            TextDamaged: the value was changed, or belongs to another column.
        """
        if not stored.startswith(MARK.encode()):
            return stored
        if stored.startswith(_PLAIN.encode()):
            return stored.removeprefix(_PLAIN.encode())
        head = stored[:_HEAD].decode(errors="replace")
        return self._decrypted(head, stored[_HEAD:], column)

    def is_current(self, stored: str | bytes) -> bool:
        """Return whether this cipher would store the value in the same form."""
        start = stored[:_HEAD]
        head = start if isinstance(start, str) else start.decode(errors="replace")
        if self.current is None:
            return not head.startswith(MARK) or head.startswith(_PLAIN)
        return head == self._head

    def _encrypted(self, content: bytes, column: str) -> bytes:
        nonce = os.urandom(_NONCE_BYTES)
        encrypted: bytes = self._keys[str(self.current)].encrypt(nonce, content, column.encode())
        return nonce + encrypted

    def _decrypted(self, head: str, encrypted: bytes, column: str) -> bytes:
        from cryptography.exceptions import InvalidTag

        key = self._keys.get(head[len(MARK) : -1])
        if key is None:
            raise KeyMissing(head[len(MARK) : -1])
        nonce, content = encrypted[:_NONCE_BYTES], encrypted[_NONCE_BYTES:]
        try:
            decrypted: bytes = key.decrypt(nonce, content, column.encode())
        except (InvalidTag, ValueError) as error:
            raise TextDamaged(column) from error
        return decrypted


def _algorithm(key: bytes) -> Any:  # noqa: ANN401 - the class is imported in this function only
    try:
        from cryptography.hazmat.primitives.ciphers.aead import AESGCMSIV
    except ModuleNotFoundError as error:
        raise ExtraMissing("cryptography", "encryption") from error
    return AESGCMSIV(key)
