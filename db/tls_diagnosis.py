"""CAPTION db.tls_diagnosis."""

from __future__ import annotations

import socket
import ssl
import struct

import sqlalchemy as sa

from core.tls import fault_of

# What a client of PostgreSQL begins with if it wants TLS:
# https://www.postgresql.org/docs/current/protocol-message-formats.html, SSLRequest.
_SSL_REQUEST = struct.pack("!ii", 8, 80877103)


_PROBE_SECONDS = 5


def postgres_fault(url: sa.URL, problem: str) -> str | None:
    """Tell what is wrong with the server's certificate, which libpq does not; None: nothing.

    Args:
        url: the database's.
        problem: what libpq said.
    """
    if "certificate verify failed" not in problem or url.host is None:
        return None
    root = str(url.query.get("sslrootcert", ""))
    try:
        context = ssl.create_default_context(cafile=root if root not in ("", "system") else None)
        context.check_hostname = False  # libpq compares names itself, and says so
        place = (url.host, url.port or 5432)
        with socket.create_connection(place, _PROBE_SECONDS) as plain:
            plain.sendall(_SSL_REQUEST)
            if plain.recv(1) == b"S":
                context.wrap_socket(plain, server_hostname=url.host).close()
    except ssl.SSLError as error:
        return fault_of(error)
    except OSError:
        return None
    return None
