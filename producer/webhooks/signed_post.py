"""A signed POST to a caller's URL.

The target is never an address inside a private network, unless the operator allows it.

The headers `webhook-id`, `webhook-timestamp` and `webhook-signature` (HMAC-SHA256 over
`ID.TIMESTAMP.BODY` for each active secret) are those of Standard Webhooks:
https://github.com/standard-webhooks/standard-webhooks/blob/main/spec/standard-webhooks.md

The host name is resolved once, every address is checked, and the connection uses a checked address.
A second resolution can therefore not return another address. Redirects are not followed, proxies
are not used, and only the status of the response is read.
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
_IDLE_SECONDS = 10.0  # without a byte from the receiver
_TOTAL_SECONDS = 20.0  # for the whole request, even if bytes arrive
_NAT64 = ipaddress.IPv6Network("64:ff9b::/96")

Address = IPv4Address | IPv6Address


@dataclass(frozen=True, slots=True)
class WebhookTarget:
    """The parts of a webhook's URL."""

    host: str
    port: int
    path: str
    encrypted: bool


def target_of(url: str, *, private: bool) -> WebhookTarget:
    """Parse and check the URL of a webhook.

    Args:
        url: the caller's URL.
        private: whether to allow private addresses, and HTTP without TLS.

    Raises:
        WebhookInvalid: the URL is invalid or not allowed.
    """
    if len(url) > LONGEST_URL or not url.isascii() or not url.isprintable() or " " in url:
        raise WebhookInvalid(
            f"the URL must have at most {LONGEST_URL:,} printable ASCII characters"
        )
    try:
        parts = urlsplit(url)
        host, port = parts.hostname, parts.port
    except ValueError as error:
        raise WebhookInvalid("the text is not a URL") from error
    if parts.scheme not in ({"https", "http"} if private else {"https"}) or not host:
        raise WebhookInvalid("the URL must begin with https://HOST")
    if parts.username is not None or parts.password is not None:
        raise WebhookInvalid("the URL contains a user name or a password; remove it")
    encrypted = parts.scheme == "https"
    path = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    target = WebhookTarget(host, port or (443 if encrypted else 80), path, encrypted)
    literal = _literal(host)
    if literal is not None and not private and not is_public(literal):
        raise WebhookInvalid("the URL has an address inside a private network")
    return target


def _literal(host: str) -> Address | None:
    try:
        return ipaddress.ip_address(host)
    except ValueError:
        return None


def is_public(address: Address) -> bool:
    """Return whether an address is reachable on the public internet.

    An IPv4 address inside an IPv6 address is checked too.
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
    """Resolve the host name once, and return its first address.

    Raises:
        WebhookInvalid: an address of the host is inside a private network.
        OSError: the name cannot be resolved.
    """
    resolved = socket.getaddrinfo(target.host, target.port, type=socket.SOCK_STREAM)
    addresses = [str(item[4][0]).partition("%")[0] for item in resolved]
    for address in addresses:
        if not private and not is_public(ipaddress.ip_address(address)):
            raise WebhookInvalid("the host name resolves to an address inside a private network")
    return addresses[0]


def signatures(keys: Sequence[bytes], message_id: str, timestamp: int, body: bytes) -> str:
    """Return the header `webhook-signature`: one signature for each key."""
    signed = f"{message_id}.{timestamp}.".encode() + body
    digests = (hmac.digest(key, signed, hashlib.sha256) for key in keys)
    return " ".join(f"v1,{base64.b64encode(digest).decode()}" for digest in digests)


class _PinnedConnection(http.client.HTTPConnection):
    """A connection to the checked address that names the host."""

    def __init__(self, target: WebhookTarget, address: str, context: ssl.SSLContext) -> None:
        super().__init__(target.host, target.port, timeout=_IDLE_SECONDS)
        self._target, self._address, self._context = target, address, context

    def connect(self) -> None:
        """Connect. With TLS, require a certificate of the host."""
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
    """Send a message, and return the status of the response.

    Raises:
        WebhookInvalid: the URL is invalid or not allowed.
        OSError, http.client.HTTPException: no valid response arrived.
    """
    target = target_of(url, private=private)
    context = context or tls.client_context(ca=None, cert=None, key=None, setting="WEBHOOK")
    connection = _PinnedConnection(target, address_of(target, private=private), context)
    try:
        connection.connect()
        timer = threading.Timer(_TOTAL_SECONDS, _shut_down, [connection.sock])
        timer.daemon = True
        timer.start()
        try:
            connection.request("POST", target.path, body, headers)
            return connection.getresponse().status
        finally:
            timer.cancel()
    finally:
        connection.close()


def _shut_down(sock: socket.socket) -> None:
    try:
        sock.shutdown(socket.SHUT_RDWR)
    except OSError:
        return
