"""Columns that are sealed when there is a key: the one seam through which their values pass.

An engine is given its cipher when it is opened; reading and writing by SQLAlchemy's statements
and by `db.dialect.insert_many` both come through here. In SQL a sealed column is the text
`am1:KEYID:…`; it can't be searched, sorted or grouped by.
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

# An error's class is counted and searched for; what follows may quote a question.
_ERROR = re.compile(r"((?:gave up after \d+ failed attempts: )?[\w.]{1,100}: )(.+)", re.DOTALL)

Convert = Callable[[Any], Any]


def set_cipher(engine: sa.Engine, cipher: Cipher) -> None:
    """Let everything that goes through the engine be sealed and opened by the cipher."""
    setattr(engine.dialect, _CIPHER, cipher)


def cipher_of(dialect: sa.Dialect) -> Cipher:
    """Return the cipher of an engine's dialect, one without keys if it was given none."""
    found: Cipher = getattr(dialect, _CIPHER, _NO_KEY)
    return found


class Encrypted(sa.TypeDecorator[Any]):
    """What such columns have in common; `column` is part of what is sealed."""

    impl: type[sa.types.TypeEngine[Any]] = sa.Text
    cache_ok = True

    def __init__(self, column: str, **options: Any) -> None:  # noqa: ANN401 - of the type below
        super().__init__(**options)
        self.column = column

    def coerce_compared_value(self, op: object, value: object) -> sa.types.TypeEngine[Any]:
        """Compare with what is stored as it is."""
        _ = op, value
        return self.impl_instance

    def encrypter(self, cipher: Cipher) -> Convert:
        """Return what makes a value one to be stored."""
        return lambda value: cipher.encrypt(value, self.column)

    def decrypter(self, cipher: Cipher) -> Convert:
        """Return the way back."""
        return lambda stored: cipher.decrypt(stored, self.column)

    def current(self, stored: Any, cipher: Cipher) -> bool:  # noqa: ANN401 - text, bytes or JSON
        """Tell whether the cipher would store it like that."""
        return cipher.is_current(stored)

    def bind_processor(self, dialect: sa.Dialect) -> Convert | None:
        """Seal what is written."""
        return _behind(
            self.encrypter(cipher_of(dialect)), self.impl_instance.bind_processor(dialect)
        )

    def result_processor(self, dialect: sa.Dialect, coltype: object) -> Convert | None:
        """Open what is read."""
        stored = self.impl_instance.result_processor(dialect, coltype)
        decrypter = self.decrypter(cipher_of(dialect))
        return _behind(stored, decrypter) if stored else _behind(decrypter, None)


def _behind(first: Convert, second: Convert | None) -> Convert:
    def convert(value: Any) -> Any:  # noqa: ANN401 - whatever the column holds
        if value is not None:
            value = first(value)
        return value if second is None or value is None else second(value)

    return convert


class EncryptedText(Encrypted):
    """A text; its ways are short for what is plain, since every question takes them."""

    cache_ok = True

    def encrypter(self, cipher: Cipher) -> Convert:
        """Return what makes a text one to be stored."""
        column, seal, plain = self.column, cipher.encrypt, cipher.current is None

        def convert(text: str) -> str:
            return text if plain and not text.startswith(MARK) else seal(text, column)

        return convert

    def result_processor(self, dialect: sa.Dialect, coltype: object) -> Convert | None:
        """Open what is read."""
        _ = coltype  # databases hand texts over as they are
        column, opened = self.column, cipher_of(dialect).decrypt

        def convert(stored: str | None) -> str | None:
            if stored is None or not stored.startswith(MARK):
                return stored
            return opened(stored, column)

        return convert


class LenientEncryptedText(Encrypted):
    """A text beside what is asked for: who lacks the key is given it as it is stored."""

    cache_ok = True

    def decrypter(self, cipher: Cipher) -> Convert:
        """Return the way back."""

        def convert(stored: str) -> str:
            try:
                return cipher.decrypt(stored, self.column)
            except KeyMissing:
                return stored

        return convert


class EncryptedError(Encrypted):
    """An error: its class stays readable, what it says is sealed."""

    cache_ok = True

    def encrypter(self, cipher: Cipher) -> Convert:
        """Return what seals what an error says."""

        def seal(error: str) -> str:
            found = _ERROR.fullmatch(error)
            return found[1] + cipher.encrypt(found[2], self.column) if found else error

        return seal

    def decrypter(self, cipher: Cipher) -> Convert:
        """Return what opens what an error says."""

        def convert(stored: str) -> str:
            found = _ERROR.fullmatch(stored) if MARK in stored else None
            if found is None or not found[2].startswith(MARK):
                return stored
            return found[1] + cipher.decrypt(found[2], self.column)

        return convert

    def current(self, stored: Any, cipher: Cipher) -> bool:  # noqa: ANN401 - text
        """Tell whether the cipher would store it like that."""
        found = _ERROR.fullmatch(stored)
        return found is None or cipher.is_current(found[2])


class EncryptedBytes(Encrypted):
    """Bytes."""

    cache_ok = True
    impl = sa.LargeBinary

    def encrypter(self, cipher: Cipher) -> Convert:
        """Return what makes bytes ones to be stored."""
        return lambda content: cipher.encrypt_bytes(content, self.column)

    def decrypter(self, cipher: Cipher) -> Convert:
        """Return the way back."""
        return lambda stored: cipher.decrypt_bytes(bytes(stored), self.column)

    def current(self, stored: Any, cipher: Cipher) -> bool:  # noqa: ANN401 - bytes
        """Tell whether the cipher would store it like that."""
        return cipher.is_current(bytes(stored))


class EncryptedJSON(Encrypted):
    """An object in JSON; sealed, it is a JSON text."""

    cache_ok = True
    impl = sa.JSON

    def __init__(self, column: str) -> None:
        super().__init__(column, none_as_null=True)

    def encrypter(self, cipher: Cipher) -> Convert:
        """Return what makes an object one to be stored."""
        if cipher.current is None:
            return lambda value: value
        return lambda value: cipher.encrypt(json.dumps(value, ensure_ascii=False), self.column)

    def decrypter(self, cipher: Cipher) -> Convert:
        """Return the way back."""

        def convert(stored: Any) -> Any:  # noqa: ANN401 - whatever JSON holds
            if not isinstance(stored, str) or not stored.startswith(MARK):
                return stored
            return json.loads(cipher.decrypt(stored, self.column))

        return convert

    def current(self, stored: Any, cipher: Cipher) -> bool:  # noqa: ANN401 - whatever JSON holds
        """Tell whether the cipher would store it like that."""
        if cipher.current is None:
            return not isinstance(stored, str)
        return isinstance(stored, str) and cipher.is_current(stored)
