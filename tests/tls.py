"""A CA, certificates and a TLS front for a server that speaks plain, made for one test.

The servers that the tests' wheels ship were built without TLS. What stands in front of them
here ends real TLS, by Python's ssl module: to a client it is the server.
"""

from __future__ import annotations

import contextlib
import datetime as dt
import ipaddress
import socket
import ssl
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

_DAY = dt.timedelta(days=1)
_STEP = 1 << 16
_SSL_REQUEST = (80877103).to_bytes(4, "big")


@dataclass(frozen=True)
class Pair:
    """Files of a certificate and its key."""

    cert: Path
    key: Path


class Authority:
    """A CA of the test's own."""

    def __init__(self, folder: Path, name: str = "ca") -> None:
        self._folder, self._name = folder, name
        self._key = ec.generate_private_key(ec.SECP256R1())
        subject = _named(name)
        builder = _builder(subject, subject, self._key).add_extension(
            x509.BasicConstraints(ca=True, path_length=None), critical=True
        )
        self._certificate = builder.sign(self._key, hashes.SHA256())
        self.file = folder / f"{name}.pem"
        self.file.write_bytes(self._certificate.public_bytes(serialization.Encoding.PEM))

    def issue(self, host: str = "127.0.0.1", *, days: tuple[int, int] = (-1, 1)) -> Pair:
        """Make a certificate for a host name or address, good from and to so many days off."""
        key = ec.generate_private_key(ec.SECP256R1())
        try:
            alternative: x509.GeneralName = x509.IPAddress(ipaddress.ip_address(host))
        except ValueError:
            alternative = x509.DNSName(host)
        certificate = (
            _builder(_named(host), self._certificate.subject, key, days)
            .add_extension(x509.SubjectAlternativeName([alternative]), critical=False)
            .sign(self._key, hashes.SHA256())
        )
        stem = f"{self._name}-{host}-{days[1]}"
        pair = Pair(self._folder / f"{stem}.pem", self._folder / f"{stem}.key")
        pair.cert.write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
        pair.key.write_bytes(
            key.private_bytes(
                serialization.Encoding.PEM,
                serialization.PrivateFormat.PKCS8,
                serialization.NoEncryption(),
            )
        )
        return pair


def _named(name: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])


def _builder(subject, issuer, key, days=(-1, 1)) -> x509.CertificateBuilder:
    now = dt.datetime.now(dt.UTC)
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now + days[0] * _DAY)
        .not_valid_after(now + days[1] * _DAY)
    )


@contextlib.contextmanager
def fronting(
    backend: str, pair: Pair, *, postgres: bool = False, clients: Path | None = None
) -> Iterator[int]:
    """End TLS in front of a server on a Unix socket; yield the port on loopback.

    `clients` is the CA whose certificates it wants clients to show.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(pair.cert, pair.key)
    if clients is not None:
        context.verify_mode = ssl.CERT_REQUIRED
        context.load_verify_locations(clients)
    with socket.create_server(("127.0.0.1", 0)) as listener:
        accepting = threading.Thread(
            target=_accept, args=(listener, context, backend, postgres), daemon=True
        )
        accepting.start()
        yield listener.getsockname()[1]
        listener.shutdown(socket.SHUT_RDWR)
        accepting.join()


def _accept(listener, context, backend, postgres) -> None:
    with contextlib.suppress(OSError):
        while True:
            client, _ = listener.accept()
            work = (client, context, backend, postgres)
            threading.Thread(target=_serve, args=work, daemon=True).start()


def _serve(client, context, backend, postgres) -> None:
    with contextlib.suppress(OSError), client:
        if postgres:
            while client.recv(8)[4:] != _SSL_REQUEST:
                client.sendall(b"N")  # to a request for another kind of encryption
            client.sendall(b"S")
        with (
            context.wrap_socket(client, server_side=True) as encrypted,
            socket.socket(socket.AF_UNIX) as server,
        ):
            server.connect(backend)
            back = threading.Thread(target=_pump, args=(server, encrypted), daemon=True)
            back.start()
            _pump(encrypted, server)
            back.join()


def _pump(source, target) -> None:
    with contextlib.suppress(OSError):
        while data := source.recv(_STEP):
            target.sendall(data)
    with contextlib.suppress(OSError):
        target.shutdown(socket.SHUT_RDWR)
