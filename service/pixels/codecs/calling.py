"""The one place where what codec libraries raise becomes an error of ours."""

from collections.abc import Callable
from typing import Any

from service.dicom.errors import NotAcceptable, Undecodable


def decoded(codec: Callable[..., Any], *positional: Any, **named: Any) -> Any:
    """What a decoder gives for these arguments; `Undecodable` for any failure of it but want of memory."""
    try:
        return codec(*positional, **named)
    except MemoryError:
        raise
    except Exception as cause:
        # Each library has its own error class, a RuntimeError, and raises ValueError, TypeError and
        # OverflowError besides; their texts mean nothing to a client.
        raise Undecodable("The frame's codestream cannot be decoded; it is damaged or unusual.") from cause


def encoded(codec: Callable[..., Any], *positional: Any, **named: Any) -> bytes:
    """What an encoder gives for these arguments; `NotAcceptable` for any failure of it but want of memory."""
    try:
        return bytes(codec(*positional, **named))
    except MemoryError:
        raise
    except Exception as cause:
        raise NotAcceptable("The frame cannot be encoded so; ask for another transfer syntax.") from cause
