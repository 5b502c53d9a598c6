"""The service's settings: one frozen object, read from the environment once and made valid at start."""

import functools
import ipaddress
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

from service.access.settings import AccessSettings, read_access
from service.audit.settings import AuditSettings, read_audit
from service.certificates import Credentials, pair, pem
from service.dicom.syntaxes import BY_UID, ROOT
from service.environment import SettingError, integer, one_of, size, text
from service.tracing import collector

type Network = ipaddress.IPv4Network | ipaddress.IPv6Network

# Host and port as they may stand in a URL that is written into answers.
AUTHORITY = re.compile(r"(?:[A-Za-z0-9._-]{1,253}|\[[0-9A-Fa-f:.]{2,45}\])(?::[0-9]{1,5})?")

LOOPBACK = ("127.0.0.1", "::1", "localhost")
_ORIGIN = re.compile(rf"(https?)://({AUTHORITY.pattern})/?", re.IGNORECASE)
_PUBLIC_URL = re.compile(rf"https?://{AUTHORITY.pattern}(?:/[A-Za-z0-9._~%+-]+)*/?")
# Frames that browsers do not decode (JPEG XL, Deflated Image Frame, Encapsulated Uncompressed).
_DECODED = (".4.110", ".4.111", ".4.112", ".8.1", ".1.98")
_FAR_READS, _FAR_WRITES = 48, 32
_DEFAULT_PORTS = {"http": ":80", "https": ":443"}


@dataclass(frozen=True, slots=True)
class Settings:
    """What an operator may set, and the tuning numbers that have one default here.

    Sizes are in bytes, times in seconds.
    """

    store: str = "file://./data/objects"
    index: str = "sqlite://./data/index.db"
    host: str = "127.0.0.1"
    port: int = 8080
    access: AccessSettings = field(default_factory=AccessSettings)
    tls: Credentials | None = None
    """The certificate that HTTP is served with, `None` for in clear."""
    prefix: str = "/dicom-web"
    workers: int = 1
    on_duplicate: str = "refuse"
    header_limit: int = 32 << 20
    max_results: int = 5_000
    drain_s: int = 4
    public_url: str = ""
    hosts: tuple[str, ...] | None = None
    """The names that requests may ask for beside `localhost` and addresses, `None` for any."""
    trusted_proxies: tuple[Network, ...] = ()
    cors: tuple[str, ...] = ("loopback",)
    bridge_url: str = ""
    ohif_url: str = ""
    ohif: str = ""

    audit: AuditSettings = field(default_factory=AuditSettings)
    traces_to: str = ""
    """Where traces go by OTLP over HTTP; nowhere without it."""

    index_connections: int = 16
    s3_endpoint: str = ""
    s3_client: str = "obstore"

    max_requests: int = 1024
    max_body: int = 256 << 30
    max_instance: int = 32 << 30
    max_response: int = 0
    statement_s: int = 20
    max_parts: int = 20_000
    body_stall_s: float = 60.0
    max_result_bytes: int = 16 << 20
    read_threads: int = 8
    read_queue: int = 256
    store_threads: int = 8
    uploads: int = 512
    write_threads: int = 0
    """That write objects while others arrive; without any, who takes an object in writes it too."""
    batch_instances: int = 100
    batch_bytes: int = 16 << 20
    durable: bool = True
    """Whether files have to outlast the machine's losing its power, as all do but those of a cache."""
    read_block: int = 1 << 20
    metadata_cache: int = 64 << 20
    pixel_queue: int = 64
    pixel_cache: int = 128 << 20
    pixel_waiting: int = 32
    decoded_syntaxes: tuple[str, ...] = tuple(ROOT + tail for tail in _DECODED)

    @property
    def pixel_threads(self) -> int:
        """How many threads of one process work on pixels: its share of the CPUs."""
        return max(_allowed_cpus() // self.workers, 1)

    @property
    def pixel_shelf(self) -> int:
        """How much of the cache for pixels is for what pictures are made of."""
        return self.pixel_cache // 4

    @classmethod
    def from_environment(cls, environ: Mapping[str, str]) -> "Settings":
        """`SettingError` names the variable that cannot be used."""
        default = cls()
        host = text(environ, "ISTHMUS_HOST", default.host)
        access = read_access(environ)
        if not access.safe_beyond_loopback and host not in LOOPBACK:
            raise SettingError(
                f"ISTHMUS_HOST is {host!r}, beyond loopback, and ISTHMUS_AUTH is 'none': anyone could read "
                "and store. Have people sign in (ISTHMUS_AUTH='basic' or 'jwt'), or put an authenticating "
                "proxy in front and write ISTHMUS_AUTH='none!' to allow it."
            )
        prefix = text(environ, "ISTHMUS_PREFIX", default.prefix)
        if not prefix.startswith("/") or prefix.endswith("/") or "//" in prefix:
            raise SettingError(
                f"ISTHMUS_PREFIX must begin with a slash and not end in one; it is {prefix!r}."
            )
        store = text(environ, "ISTHMUS_STORE", default.store)
        # Where objects are far away a thread mostly waits: it takes more of them to keep the CPUs busy.
        far = store.startswith("s3://")
        return cls(
            store=store,
            s3_endpoint=text(environ, "ISTHMUS_S3_ENDPOINT", default.s3_endpoint),
            s3_client=one_of(environ, "ISTHMUS_S3_CLIENT", default.s3_client, ("obstore", "boto3")),
            read_threads=_FAR_READS if far else default.read_threads,
            write_threads=_FAR_WRITES if far else default.write_threads,
            index=text(environ, "ISTHMUS_INDEX", default.index),
            index_connections=integer(
                environ, "ISTHMUS_INDEX_CONNECTIONS", default.index_connections, least=2, most=1000
            ),
            host=host,
            access=access,
            port=integer(environ, "ISTHMUS_PORT", default.port, most=65535),
            tls=pair(pem(environ, "ISTHMUS_TLS_CERT"), pem(environ, "ISTHMUS_TLS_KEY")),
            prefix=prefix,
            workers=integer(environ, "ISTHMUS_WORKERS", min(_allowed_cpus(), 4), least=1, most=64),
            on_duplicate=one_of(
                environ, "ISTHMUS_ON_DUPLICATE", default.on_duplicate, ("refuse", "keep", "replace")
            ),
            header_limit=size(environ, "ISTHMUS_HEADER_LIMIT", default.header_limit, least=1 << 20),
            max_results=integer(environ, "ISTHMUS_MAX_RESULTS", default.max_results, least=1),
            max_requests=integer(
                environ, "ISTHMUS_MAX_REQUESTS", default.max_requests, least=2, most=100_000
            ),
            max_body=size(environ, "ISTHMUS_MAX_BODY", default.max_body, least=1 << 10),
            max_instance=size(environ, "ISTHMUS_MAX_INSTANCE", default.max_instance, least=1 << 10),
            max_response=size(environ, "ISTHMUS_MAX_RESPONSE", default.max_response, least=0),
            statement_s=integer(environ, "ISTHMUS_STATEMENT_S", default.statement_s, least=1, most=3600),
            drain_s=integer(environ, "ISTHMUS_DRAIN_S", default.drain_s),
            public_url=_public_url(environ),
            hosts=None if access.safe_beyond_loopback else _host_of(_public_url(environ)),
            trusted_proxies=networks(environ, "ISTHMUS_TRUSTED_PROXIES"),
            cors=origins(environ, "ISTHMUS_CORS", default.cors),
            bridge_url=_url(environ, "ISTHMUS_BRIDGE_URL", "http://127.0.0.1:8081"),
            ohif=_ohif(environ),
            ohif_url=_url(environ, "ISTHMUS_OHIF_URL", "https://viewer.example.org"),
            audit=read_audit(environ),
            traces_to=collector(environ),
            pixel_queue=integer(environ, "ISTHMUS_PIXEL_QUEUE", default.pixel_queue, least=1, most=10_000),
            pixel_cache=size(environ, "ISTHMUS_PIXEL_CACHE", default.pixel_cache, least=0),
            decoded_syntaxes=_syntaxes(environ, "ISTHMUS_DECODED_SYNTAXES", default.decoded_syntaxes),
        )


def _ohif(environ: Mapping[str, str]) -> str:
    """The folder of an unpacked build of OHIF, the one that its `index.html` is in; or nothing."""
    given = text(environ, "ISTHMUS_OHIF", "")
    found = next((one for one in (Path(given), Path(given, "dist")) if (one / "index.html").is_file()), None)
    if given and found is None:
        raise SettingError(
            f"ISTHMUS_OHIF must be the folder of an unpacked build of OHIF; {given!r} has no index.html, nor "
            "a folder dist that has one."
        )
    return str(found) if given else ""


def _url(environ: Mapping[str, str], name: str, example: str) -> str:
    """A URL as browsers and other clients reach it, without a trailing slash; empty where it is not set."""
    given = text(environ, name, "")
    if given and not _PUBLIC_URL.fullmatch(given):
        raise SettingError(f"{name} must be a URL as clients see it, such as {example}; it is {given!r}.")
    return given.rstrip("/")


def _public_url(environ: Mapping[str, str]) -> str:
    return _url(environ, "ISTHMUS_PUBLIC_URL", "https://pacs.example.org/dicom-web")


def _host_of(url: str) -> tuple[str, ...]:
    host = urlsplit(url).hostname
    return (host,) if host else ()


def networks(environ: Mapping[str, str], name: str) -> tuple[Network, ...]:
    """Addresses and networks, parted by commas or spaces; `SettingError` for what is neither."""
    found: list[Network] = []
    for item in _items(environ, name):
        try:
            found.append(ipaddress.ip_network(item))
        except ValueError:
            raise SettingError(
                f"{name} must be a list of addresses and networks such as 10.0.0.1 or 10.0.0.0/8; "
                f"it has {item!r}."
            ) from None
    return tuple(found)


def origins(environ: Mapping[str, str], name: str, default: tuple[str, ...]) -> tuple[str, ...]:
    """Origins as browsers write them; `loopback` and `*` stand for many, and `none` for none."""
    items = _items(environ, name)
    if not items:
        return default
    if items in (["none"], ["*"]):
        return () if items == ["none"] else ("*",)
    origins: list[str] = []
    for item in items:
        match = _ORIGIN.fullmatch(item)
        if match is None and item != "loopback":
            raise SettingError(
                f"{name} must be 'none', '*', or a list of origins such as https://viewer.example.org, "
                f"among which 'loopback' may be; it has {item!r}."
            )
        origins.append(item if match is None else _as_origin(match[1].lower(), match[2].lower()))
    return tuple(origins)


def _syntaxes(environ: Mapping[str, str], name: str, default: tuple[str, ...]) -> tuple[str, ...]:
    """Transfer syntaxes by their UIDs; `none` for none."""
    items = _items(environ, name)
    if not items or items == ["none"]:
        return () if items else default
    for item in items:
        if item not in BY_UID:
            raise SettingError(f"{name} must be a list of UIDs of transfer syntaxes; it has {item!r}.")
    return tuple(items)


def _as_origin(scheme: str, host: str) -> str:
    return f"{scheme}://{host.removesuffix(_DEFAULT_PORTS[scheme])}"


def _items(environ: Mapping[str, str], name: str) -> list[str]:
    return text(environ, name, "").replace(",", " ").split()


@functools.cache
def _allowed_cpus() -> int:
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1
