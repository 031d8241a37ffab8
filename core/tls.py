"""TLS towards Redis and PostgreSQL: what we ask of their certificates, and what was wrong.

Certificates are always checked, the host's name included: there is no setting that turns it
off. TLS of the HTTP front is in `producer.web.server`.
"""

from __future__ import annotations

import ssl
from collections.abc import Iterator
from pathlib import Path

from core.errors import SettingsInvalid
from core.settings.base import PREFIX

OLDEST = ssl.TLSVersion.TLSv1_2

# Of X509_V_ERR_…: https://docs.openssl.org/master/man3/X509_STORE_CTX_get_error/
_EXPIRED, _NOT_YET = 10, 9
_OTHER_HOST = (62, 64)
_UNKNOWN_ISSUER = (2, 18, 19, 20, 21, 27)

_EXPLANATIONS = {
    "WRONG_VERSION_NUMBER": "it does not speak TLS",
    "RECORD_LAYER_FAILURE": "it does not speak TLS",
    "CERTIFICATE_REQUIRED": "it wants a certificate of ours, and was sent none",
    "UNKNOWN_CA": "it does not trust the CA of our certificate",
    "closed": "it closed the connection instead of TLS; does it want a certificate of ours?",
    "UNSUPPORTED_PROTOCOL": "it speaks no TLS of version 1.2 or later",
}


def client_context(
    *, ca: Path | None, cert: Path | None, key: Path | None, setting: str
) -> ssl.SSLContext:
    """Return a client's context; without a CA, the system's are trusted.

    Raises:
        SettingsInvalid: a file is not what it should be.
    """
    try:
        context = ssl.create_default_context(cafile=ca)
    except (ssl.SSLError, OSError) as error:
        fault = f"there is no CA certificate in {ca}"
        raise SettingsInvalid([f"{PREFIX}{setting}_CA: {fault}"]) from error
    context.minimum_version = OLDEST
    if cert is not None:
        load_pair(context, cert, key, setting)
    return context


def load_pair(context: ssl.SSLContext, cert: Path, key: Path | None, setting: str) -> None:
    """Give the context a certificate and its key; without a key, it is in the same file.

    Raises:
        SettingsInvalid: they can't be read, or don't belong together.
    """
    try:
        # Without a password it would ask for one at the terminal.
        context.load_cert_chain(cert, key, password=lambda: b"")
    except (ssl.SSLError, OSError) as error:
        reason = str(getattr(error, "reason", None) or error).lower().replace("_", " ")
        where = f"{cert}" if key is None else f"{cert} and {key}"
        fault = f"{where} are no certificate and its key, unencrypted, as PEM: {reason}"
        raise SettingsInvalid([f"{PREFIX}{setting}_CERT: {fault}"]) from error


def fault_of(error: BaseException) -> str | None:
    """Tell in a sentence's end what is wrong with the other side's TLS; None: nothing is."""
    for cause in _causes(error):
        if isinstance(cause, ssl.SSLCertVerificationError):
            return _certificate_fault(cause)
        if isinstance(cause, ssl.SSLError):
            reason = cause.reason or "closed"
            told = (sentence for name, sentence in _EXPLANATIONS.items() if name in reason)
            return next(told, f"TLS fails: {reason.lower().replace('_', ' ')}")
    return None


def _causes(error: BaseException) -> Iterator[BaseException]:
    seen: set[int] = set()
    following: BaseException | None = error
    while following is not None and id(following) not in seen:
        seen.add(id(following))
        yield following
        following = following.__cause__ or following.__context__


def _certificate_fault(error: ssl.SSLCertVerificationError) -> str:
    code, told = error.verify_code, error.verify_message
    if code == _EXPIRED:
        return "its certificate has expired"
    if code == _NOT_YET:
        return "its certificate is not valid yet; are the clocks right?"
    if code in _OTHER_HOST:
        return f"its certificate is another host's: {told}"
    if code in _UNKNOWN_ISSUER:
        return f"its certificate is from no CA that is trusted here: {told}"
    return f"its certificate is refused: {told}"
