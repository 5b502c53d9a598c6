"""Certificates and keys in PEM files, and by what others are known that show theirs."""

import hashlib
import logging
import ssl
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography import x509

from service import environment
from service.environment import SettingError

log = logging.getLogger("isthmus.tls")

_SOON = timedelta(days=30)


@dataclass(frozen=True, slots=True)
class PemFile:
    """A file in PEM format, and the setting that names it."""

    setting: str
    path: Path


@dataclass(frozen=True, slots=True)
class Credentials:
    """What one side of TLS connections has: its certificate with its chain, the key, and whom it believes.

    `authorities` are the certificates that others are checked against.
    """

    certificate: PemFile | None = None
    key: PemFile | None = None
    authorities: PemFile | None = None

    @property
    def files(self) -> tuple[PemFile, ...]:
        """Those that there are."""
        return tuple(one for one in (self.certificate, self.key, self.authorities) if one is not None)

    def load(self, context: ssl.SSLContext) -> None:
        """Have `context` use them; `SettingError` names the setting of what cannot be used."""
        if self.certificate is not None and self.key is not None:
            _load_own(context, self.certificate, self.key)
        if self.authorities is not None:
            _load_authorities(context, self.authorities)


def pem(environ: Mapping[str, str], name: str) -> PemFile | None:
    """The file that a setting names, if it is set."""
    given = environment.text(environ, name, "")
    return PemFile(name, Path(given)) if given else None


def pair(certificate: PemFile | None, key: PemFile | None) -> Credentials | None:
    """What we show, `None` if neither file is named; `SettingError` for one without the other."""
    if certificate is None and key is None:
        return None
    for one, other in ((certificate, key), (key, certificate)):
        if one is not None and other is None:
            raise SettingError(f"{one.setting} is set alone: TLS needs a certificate and its key.")
    return Credentials(certificate, key)


def fingerprint(connection: ssl.SSLObject | None) -> str:
    """SHA-256 of the certificate that the other side of a connection has shown, in hex; empty if none."""
    shown = connection.getpeercert(binary_form=True) if connection is not None else None
    return _digest(shown) if shown else ""


def leaf(path: Path) -> str:
    """The fingerprint of the first certificate in a PEM file; `OSError`, `ValueError`."""
    return _digest(_first(path))


def facts(path: Path) -> tuple[int, ...] | None:
    """What tells that a file is another one: links are followed, as secrets in a cluster are such."""
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns


def warn_of_expiry(file: PemFile) -> None:
    """Log that the certificate in a file is no good any more, or will not be soon."""
    try:
        ends = x509.load_der_x509_certificate(_first(file.path)).not_valid_after_utc
    except (OSError, ValueError):
        return  # what OpenSSL reads, this library need not
    if ends < datetime.now(UTC) + _SOON:
        log.warning("certificate setting=%s expires=%s", file.setting, ends.date().isoformat())


def reason(error: BaseException | None) -> str:
    """Why a handshake failed or a connection broke, in the words of the library or of ours."""
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"certificate not trusted: {error.verify_message.rstrip('.')}"
    if isinstance(error, ssl.SSLError):
        return (error.reason or "protocol error").replace("_", " ").lower()
    if isinstance(error, (TimeoutError, ConnectionAbortedError)):
        return "not finished in time"
    return "ended by the other side"


def _load_own(context: ssl.SSLContext, certificate: PemFile, key: PemFile) -> None:
    for one in (certificate, key):
        _require_readable(one)
    try:
        context.load_cert_chain(str(certificate.path), str(key.path), password=_no_password)
    except (ssl.SSLError, OSError, ValueError) as error:
        told = reason(error) if isinstance(error, ssl.SSLError) else "they cannot be read"
        raise SettingError(
            f"{certificate.setting} and {key.setting} must name a certificate with its chain and its key "
            f"without a password, both in PEM: {told}."
        ) from None


def _load_authorities(context: ssl.SSLContext, file: PemFile) -> None:
    _require_readable(file)
    try:
        context.load_verify_locations(str(file.path))
    except (ssl.SSLError, OSError) as error:
        told = reason(error) if isinstance(error, ssl.SSLError) else "it cannot be read"
        raise SettingError(f"{file.setting} must name a file of certificates in PEM: {told}.") from None


def _require_readable(file: PemFile) -> None:
    try:
        with file.path.open("rb"):
            pass
    except OSError as error:
        raise SettingError(
            f"{file.setting} must name a file that can be read; {str(file.path)!r}: {error.strerror}."
        ) from None


def _no_password() -> str:
    return ""  # else OpenSSL would ask for it at the terminal


def _first(path: Path) -> bytes:
    """The first certificate of a PEM file, decoded; `OSError`, `ValueError`."""
    begin, end = "-----BEGIN CERTIFICATE-----", "-----END CERTIFICATE-----"
    text = path.read_text("ascii", errors="replace")
    head, found, _ = text[text.index(begin) :].partition(end)
    return ssl.PEM_cert_to_DER_cert(head + found)


def _digest(certificate: bytes) -> str:
    return hashlib.sha256(certificate).hexdigest()
