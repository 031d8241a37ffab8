"""Checks of service URLs, and URLs without their passwords."""

from __future__ import annotations

import re
from urllib.parse import urlsplit

from pydantic import SecretStr


def check_port(url: str) -> None:
    """Refuse a URL whose port is not a number up to 65535.

    Raises:
        ValueError: its message does not contain the URL, which may hold a password.
    """
    try:
        _ = urlsplit(url).port
    except ValueError:  # its own message may quote a password that was not escaped
        msg = "the port is not a number up to 65535; escape / ? # @ : in a password as %2F …"
        raise ValueError(msg) from None


def scheme_of(url: SecretStr) -> str:
    """Return the scheme of a URL.

    Raises:
        ValueError: the value is not a URL; the message does not contain it.
    """
    match = re.match(r"([A-Za-z][A-Za-z0-9+.-]*)://", url.get_secret_value())
    if match is None:  # the value may be a password
        msg = "not a URL; begin with a scheme, such as redis://… or postgresql://…"
        raise ValueError(msg)
    return match[1]


def redact(url: str) -> str:
    """Return the URL with *** in place of its passwords."""
    # Not urlsplit, which would leave a part of a password that was not escaped.
    scheme, mark, rest = url.partition("://")
    userinfo, at, address = rest.rpartition("@")
    user, colon, _ = userinfo.partition(":")
    shown = f"{scheme}{mark}{user}:***{at}{address}" if colon else url
    return re.sub(r"(?<=[?&])(\w*password)=[^&]*", r"\1=***", shown)
