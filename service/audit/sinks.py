"""Where audit events go (ISTHMUS_AUDIT): standard output, a file, or a syslog collector."""

import contextlib
import errno
import fcntl
import os
import re
import socket
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Protocol
from urllib.parse import parse_qsl, urlsplit

from service.audit.event import Event
from service.audit.syslog import Collector, SyslogSink
from service.audit.writing import as_json
from service.environment import SettingError

OFF = "off"
_TRANSPORTS = {"syslog": ("udp", 514), "syslog+tcp": ("tcp", 601), "syslog+tls": ("tls", 6514)}
_FILES = {"ca": "ca_file", "cert": "certificate_file", "key": "key_file"}
_HOST = re.compile(r"[A-Za-z0-9._:-]+")
_MODE = 0o640
_NO_DISK = frozenset((errno.EINVAL, errno.EROFS, errno.ENOTSUP))  # what a pipe or a terminal says to a sync


class Sink(Protocol):
    """Somewhere that events are written to, by one thread."""

    def write(self, events: Sequence[Event]) -> None:
        """Write all of them. `OSError` if that cannot be done: the same are to be given again."""
        ...

    def close(self) -> None:
        """Nothing more is written."""
        ...


class _Appender:
    """Appends whole lines: what was written only in part, to a full disk, ends its line and comes again."""

    def __init__(self) -> None:
        self._torn = False

    def append(self, descriptor: int, lines: bytes) -> None:
        torn = _is_torn(descriptor)
        if self._torn if torn is None else torn:
            lines = b"\n" + lines
        written = 0
        try:
            while written < len(lines):
                written += os.write(descriptor, lines[written:])
        except OSError:
            self._torn = self._torn or written > 0
            raise
        self._torn = False


class StandardOutput:
    """A line of JSON for each event, on standard output."""

    def __init__(self, source: str, descriptor: int = 1) -> None:
        self._source = source
        self._descriptor = descriptor
        self._appender = _Appender()

    def write(self, events: Sequence[Event]) -> None:
        self._appender.append(self._descriptor, _lines(events, self._source))

    def close(self) -> None:
        """The stream is not ours."""


class FileSink:
    """A line of JSON for each event at the end of a file, which several processes may share.

    Whole lines are appended at once, by one process at a time: what one of them could write only in part, to
    a full disk or before it was killed, is ended by whoever comes next. A file that was moved away or deleted
    is made anew, so that whatever rotates it need not tell anybody.
    """

    def __init__(self, path: Path, source: str) -> None:
        """`OSError` if the file cannot be opened."""
        self._path = path
        self._source = source
        self._appender = _Appender()
        self._descriptor = self._open()

    def write(self, events: Sequence[Event]) -> None:
        if self._is_elsewhere():
            self.close()
            self._descriptor = self._open()
        with _alone(self._descriptor):
            self._appender.append(self._descriptor, _lines(events, self._source))
        try:
            os.fdatasync(self._descriptor)
        except OSError as error:
            if error.errno not in _NO_DISK:
                raise

    def close(self) -> None:
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1

    def _open(self) -> int:
        self._path.parent.mkdir(parents=True, exist_ok=True)
        return os.open(self._path, os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, _MODE)

    def _is_elsewhere(self) -> bool:
        """Whether the file is not open, or is no longer the one at its path."""
        if self._descriptor < 0:
            return True
        with contextlib.suppress(FileNotFoundError):
            return not os.path.samestat(os.fstat(self._descriptor), self._path.stat())
        return True


def _is_torn(descriptor: int) -> bool | None:
    """Whether a file ends within a line; `None` if that cannot be seen, as of a pipe."""
    try:
        size = os.fstat(descriptor).st_size
        return size > 0 and os.pread(descriptor, 1, size - 1) != b"\n"
    except OSError:
        return None


@contextlib.contextmanager
def _alone(descriptor: int) -> Iterator[None]:
    """Keep other processes from writing for the time of a block, where the file system can do that."""
    with contextlib.suppress(OSError):
        fcntl.flock(descriptor, fcntl.LOCK_EX)
    try:
        yield
    finally:
        with contextlib.suppress(OSError):
            fcntl.flock(descriptor, fcntl.LOCK_UN)


def _lines(events: Sequence[Event], source: str) -> bytes:
    return b"".join(as_json(part, source) for event in events for part in event.parts())


def checked(url: str) -> str:
    """`url` if a sink can be opened by it; `SettingError` says what one looks like."""
    if url not in (OFF, "stdout") and _path_of(url) is None:
        _collector_of(url)
    return url


def open_sink(url: str, program: str) -> Sink:
    """The sink that ISTHMUS_AUDIT names. `SettingError` if there is no such sink or it cannot be opened.

    `program` is what reports: `isthmus` or `isthmus-bridge`.
    """
    source = socket.gethostname()
    path = _path_of(url)
    try:
        if url == "stdout":
            return StandardOutput(source)
        if path is not None:
            return FileSink(path, source)
        return SyslogSink(_collector_of(url), source, program)
    except OSError as error:
        raise SettingError(f"ISTHMUS_AUDIT: {url!r} cannot be used: {error.strerror or error}.") from error


def _path_of(url: str) -> Path | None:
    scheme, separator, path = url.partition("://")
    return Path(path) if scheme == "file" and separator and path and not path.endswith("/") else None


def _collector_of(url: str) -> Collector:
    """The collector of `syslog://host:port`, `syslog+tcp://…`, `syslog+tls://…?ca=…&cert=…&key=…`."""
    problem = SettingError(
        "ISTHMUS_AUDIT must be off, stdout, file:///path/of/audit.log, or a collector such as "
        "syslog://host:514, syslog+tcp://host:601, syslog+tls://host:6514?ca=/path&cert=/path&key=/path; "
        f"it is {url!r}."
    )
    try:
        parts = urlsplit(url)
        transport, usual_port = _TRANSPORTS[parts.scheme]
        port, asked = parts.port or usual_port, dict(parse_qsl(parts.query, strict_parsing=bool(parts.query)))
        files = {_FILES[name]: value for name, value in asked.items()}
        host = parts.hostname or ""
        host.encode("idna")
    except (KeyError, ValueError):
        raise problem from None
    if (
        not _HOST.fullmatch(host)
        or parts.path not in ("", "/")
        or parts.username
        or (files and transport != "tls")
    ):
        raise problem
    return Collector(transport, host, port, **files)
