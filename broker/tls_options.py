"""The options of the Redis client for a connection over TLS (`rediss://`).

The server's certificate and host name are always checked. The files come from the settings
`ANSWERMILL_BROKER_CA`, `_CERT` and `_KEY`. Not covered: TLS to PostgreSQL, which the database
URL configures.
"""

from __future__ import annotations

import ssl
from typing import Any

from core.settings.settings import Settings
from core.tls import OLDEST, client_context


def redis_options(settings: Settings) -> dict[str, Any] | None:
    """Return the Redis client's TLS options, or None without `rediss://`.

    Raises:
        SettingsInvalid: a certificate or key file of the settings cannot be loaded.
    """
    if not settings.broker.startswith("rediss:"):
        return None
    files = {"ca": settings.broker_ca, "cert": settings.broker_cert, "key": settings.broker_key}
    client_context(**files, setting="BROKER")  # loads the files, to report a bad one
    options: dict[str, Any] = {
        "ssl_cert_reqs": ssl.CERT_REQUIRED,
        "ssl_check_hostname": True,
        "ssl_min_version": OLDEST,
    }
    names = {"ca": "ssl_ca_certs", "cert": "ssl_certfile", "key": "ssl_keyfile"}
    return options | {names[part]: str(path) for part, path in files.items() if path is not None}
