"""Columns that are encrypted when a key is configured.

An engine gets its cipher when it is opened. SQLAlchemy's statements and
`db.dialect.insert_many` both convert values here. In SQL, an encrypted value is the text
`am1:KEYID:…`.
Not covered: search, sorting and grouping by an encrypted column, which are impossible; the
encryption itself (`core.encryption`); a change of keys (`db.operations.key_rotation`).
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from typing import Any

import sqlalchemy as sa

from core.encryption import MARK, Cipher
from core.errors import KeyMissing

_NO_KEY = Cipher()
_CIPHER = "answermill_cipher"

# An error's class is counted and searched for, so it stays readable. The text after it may quote
# a question, so it is encrypted.
_ERROR = re.compile(r"((?:gave up after \d+ failed attempts: )?[\w.]{1,100}: )(.+)", re.DOTALL)

Convert = Callable[[Any], Any]


def set_cipher(engine: sa.Engine, cipher: Cipher) -> None:
    """Encrypt and decrypt all values of the engine with the cipher."""
    setattr(engine.dialect, _CIPHER, cipher)


def cipher_of(dialect: sa.Dialect) -> Cipher:
    """Return the cipher of an engine's dialect, or one without keys."""
    cipher: Cipher = getattr(dialect, _CIPHER, _NO_KEY)
    return cipher


class Encrypted(sa.TypeDecorator[Any]):
    """The base of encrypted column types.

    A value can be decrypted only under the name of its column, which is authenticated.
    """

    impl: type[sa.types.TypeEngine[Any]] = sa.Text
    cache_ok = True

    def __init__(self, column: str, **options: Any) -> None:  # noqa: ANN401 - of the type below
        super().__init__(**options)
        self.column = column

    def coerce_compared_value(self, op: object, value: object) -> sa.types.TypeEngine[Any]:
        """Compare stored values with plain ones."""
        _ = op, value
        return self.impl_instance

    def encrypter(self, cipher: Cipher) -> Convert:
        """Return the function from a value to its stored form."""
        return lambda value: cipher.encrypt(value, self.column)

    def decrypter(self, cipher: Cipher) -> Convert:
        """Return the function from a stored form to its value."""
        return lambda stored: cipher.decrypt(stored, self.column)

    def is_current(self, stored: Any, cipher: Cipher) -> bool:  # noqa: ANN401 - text, bytes or JSON
        """Return whether the cipher would store the value in this form."""
        return cipher.is_current(stored)

    def bind_processor(self, dialect: sa.Dialect) -> Convert | None:
        """Return the function that encrypts a written value."""
        return _composed(
            self.encrypter(cipher_of(dialect)), self.impl_instance.bind_processor(dialect)
        )

    def result_processor(self, dialect: sa.Dialect, coltype: object) -> Convert | None:
        """Return the function that decrypts a read value."""
        stored = self.impl_instance.result_processor(dialect, coltype)
        decrypter = self.decrypter(cipher_of(dialect))
        return _composed(stored, decrypter) if stored else _composed(decrypter, None)


def _composed(first: Convert, second: Convert | None) -> Convert:
    def convert(value: Any) -> Any:  # noqa: ANN401 - any value of the column
        if value is not None:
            value = first(value)
        return value if second is None or value is None else second(value)

    return convert


class EncryptedText(Encrypted):
    """An encrypted text.

    Plain texts take a short path, since every question is a text.
    """

    cache_ok = True

    def encrypter(self, cipher: Cipher) -> Convert:
        """Return the function from a text to its stored form."""
        column, encrypt, has_no_key = self.column, cipher.encrypt, cipher.current is None

        def convert(text: str) -> str:
            return text if has_no_key and not text.startswith(MARK) else encrypt(text, column)

        return convert

    def result_processor(self, dialect: sa.Dialect, coltype: object) -> Convert | None:
        """Return the function that decrypts a read text."""
        _ = coltype  # both drivers return texts unconverted
        column, decrypt = self.column, cipher_of(dialect).decrypt

        def convert(stored: str | None) -> str | None:
            if stored is None or not stored.startswith(MARK):
                return stored
            return decrypt(stored, column)

        return convert


class LenientEncryptedText(Encrypted):
    """An encrypted text that reads as stored where its key is missing.

    For columns that are read along with others, such as a batch's webhook address: a missing key
    must not make the whole row unreadable.
    """

    cache_ok = True

    def decrypter(self, cipher: Cipher) -> Convert:
        """Return the function from a stored form to its text, or to itself."""

        def convert(stored: str) -> str:
            try:
                return cipher.decrypt(stored, self.column)
            except KeyMissing:
                return stored

        return convert


class EncryptedError(Encrypted):
    """An error whose class stays readable and whose message is encrypted."""

    cache_ok = True

    def encrypter(self, cipher: Cipher) -> Convert:
        """Return the function that encrypts an error's message."""

        def convert(error: str) -> str:
            match = _ERROR.fullmatch(error)
            return match[1] + cipher.encrypt(match[2], self.column) if match else error

        return convert

    def decrypter(self, cipher: Cipher) -> Convert:
        """Return the function that decrypts an error's message."""

        def convert(stored: str) -> str:
            match = _ERROR.fullmatch(stored) if MARK in stored else None
            if match is None or not match[2].startswith(MARK):
                return stored
            return match[1] + cipher.decrypt(match[2], self.column)

        return convert

    def is_current(self, stored: Any, cipher: Cipher) -> bool:  # noqa: ANN401 - text
        """Return whether the cipher would store the error in this form."""
        match = _ERROR.fullmatch(stored)
        return match is None or cipher.is_current(match[2])


class EncryptedBytes(Encrypted):
    """Encrypted bytes."""

    cache_ok = True
    impl = sa.LargeBinary

    def encrypter(self, cipher: Cipher) -> Convert:
        """Return the function from bytes to their stored form."""
        return lambda content: cipher.encrypt_bytes(content, self.column)

    def decrypter(self, cipher: Cipher) -> Convert:
        """Return the function from a stored form to its bytes."""
        return lambda stored: cipher.decrypt_bytes(bytes(stored), self.column)

    def is_current(self, stored: Any, cipher: Cipher) -> bool:  # noqa: ANN401 - bytes
        """Return whether the cipher would store the bytes in this form."""
        return cipher.is_current(bytes(stored))


class EncryptedJSON(Encrypted):
    """A JSON object, which is stored as a JSON string if encrypted."""

    cache_ok = True
    impl = sa.JSON

    def __init__(self, column: str) -> None:
        super().__init__(column, none_as_null=True)

    def encrypter(self, cipher: Cipher) -> Convert:
        """Return the function from an object to its stored form."""
        if cipher.current is None:
            return lambda value: value
        return lambda value: cipher.encrypt(json.dumps(value, ensure_ascii=False), self.column)

    def decrypter(self, cipher: Cipher) -> Convert:
        """Return the function from a stored form to its object."""

        def convert(stored: Any) -> Any:  # noqa: ANN401 - any JSON value
            if not isinstance(stored, str) or not stored.startswith(MARK):
                return stored
            return json.loads(cipher.decrypt(stored, self.column))

        return convert

    def is_current(self, stored: Any, cipher: Cipher) -> bool:  # noqa: ANN401 - any JSON value
        """Return whether the cipher would store the object in this form."""
        if cipher.current is None:
            return not isinstance(stored, str)
        return isinstance(stored, str) and cipher.is_current(stored)
