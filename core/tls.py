"""TLS contexts, and the reasons of failed handshakes.

Certificates are always checked, and so is the host name. No setting turns the check off.

Not covered: the server side of the HTTP front (`producer.web.server`), and what libpq does not
report (`db.tls_diagnosis`).
"""

from __future__ import annotations

import ssl
from collections.abc import Iterator
from pathlib import Path

from core.errors import SettingsInvalid
from core.settings.base import PREFIX

OLDEST = ssl.TLSVersion.TLSv1_2

# X509_V_ERR_… of https://docs.openssl.org/master/man3/X509_STORE_CTX_get_error/
_EXPIRED, _NOT_YET = 10, 9
_OTHER_HOST = (62, 64)
_UNKNOWN_ISSUER = (2, 18, 19, 20, 21, 27)

_EXPLANATIONS = {
    "WRONG_VERSION_NUMBER": "it does not speak TLS",
    "RECORD_LAYER_FAILURE": "it does not speak TLS",
    "CERTIFICATE_REQUIRED": "it requires a client certificate, and none was sent",
    "UNKNOWN_CA": "it does not trust the CA of the client certificate",
    "closed": "it closed the connection in the handshake; does it require a client certificate?",
    "UNSUPPORTED_PROTOCOL": "it does not support TLS 1.2 or later",
}


def client_context(
    *, ca: Path | None, cert: Path | None, key: Path | None, setting: str
) -> ssl.SSLContext:
    """Return the TLS context of a client.

    Args:
        ca: file of the trusted CA certificates; None: the CAs of the system.
        cert: file of the client certificate; None: no client certificate.
        key: file of its private key; None: the key is in `cert`.
        setting: prefix of the settings that an error names, such as `BROKER`.

    Raises:
        SettingsInvalid: a file does not hold certificates or the matching key.
    """
    try:
        context = ssl.create_default_context(cafile=ca)
    except (ssl.SSLError, OSError) as error:
        fault = f"{ca} contains no CA certificate in PEM format"
        raise SettingsInvalid([f"{PREFIX}{setting}_CA: {fault}"]) from error
    context.minimum_version = OLDEST
    if cert is not None:
        load_pair(context, cert, key, setting)
    return context


def load_pair(context: ssl.SSLContext, cert: Path, key: Path | None, setting: str) -> None:
    """Load a certificate and its private key into the context.

    Without `key`, the private key is in the file of the certificate.

    Raises:
        SettingsInvalid: a file cannot be read, or the key does not match the certificate.
    """
    try:
        # Without a password, OpenSSL would ask for one at the terminal.
        context.load_cert_chain(cert, key, password=lambda: b"")
    except (ssl.SSLError, OSError) as error:
        reason = str(getattr(error, "reason", None) or error).lower().replace("_", " ")
        files = f"{cert}" if key is None else f"{cert} and {key}"
        fault = f"cannot load a certificate and its unencrypted key from {files}: {reason}"
        raise SettingsInvalid([f"{PREFIX}{setting}_CERT: {fault}; use PEM files"]) from error


def fault_of(error: BaseException) -> str | None:
    """Return the TLS fault of the other side, or None for any other error."""
    for cause in _causes(error):
        if isinstance(cause, ssl.SSLCertVerificationError):
            return _certificate_fault(cause)
        if isinstance(cause, ssl.SSLError):
            reason = cause.reason or "closed"
            known = (fault for name, fault in _EXPLANATIONS.items() if name in reason)
            return next(known, f"TLS fails: {reason.lower().replace('_', ' ')}")
    return None


def _causes(error: BaseException) -> Iterator[BaseException]:
    seen: set[int] = set()
    cause: BaseException | None = error
    while cause is not None and id(cause) not in seen:
        seen.add(id(cause))
        yield cause
        cause = cause.__cause__ or cause.__context__


def _certificate_fault(error: ssl.SSLCertVerificationError) -> str:
    code, message = error.verify_code, error.verify_message
    if code == _EXPIRED:
        return "its certificate has expired"
    if code == _NOT_YET:
        return "its certificate is not valid yet; compare the clocks of both machines"
    if code in _OTHER_HOST:
        return f"its certificate is for another host: {message}"
    if code in _UNKNOWN_ISSUER:
        return f"its certificate is from a CA that is not trusted here: {message}"
    return f"its certificate is refused: {message}"
