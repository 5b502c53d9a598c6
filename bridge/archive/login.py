"""How the bridge signs in to the archive: with what is in a file, read again when the file changes."""

import base64
import logging
from pathlib import Path

log = logging.getLogger("isthmus.archive")

_MOST_BYTES = 64 << 10


class Login:
    """The value of the header Authorization, by a file that holds a bearer token or `name:password`.

    A token cannot have a colon in it (RFC 6750 2.1), and a name with its password does.
    """

    def __init__(self, path: Path | None, token: str = "") -> None:
        """`token` is what the bridge signs in with where there is no file."""
        self._path = path
        self._read_at: tuple[int, int, int] | None = None
        self._value = f"Bearer {token}" if token else ""

    def header(self) -> str:
        """The value, empty where there is none; what was read last where the file is gone."""
        if self._path is None:
            return self._value
        try:
            facts = self._path.stat()
            state = (facts.st_mtime_ns, facts.st_size, facts.st_ino)
            if state != self._read_at:
                with self._path.open("rb") as file:
                    self._value = _value(file.read(_MOST_BYTES))
                self._read_at = state
        except (OSError, ValueError):
            log.warning("archive token_file=unreadable")
        return self._value


def _value(content: bytes) -> str:
    """`ValueError` for what can be part of no header."""
    told = content.strip()
    if b":" in told:
        return "Basic " + base64.b64encode(told).decode("ascii")
    token = b"".join(told.split()).decode("ascii")
    if not token.isprintable():
        raise ValueError("The token holds control characters.")
    return f"Bearer {token}" if token else ""
