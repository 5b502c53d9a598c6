"""What the kernel knows of a connection."""

import os
import socket
import sys
from typing import Any

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
