"""Where the DICOMweb server behind the bridge is, and how long it is waited for."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

from bridge import hosts
from service import environment
from service.certificates import Credentials, PemFile
from service.environment import SettingError
from service.tls import OwnCertificate, ServerTrust


@dataclass(frozen=True, slots=True)
class ArchiveSettings:
    """The DICOMweb server behind the bridge, and how long it is waited for."""

    url: str = "http://127.0.0.1:8080/dicom-web"
    token_file: Path | None = None
    token: str = field(default="", repr=False)
    """What the bridge signs in with where there is no file."""
    ca_file: Path | None = None
    """The authorities that its certificate is checked against, `None` for the system's."""
    own_certificate: Path | None = None
    """The certificate that it shows, where that is our own."""
    connect_s: float = 10.0
    answer_s: float = 120.0
    """For the answer after the last byte, and for each pause in which the archive reads nothing."""
    continue_s: float = 5.0
    """For the interim answer 100 before an instance is sent that could not be sent again."""
    replay_window_bytes: int = 1 << 20
    """An instance is kept for one replay while it is no larger than this."""
    replay_delay_s: float = 1.0
    """At most this long after a 503 the replay begins."""
    unsent_bytes: int = 1 << 18
    """What may wait in the connection's write buffer."""
    idle_connections: int = 64


def read_archive(environ: Mapping[str, str]) -> ArchiveSettings:
    """The settings in `environ`; `SettingError` names the first variable that is no good."""
    read = ArchiveSettings(
        url=_url(environ),
        token_file=_file(environ, "ISTHMUS_ARCHIVE_TOKEN_FILE"),
        ca_file=_file(environ, "ISTHMUS_ARCHIVE_CA"),
        own_certificate=_own_certificate(environ),
    )
    trust_of(read)
    return read


def trust_of(settings: ArchiveSettings) -> ServerTrust | None:
    """How the server is known over TLS, `None` for one in clear; `SettingError`."""
    if urlsplit(settings.url).scheme != "https":
        return None
    if settings.ca_file is not None:
        return ServerTrust(Credentials(authorities=PemFile("ISTHMUS_ARCHIVE_CA", settings.ca_file)))
    if settings.own_certificate is not None:
        return ServerTrust(known=OwnCertificate(PemFile("ISTHMUS_TLS_CERT", settings.own_certificate)))
    return ServerTrust()


def _own_certificate(environ: Mapping[str, str]) -> Path | None:
    """What the service beside the bridge shows: it is reached by an address, which no certificate names."""
    given = environment.text(environ, "ISTHMUS_TLS_CERT", "")
    told = environment.text(environ, "ISTHMUS_ARCHIVE_URL", "")
    beside = not told or hosts.is_loopback(urlsplit(told).hostname or "")
    return Path(given) if given and beside else None


def _url(environ: Mapping[str, str]) -> str:
    url = environment.text(environ, "ISTHMUS_ARCHIVE_URL", "")
    if url:
        return _checked(url)
    host = environment.text(environ, "ISTHMUS_HOST", "127.0.0.1")
    # What listens on every address is reached on the loopback.
    host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)
    port = environment.integer(environ, "ISTHMUS_PORT", 8080, least=1, most=65535)
    prefix = environment.text(environ, "ISTHMUS_PREFIX", "/dicom-web").strip("/")
    authority = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
    scheme = "https" if environment.text(environ, "ISTHMUS_TLS_CERT", "") else "http"
    return f"{scheme}://{authority}/{prefix}".rstrip("/")


def _checked(url: str) -> str:
    example = "such as http://127.0.0.1:8080/dicom-web"
    try:
        parts = urlsplit(url)
        usable = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:
        usable = False
    if not usable or not url.isascii() or any(c <= " " for c in url):
        raise SettingError(f"ISTHMUS_ARCHIVE_URL must be an http or https URL {example}.")
    if parts.query or parts.fragment or parts.username is not None:
        raise SettingError(
            "ISTHMUS_ARCHIVE_URL must have no query, fragment or password; a token comes from "
            "ISTHMUS_ARCHIVE_TOKEN_FILE."
        )
    return url.rstrip("/")


def _file(environ: Mapping[str, str], name: str) -> Path | None:
    given = environment.text(environ, name, "")
    if not given:
        return None
    path = Path(given)
    if not path.is_file():
        raise SettingError(f"{name} must name a file that can be read; it is {given!r}.")
    return path
