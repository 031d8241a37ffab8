"""CAPTION core.settings.urls."""

from __future__ import annotations

import re
from urllib.parse import urlsplit

from pydantic import SecretStr


def _check_port(url: str) -> None:
    try:
        _ = urlsplit(url).port
    except ValueError:  # its own message may quote a password that nobody escaped
        msg = "the port is not a number up to 65535; escape / ? # @ : in a password as %2F …"
        raise ValueError(msg) from None


def _scheme(url: SecretStr) -> str:
    found = re.match(r"([A-Za-z][A-Za-z0-9+.-]*)://", url.get_secret_value())
    if found is None:  # what stands there may be a password
        msg = "not a URL; it begins with a scheme, as in redis://… or postgresql://…"
        raise ValueError(msg)
    return found[1]


def redact(url: str) -> str:
    """Return the URL without its password, fit to be shown."""
    # Not urlsplit: a password that nobody escaped must not be shown either.
    scheme, mark, rest = url.partition("://")
    userinfo, at, place = rest.rpartition("@")
    user, colon, _ = userinfo.partition(":")
    shown = f"{scheme}{mark}{user}:***{at}{place}" if colon else url
    return re.sub(r"(?<=[?&])(\w*password)=[^&]*", r"\1=***", shown)
