"""TLS contexts of servers and clients by the profiles of PS3.15 B, made anew when their files change."""

import contextlib
import enum
import logging
import ssl
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from service import certificates
from service.alerts import AlertingContext
from service.certificates import Credentials, PemFile
from service.environment import SettingError

log = logging.getLogger("isthmus.tls")

_LOOKED_AT_S = 1.0  # between two looks at the files
_GROUP = Path(__file__).with_name("ffdhe2048.pem")  # RFC 7919 A.1

# RFC 9325 4.2: ephemeral keys and authenticated encryption; the suites of TLS 1.3 are all of that kind.
_ECDHE = (
    "ECDHE-ECDSA-AES128-GCM-SHA256",
    "ECDHE-RSA-AES128-GCM-SHA256",
    "ECDHE-ECDSA-AES256-GCM-SHA384",
    "ECDHE-RSA-AES256-GCM-SHA384",
)
_DHE = ("DHE-RSA-AES128-GCM-SHA256", "DHE-RSA-AES256-GCM-SHA384")


class Profile(enum.StrEnum):
    """Which ciphers are taken, in TLS 1.2 and 1.3 (the BCP 195 profiles of PS3.15 annex B)."""

    BCP_195 = "bcp195"
    """Those that RFC 9325 recommends."""
    LEGACY = "legacy-non-downgrading"
    """Those, and finite field Diffie-Hellman for peers without elliptic curves."""

    @property
    def ciphers(self) -> tuple[str, ...]:
        """The suites of TLS 1.2, by OpenSSL's names, the preferred first."""
        return _ECDHE + _DHE if self is Profile.LEGACY else _ECDHE


class Contexts:
    """The TLS context of `credentials`: made by `make` at once, and again whenever one of the files changes.

    Files that cannot be used at the start raise `SettingError`; later the context before stays in use, and
    the log says so. Connections keep the context that they began with.
    """

    def __init__(self, credentials: Credentials, make: Callable[[], ssl.SSLContext]) -> None:
        self.credentials = credentials
        self._make = make
        self._seen = self._facts()
        self._context = self._made()
        self._looked_at = time.monotonic()

    def current(self) -> ssl.SSLContext:
        """The context for the next handshake; looks at the files about once a second."""
        now = time.monotonic()
        if now - self._looked_at < _LOOKED_AT_S:
            return self._context
        self._looked_at = now
        seen = self._facts()
        if seen != self._seen:
            self._seen = seen
            try:
                self._context = self._made()
                log.info("certificates settings=%s reloaded=true", self._settings)
            except SettingError as error:
                log.error("certificates settings=%s reloaded=false reason=%s", self._settings, error)
        return self._context

    def _made(self) -> ssl.SSLContext:
        context = self._make()
        self.credentials.load(context)
        if self.credentials.certificate is not None:
            certificates.warn_of_expiry(self.credentials.certificate)
        return context

    @property
    def _settings(self) -> str:
        return ",".join(one.setting for one in self.credentials.files)

    def _facts(self) -> list[tuple[int, ...] | None]:
        """What tells that a file is another one: links are followed, as secrets in a cluster are such."""
        return [certificates.facts(one.path) for one in self.credentials.files]


def server_contexts(
    credentials: Credentials, *, profile: Profile = Profile.BCP_195, protocols: Sequence[str] = ()
) -> Contexts:
    """Contexts of a server; with authorities, clients must have a certificate of theirs.

    `protocols` are offered by ALPN (RFC 7301). Sessions are not resumed where clients have certificates: each
    connection shows its own.
    """

    def make() -> ssl.SSLContext:
        context = AlertingContext(ssl.PROTOCOL_TLS_SERVER)
        _restrict(context, profile)
        context.options |= ssl.OP_CIPHER_SERVER_PREFERENCE
        if profile is Profile.LEGACY:
            context.load_dh_params(str(_GROUP))
        if protocols:
            context.set_alpn_protocols(list(protocols))
        if credentials.authorities is not None:
            context.verify_mode = ssl.CERT_REQUIRED
            context.options |= ssl.OP_NO_TICKET
            context.num_tickets = 0
        return context

    return Contexts(credentials, make)


def https_contexts(credentials: Credentials | None) -> Contexts | None:
    """Contexts of an HTTPS server, `None` for one in clear; `SettingError`."""
    return None if credentials is None else server_contexts(credentials, protocols=("http/1.1",))


def client_context(ca_file: str | None = None) -> ssl.SSLContext:
    """A context for a server that the authorities in `ca_file` vouch for, or the system's. `OSError`.

    Python's own strictness (RFC 5280 to the letter) is left out: the authorities of hospitals fail by it, and
    nothing of it says whom a certificate is of.
    """
    context = ssl.create_default_context(cafile=ca_file)
    context.verify_flags &= ~ssl.VERIFY_X509_STRICT
    return context


class ServerTrust:
    """How we connect to a server over TLS, and whom we take for it.

    Its certificate must be signed by the authorities of `credentials`, the system's where there are none, and
    be in the name of the host, or in `name`; `*` is any name. With `known` the certificate itself is looked
    at instead, by its fingerprint, and neither its signature, nor its name or dates.
    """

    def __init__(
        self,
        credentials: Credentials | None = None,
        *,
        profile: Profile = Profile.BCP_195,
        name: str = "",
        known: Callable[[str], bool] | None = None,
    ) -> None:
        self.name = name
        self.known = known
        self._profile = profile
        self._own = credentials or Credentials()
        self._contexts = Contexts(self._own, self._make)

    def context(self) -> ssl.SSLContext:
        """The context for the next handshake."""
        return self._contexts.current()

    def server_name(self, host: str) -> str:
        """The name that is asked for (SNI), and checked, of a server at `host`."""
        return host if self.name in ("", "*") else self.name

    def takes(self, connection: ssl.SSLObject | None) -> bool:
        """Whether the server is the one, as far as the handshake has not seen to that."""
        return self.known is None or self.known(certificates.fingerprint(connection))

    def _make(self) -> ssl.SSLContext:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        _restrict(context, self._profile)
        context.check_hostname = self.known is None and self.name != "*"
        if self.known is not None:
            context.verify_mode = ssl.CERT_NONE
        elif self._own.authorities is None:
            context.load_default_certs(ssl.Purpose.SERVER_AUTH)
        return context


class OwnCertificate:
    """The certificate in a file of ours, as others who show it are known by: `Contexts` may lag behind it."""

    def __init__(self, file: PemFile) -> None:
        self._path = file.path
        self._seen: tuple[int, ...] | None = None
        self._last: tuple[str, ...] = ()

    def __call__(self, fingerprint: str) -> bool:
        """Whether a certificate is that of the file, or the one before."""
        seen = certificates.facts(self._path)
        if seen is not None and seen != self._seen:
            with contextlib.suppress(OSError, ValueError):
                self._last = (certificates.leaf(self._path), *self._last[:1])
                self._seen = seen
        return bool(fingerprint) and fingerprint in self._last


def _restrict(context: ssl.SSLContext, profile: Profile) -> None:
    """TLS 1.2 at least, only the profile's ciphers, nothing compressed and nothing negotiated twice."""
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_ciphers(":".join(profile.ciphers))
    context.options |= ssl.OP_NO_COMPRESSION | ssl.OP_NO_RENEGOTIATION
    # A certificate that is itself among the authorities needs no other above it.
    context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN
