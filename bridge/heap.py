"""Memory that the C library keeps instead of giving it back to the system after every instance."""

import contextlib
import ctypes

_TRIM_THRESHOLD, _MMAP_THRESHOLD = -1, -3  # of mallopt(3)
_KEPT_BYTES = 16 << 20


def keep() -> None:
    """Let up to 16 MiB of freed memory stay with the process, where there is glibc.

    An instance comes in hundreds of pieces, and all of them are let go of at once. By default the top of
    the heap is returned each time, and every page of it has to be mapped and cleared again for the next.
    """
    with contextlib.suppress(OSError, AttributeError):
        mallopt = ctypes.CDLL(None).mallopt
        mallopt(_TRIM_THRESHOLD, _KEPT_BYTES)
        mallopt(_MMAP_THRESHOLD, _KEPT_BYTES)
