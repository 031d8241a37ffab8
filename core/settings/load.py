"""Reads the settings of a process and reports every fault at once."""

from __future__ import annotations

import difflib
import os
from typing import Any

from dotenv import dotenv_values
from pydantic import ValidationError

from core.errors import SettingsInvalid
from core.settings.base import PREFIX, SECRETS
from core.settings.settings import Settings


def load(**flags: Any) -> Settings:  # noqa: ANN401 - each flag has the type of its field
    """Read every setting, with flags that are None or empty as unset.

    Raises:
        SettingsInvalid: with every fault, one line each.
    """
    faults: list[str] = []
    given = {name: value for name, value in flags.items() if value not in (None, "")}
    try:
        faults += _unknown_names()
        settings = Settings(
            _secrets_dir=SECRETS if SECRETS.is_dir() else None,  # type: ignore[call-arg]  # mypy knows the fields only
            **given,
        )
    except UnicodeDecodeError:
        raise SettingsInvalid([".env: not UTF-8; convert the file to UTF-8"]) from None
    except ValidationError as error:
        faults += [_describe(fault) for fault in error.errors(include_input=False)]
        raise SettingsInvalid(faults) from None
    if faults:
        raise SettingsInvalid(faults)
    return settings


def _unknown_names() -> list[str]:
    known = {PREFIX + name.upper() for name in Settings.model_fields}
    given = set(os.environ) | set(dotenv_values(".env", interpolate=False))
    faults = []
    for name in sorted(given):
        if not name.upper().startswith(PREFIX) or name.upper() in known:
            continue
        near = difflib.get_close_matches(name.upper(), known, n=1)
        hint = f"did you mean {near[0]}?" if near else "remove it"
        faults.append(f"{name}: unknown setting; {hint}")
    return faults


def _describe(fault: Any) -> str:  # noqa: ANN401 - pydantic's ErrorDetails is a TypedDict of many
    message = str(fault["msg"]).removeprefix("Value error, ")
    if message.startswith(PREFIX):
        return message
    return f"{PREFIX}{str(fault['loc'][0]).upper()}: {message}"
