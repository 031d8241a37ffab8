"""CAPTION broker.tls_options."""

from __future__ import annotations

import ssl
from typing import Any

from core.settings.settings import Settings
from core.tls import OLDEST, client_context


def redis_options(settings: Settings) -> dict[str, Any] | None:
    """Return what Redis's client needs for `rediss://`, None for any other URL.

    Raises:
        SettingsInvalid: a certificate or key among the settings is not one.
    """
    if not settings.broker.startswith("rediss:"):
        return None
    files = {"ca": settings.broker_ca, "cert": settings.broker_cert, "key": settings.broker_key}
    client_context(**files, setting="BROKER")
    options: dict[str, Any] = {
        "ssl_cert_reqs": ssl.CERT_REQUIRED,
        "ssl_check_hostname": True,
        "ssl_min_version": OLDEST,
    }
    names = {"ca": "ssl_ca_certs", "cert": "ssl_certfile", "key": "ssl_keyfile"}
    return options | {names[part]: str(path) for part, path in files.items() if path is not None}
