"""Log lines to standard error: key=value, without the text of exceptions, which may hold anything."""

import logging
import sys
import traceback
from pathlib import Path
from types import TracebackType
from typing import TextIO


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


class _StandardError(logging.StreamHandler[TextIO]):
    """Writes to what standard error is at the time, not to what it was at the start."""

    def __init__(self) -> None:
        logging.Handler.__init__(self)

    @property
    def stream(self) -> TextIO:  # type: ignore[override]
        return sys.stderr


def set_up(level: int = logging.INFO) -> None:
    """Send every log record of this process to standard error."""
    handler = _StandardError()
    handler.setFormatter(_Formatter("%(asctime)s %(levelname)s %(name)s %(message)s"))
    logging.basicConfig(level=level, handlers=[handler], force=True)
    logging.getLogger("uvicorn.error").setLevel(logging.WARNING)
    logging.captureWarnings(True)
