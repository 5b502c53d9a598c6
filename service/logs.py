"""Log lines to standard error: key=value, without the text of exceptions, which may hold anything."""

import asyncio
import logging
import sys
import traceback
from pathlib import Path
from types import TracebackType
from typing import TextIO

from service.dicom.errors import ArchiveError


class _Formatter(logging.Formatter):
    """One line per record; of an exception its kind and where it was, never its message."""

    def formatException(  # noqa: N802 - the name is logging's
        self,
        ei: tuple[type[BaseException], BaseException, TracebackType | None] | tuple[None, None, None],
    ) -> str:
        if ei[0] is None:
            return ""
        frames = traceback.extract_tb(ei[2])[-6:]
        where = " < ".join(f"{Path(frame.filename).name}:{frame.lineno}" for frame in reversed(frames))
        return f"fault={ei[0].__name__} at={where}"


def _once(record: logging.LogRecord) -> bool:
    """Whether the server's record of an exception tells what nobody else has told.

    An answer that breaks off because an object went away, or because the service stops, is expected.
    """
    error = record.exc_info[1] if record.exc_info else None
    if error is None:
        return True
    cause = error.__cause__ or error
    if isinstance(cause, (ArchiveError, asyncio.CancelledError)):
        record.levelno, record.levelname, record.exc_info = logging.WARNING, "WARNING", None
        record.msg, record.args = f"answer broken off by {type(cause).__name__}", ()
    return not getattr(error, "told", False)


class _StandardError(logging.StreamHandler[TextIO]):
    """Writes to what standard error is at the time, not to what it was at the start."""

    def __init__(self) -> None:
        logging.Handler.__init__(self)

    @property
    def stream(self) -> TextIO:  # type: ignore[override]
        return sys.stderr


def set_up(level: int = logging.INFO, *, mark: logging.Filter | None = None) -> None:
    """Send every log record of this process to standard error, each marked by `mark`."""
    # What no line of ours shows is not looked up: together it is half of what a line costs.
    logging.logThreads = logging.logProcesses = logging.logMultiprocessing = False
    vars(logging).update(logAsyncioTasks=False, _srcfile=None)
    handler = _StandardError()
    handler.setFormatter(_Formatter("%(asctime)s %(levelname)s %(name)s %(message)s"))
    if mark is not None:
        handler.addFilter(mark)
    logging.basicConfig(level=level, handlers=[handler], force=True)
    server = logging.getLogger("uvicorn.error")
    server.setLevel(logging.WARNING)
    server.addFilter(_once)
    logging.captureWarnings(True)
