"""What is asked of the kernel that Python has no words for."""

import ctypes
import functools
import os
import socket
import sys
from collections.abc import Callable
from typing import Any, cast

_START_WRITING = 2  # SYNC_FILE_RANGE_WRITE
_ACKNOWLEDGED = slice(120, 128)  # tcpi_bytes_acked in Linux's struct tcp_info


def acknowledged(connection: Any) -> int | None:
    """How many bytes the other side of a socket has acknowledged; `None` where that cannot be told.

    Buffers of a transport say less over TLS: they leave out what waits below the encryption.
    """
    if sys.platform != "linux" or connection is None:
        return None
    try:
        with socket.socket(fileno=os.dup(connection.fileno())) as same:
            told = same.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, _ACKNOWLEDGED.stop)
    except OSError:  # it is closed, or no TCP
        return None
    return int.from_bytes(told[_ACKNOWLEDGED], sys.byteorder)


def begin_writing_back(descriptor: int) -> None:
    """Have the kernel write what it holds of a file to the disk, without waiting for that.

    An `fdatasync` that follows has less to wait for. Nothing happens where there is no such call, or where it
    does not work for the file: it promises nothing either way.
    """
    if (start := _sync_file_range()) is not None:
        start(descriptor, 0, 0, _START_WRITING)


@functools.cache
def _sync_file_range() -> Callable[[int, int, int, int], int] | None:
    if sys.platform != "linux":
        return None
    try:
        found = ctypes.CDLL(None).sync_file_range
    except (OSError, AttributeError):
        return None
    found.argtypes = (ctypes.c_int, ctypes.c_int64, ctypes.c_int64, ctypes.c_uint)
    found.restype = ctypes.c_int
    return cast(Callable[[int, int, int, int], int], found)
