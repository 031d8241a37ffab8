"""The diagnosis of a PostgreSQL server's certificate.

libpq reports no details. After a failed connection, the TLS handshake is repeated with Python's
ssl module to get the exact fault. Not covered: host names, which libpq checks and reports itself.
"""

from __future__ import annotations

import socket
import ssl
import struct

import sqlalchemy as sa

from core.tls import fault_of

# The first bytes that a PostgreSQL client sends to request TLS, message SSLRequest in
# https://www.postgresql.org/docs/current/protocol-message-formats.html.
_SSL_REQUEST = struct.pack("!ii", 8, 80877103)

# Seconds for each network operation of the diagnosis; higher: a later error message.
_PROBE_SECONDS = 5


def postgres_fault(url: sa.URL, problem: str) -> str | None:
    """Return the fault of the server's certificate, or None if none is found.

    Args:
        url: the database's URL.
        problem: libpq's error message.
    """
    if "certificate verify failed" not in problem or url.host is None:
        return None
    root = str(url.query.get("sslrootcert", ""))
    try:
        context = ssl.create_default_context(cafile=root if root not in ("", "system") else None)
        context.check_hostname = False  # libpq checks names and reports a mismatch
        address = (url.host, url.port or 5432)
        with socket.create_connection(address, _PROBE_SECONDS) as plain:
            plain.sendall(_SSL_REQUEST)
            if plain.recv(1) == b"S":
                context.wrap_socket(plain, server_hostname=url.host).close()
    except ssl.SSLError as error:
        return fault_of(error)
    except OSError:
        return None
    return None
