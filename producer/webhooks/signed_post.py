"""One message to an address that a caller gave: signed, and never sent inside our network.

The form is that of Standard Webhooks
(https://github.com/standard-webhooks/standard-webhooks/blob/main/spec/standard-webhooks.md):
headers `webhook-id`, `webhook-timestamp` and `webhook-signature`, the last one an HMAC-SHA256
over `ID.TIMESTAMP.BODY` for each secret in force.

A host's name is resolved once, every address that it has is looked at, and the connection
goes to the one that was looked at: no name can mean something else a moment later. No
redirect is followed and no proxy is used. What the receiver says is not read but for its
status.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import http.client
import ipaddress
import socket
import ssl
import threading
from collections.abc import Sequence
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address
from urllib.parse import urlsplit

from core import tls
from core.errors import WebhookInvalid

LONGEST_URL = 2_000  # characters
_SECONDS = 10.0  # without a byte
_LONGEST_SECONDS = 20.0  # however slowly bytes come
_NAT64 = ipaddress.IPv6Network("64:ff9b::/96")

Address = IPv4Address | IPv6Address


@dataclass(frozen=True, slots=True)
class WebhookTarget:
    """Where a message goes."""

    host: str
    port: int
    path: str
    encrypted: bool


def target_of(url: str, *, private: bool) -> WebhookTarget:
    """Read an address.

    Args:
        url: the caller's.
        private: whether it may be inside our network, and without TLS.

    Raises:
        WebhookInvalid: no message can, or may, go there.
    """
    if len(url) > LONGEST_URL or not url.isascii() or not url.isprintable() or " " in url:
        raise WebhookInvalid(f"not a URL of at most {LONGEST_URL:,} ASCII characters")
    try:
        parts = urlsplit(url)
        host, port = parts.hostname, parts.port
    except ValueError as error:
        raise WebhookInvalid("not a URL") from error
    if parts.scheme not in ({"https", "http"} if private else {"https"}) or not host:
        raise WebhookInvalid("not a URL that begins with https://HOST")
    if parts.username is not None or parts.password is not None:
        raise WebhookInvalid("there is a user name or a password in it")
    encrypted = parts.scheme == "https"
    path = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    found = WebhookTarget(host, port or (443 if encrypted else 80), path, encrypted)
    literal = _literal(host)
    if literal is not None and not private and not is_public(literal):
        raise WebhookInvalid("it is an address inside a network")
    return found


def _literal(host: str) -> Address | None:
    try:
        return ipaddress.ip_address(host)
    except ValueError:
        return None


def is_public(address: Address) -> bool:
    """Tell whether everybody on the internet means the same by an address.

    What an IPv6 address carries of IPv4 counts as well.
    """
    if isinstance(address, IPv6Address):
        inner = address.ipv4_mapped or address.sixtofour
        if address in _NAT64:
            inner = IPv4Address(int(address) & 0xFFFFFFFF)
        if inner is not None:
            return is_public(inner)
        if address.teredo is not None:
            return False
    return address.is_global and not (address.is_multicast or address.is_reserved)


def address_of(target: WebhookTarget, *, private: bool) -> str:
    """Resolve the host's name, once.

    Raises:
        WebhookInvalid: it has an address inside a network.
        OSError: it can't be resolved.
    """
    found = socket.getaddrinfo(target.host, target.port, type=socket.SOCK_STREAM)
    addresses = [str(one[4][0]).partition("%")[0] for one in found]
    for address in addresses:
        if not private and not is_public(ipaddress.ip_address(address)):
            raise WebhookInvalid("its name stands for an address inside a network")
    return addresses[0]


def signatures(keys: Sequence[bytes], message_id: str, timestamp: int, body: bytes) -> str:
    """Return the header `webhook-signature`: one signature for each key."""
    signed = f"{message_id}.{timestamp}.".encode() + body
    digests = (hmac.digest(key, signed, hashlib.sha256) for key in keys)
    return " ".join(f"v1,{base64.b64encode(digest).decode()}" for digest in digests)


class _Pinned(http.client.HTTPConnection):
    """A connection to the address that was looked at, in the host's name."""

    def __init__(self, target: WebhookTarget, address: str, context: ssl.SSLContext) -> None:
        super().__init__(target.host, target.port, timeout=_SECONDS)
        self._target, self._address, self._context = target, address, context

    def connect(self) -> None:
        """Connect; with TLS the certificate must be the host's."""
        plain = socket.create_connection((self._address, self.port), self.timeout)
        if not self._target.encrypted:
            self.sock = plain
            return
        try:
            self.sock = self._context.wrap_socket(plain, server_hostname=self.host)
        except BaseException:
            plain.close()
            raise


def post(
    url: str,
    body: bytes,
    headers: dict[str, str],
    *,
    private: bool,
    context: ssl.SSLContext | None = None,
) -> int:
    """Send a message; return the status of the response, whatever it is.

    Raises:
        WebhookInvalid: it may not go there.
        OSError, http.client.HTTPException: there was no response.
    """
    target = target_of(url, private=private)
    context = context or tls.client_context(ca=None, cert=None, key=None, setting="WEBHOOK")
    connection = _Pinned(target, address_of(target, private=private), context)
    try:
        connection.connect()
        patience = threading.Timer(_LONGEST_SECONDS, _cut, [connection.sock])
        patience.daemon = True
        patience.start()
        try:
            connection.request("POST", target.path, body, headers)
            return connection.getresponse().status
        finally:
            patience.cancel()
    finally:
        connection.close()


def _cut(sock: socket.socket) -> None:
    try:
        sock.shutdown(socket.SHUT_RDWR)
    except OSError:
        return
