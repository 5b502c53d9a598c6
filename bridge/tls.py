"""DIMSE over TLS: where it is listened for, and what our side has to show (PS3.15 B)."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from bridge.table import Table
from service import environment
from service.certificates import Credentials, PemFile, pair, pem
from service.environment import SettingError
from service.tls import Contexts, Profile, ServerTrust, server_contexts

_PORT = 2762  # PS3.8 9.1.1, dicom-tls
_FINGERPRINT = re.compile(r"sha256:((?:[0-9a-f]{2}:?){31}[0-9a-f]{2})", re.IGNORECASE)
_NAME = re.compile(r"\*|[A-Za-z0-9_.:-]{1,253}")


@dataclass(frozen=True, slots=True)
class OwnTls:
    """What the bridge has for TLS with peers, where a peer has nothing of its own.

    The authorities in `credentials` are those that callers and peers are checked against.
    """

    credentials: Credentials = field(default_factory=Credentials)
    profile: Profile = Profile.BCP_195


@dataclass(frozen=True, slots=True)
class TlsListening:
    """Where associations over TLS are taken; `mutual` if callers must show a certificate."""

    host: str
    port: int
    contexts: Contexts
    mutual: bool


def read_own(environ: Mapping[str, str]) -> OwnTls:
    """The bridge's certificate, key, authorities and profile; `SettingError`."""
    certificate, key = pem(environ, "ISTHMUS_DIMSE_TLS_CERT"), pem(environ, "ISTHMUS_DIMSE_TLS_KEY")
    found = pair(certificate, key) or Credentials()
    found = replace(found, authorities=pem(environ, "ISTHMUS_DIMSE_TLS_CLIENT_CA"))
    profile = environment.one_of(
        environ, "ISTHMUS_DIMSE_TLS_PROFILE", Profile.BCP_195.value, tuple(one.value for one in Profile)
    )
    return OwnTls(found, Profile(profile))


def read_listening(environ: Mapping[str, str], own: OwnTls) -> TlsListening | None:
    """Where to listen, `None` without a certificate; `SettingError` if it cannot be used."""
    plain_host = environment.text(environ, "ISTHMUS_DIMSE_HOST", "127.0.0.1")
    host = environment.text(environ, "ISTHMUS_DIMSE_TLS_HOST", plain_host)
    port = environment.integer(environ, "ISTHMUS_DIMSE_TLS_PORT", _PORT, most=65535)
    if own.credentials.certificate is None:
        return None
    plain_port = environment.integer(environ, "ISTHMUS_DIMSE_PORT", 11112, most=65535)
    if port and port == plain_port and host == plain_host:
        raise SettingError(
            f"ISTHMUS_DIMSE_TLS_PORT and ISTHMUS_DIMSE_PORT are both {port}: TLS needs a port of its own."
        )
    contexts = server_contexts(own.credentials, profile=own.profile)
    return TlsListening(host, port, contexts, own.credentials.authorities is not None)


def read_fingerprints(table: Table) -> frozenset[str]:
    """By which certificates a peer is known: SHA-256 in lower case without colons; `SettingError`."""
    found = set()
    for item in table.texts("fingerprint"):
        told = _FINGERPRINT.fullmatch(item)
        if told is None:
            table.complain("fingerprint", "must be 'sha256:' and 64 hex digits, or a list of such", item)
        found.add(told[1].replace(":", "").lower())
    return frozenset(found)


def read_trust(table: Table, own: OwnTls, known: frozenset[str]) -> ServerTrust | None:
    """How the peer of a table is reached over TLS, `None` for in clear; `SettingError`.

    Certificates that it is known by count instead of authorities. What the table lacks is the bridge's `own`.
    """
    wanted = table.flag("tls", False)
    found = {
        "tls_cert": table.file("tls_cert"),
        "tls_key": table.file("tls_key"),
        "tls_ca": table.file("tls_ca"),
    }
    files = {key: PemFile(f"{table.place}: {key}", path) for key, path in found.items() if path is not None}
    expected = table.text("tls_name")
    if _NAME.fullmatch(expected or "*") is None:
        table.complain("tls_name", "must be the name of a host, or *", expected)
    useless = next((key for key in (*files, "tls_name") if table.has(key)), "")
    if not wanted and useless:
        table.complain(useless, "is of use with tls = true only", table.text(useless))
    if ("tls_cert" in files) != ("tls_key" in files):
        lacking = "tls_key" if "tls_cert" in files else "tls_cert"
        table.complain(lacking, "must be there too: TLS needs a certificate and its key", None)
    if not wanted:
        return None
    shown = files if "tls_cert" in files else {}
    credentials = Credentials(
        shown.get("tls_cert", own.credentials.certificate),
        shown.get("tls_key", own.credentials.key),
        files.get("tls_ca", own.credentials.authorities),
    )
    trusted = known.__contains__ if known else None
    return ServerTrust(credentials, profile=own.profile, name=expected, known=trusted)
