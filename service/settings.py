"""The service's settings: one frozen object, read from the environment once and made valid at start."""

import os
from collections.abc import Mapping
from dataclasses import dataclass

from service.environment import SettingError, integer, one_of, size, text

_LOOPBACK = ("127.0.0.1", "::1", "localhost")


@dataclass(frozen=True, slots=True)
class Settings:
    """What an operator may set, and the tuning numbers that have one default here.

    Sizes are in bytes, times in seconds.
    """

    store: str = "file://./data/objects"
    index: str = "sqlite://./data/index.db"
    host: str = "127.0.0.1"
    port: int = 8080
    prefix: str = "/dicom-web"
    workers: int = 1
    on_duplicate: str = "refuse"
    header_limit: int = 32 << 20
    max_results: int = 5_000
    drain_s: int = 4

    max_parts: int = 20_000
    body_stall_s: float = 60.0
    read_threads: int = 8
    read_queue: int = 256
    store_threads: int = 8
    uploads: int = 512
    write_threads: int = 4
    batch_instances: int = 100
    batch_bytes: int = 16 << 20
    read_block: int = 1 << 20
    metadata_cache: int = 64 << 20

    @classmethod
    def from_environment(cls, environ: Mapping[str, str]) -> "Settings":
        """`SettingError` names the variable that cannot be used."""
        default = cls()
        host = text(environ, "ISTHMUS_HOST", default.host)
        auth = one_of(environ, "ISTHMUS_AUTH", "none", ("none", "none!"))
        if auth == "none" and host not in _LOOPBACK:
            raise SettingError(
                f"ISTHMUS_HOST is {host!r}, beyond loopback, and ISTHMUS_AUTH is 'none': anyone could read "
                "and store. Put an authenticating proxy in front and write ISTHMUS_AUTH='none!' to allow it."
            )
        prefix = text(environ, "ISTHMUS_PREFIX", default.prefix)
        if not prefix.startswith("/") or prefix.endswith("/") or "//" in prefix:
            raise SettingError(
                f"ISTHMUS_PREFIX must begin with a slash and not end in one; it is {prefix!r}."
            )
        return cls(
            store=text(environ, "ISTHMUS_STORE", default.store),
            index=text(environ, "ISTHMUS_INDEX", default.index),
            host=host,
            port=integer(environ, "ISTHMUS_PORT", default.port, most=65535),
            prefix=prefix,
            workers=integer(environ, "ISTHMUS_WORKERS", min(_allowed_cpus(), 4), least=1, most=64),
            on_duplicate=one_of(
                environ, "ISTHMUS_ON_DUPLICATE", default.on_duplicate, ("refuse", "keep", "replace")
            ),
            header_limit=size(environ, "ISTHMUS_HEADER_LIMIT", default.header_limit, least=1 << 20),
            max_results=integer(environ, "ISTHMUS_MAX_RESULTS", default.max_results, least=1),
            drain_s=integer(environ, "ISTHMUS_DRAIN_S", default.drain_s),
        )


def _allowed_cpus() -> int:
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1
