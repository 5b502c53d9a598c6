"""Ties a process to its parent: when the parent's end of a pipe closes, the child goes too."""

import os
import threading
from collections.abc import Callable


def hold(descriptor: int, on_end: Callable[[], None]) -> None:
    """Call `on_end`, in a thread of its own, once the other end of the pipe `descriptor` is closed.

    Nobody ever writes to the pipe. However the parent dies, the kernel closes its end.
    """

    def wait() -> None:
        while True:
            try:
                if os.read(descriptor, 1):
                    continue
            except OSError:
                pass
            break
        on_end()

    threading.Thread(target=wait, name="leash", daemon=True).start()
