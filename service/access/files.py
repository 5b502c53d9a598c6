"""Files with secrets, read again when they change, so that nothing has to be restarted."""

import logging
import threading
import time
from collections.abc import Callable
from pathlib import Path

log = logging.getLogger("isthmus.access")

_LOOK_S = 1.0
_MOST_BYTES = 4 << 20


class BadLine(ValueError):
    """What is wrong with a file, and in which line; nothing of what it holds."""


class Reread[T]:
    """What `understood` makes of a file's text, anew for every change of the file.

    It is looked at once in `look_s` seconds at most. A file that cannot be read or understood leaves what
    was read before, and says so in the log once.
    """

    def __init__(
        self, path: Path, name: str, understood: Callable[[str], T], *, look_s: float = _LOOK_S
    ) -> None:
        """`name` is that of the setting. `OSError`, `BadLine` where there is nothing to begin with."""
        self._path = path
        self._name = name
        self._understood = understood
        self._look_s = look_s
        self._lock = threading.Lock()
        self._looked = time.monotonic()
        self._state = self._facts()
        self._value = understood(text_of(path))

    @property
    def value(self) -> T:
        """What the file says."""
        now = time.monotonic()
        if now - self._looked >= self._look_s:
            with self._lock:
                self._looked = now
                self._look()
        return self._value

    def _look(self) -> None:
        try:
            state = self._facts()
            if state == self._state:
                return
            self._state = state
            self._value = self._understood(text_of(self._path))
        except (OSError, ValueError) as error:
            because = str(error) if isinstance(error, BadLine) else type(error).__name__
            log.error("setting=%s unreadable=true because=%r", self._name, because)

    def _facts(self) -> tuple[int, int, int]:
        facts = self._path.stat()
        return facts.st_mtime_ns, facts.st_size, facts.st_ino


def text_of(path: Path) -> str:
    """The text of a file of at most 4 MiB; `OSError`, `BadLine`."""
    with path.open("rb") as file:
        content = file.read(_MOST_BYTES + 1)
    if len(content) > _MOST_BYTES:
        raise BadLine("it is larger than 4 MiB")
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError:
        raise BadLine("it is no UTF-8") from None


def lines_of(text: str) -> list[tuple[int, str]]:
    """The lines that say something, with their numbers from 1; those that begin with # do not."""
    numbered = ((number, line.strip()) for number, line in enumerate(text.splitlines(), 1))
    return [(number, line) for number, line in numbered if line and not line.startswith("#")]
