"""Ties a process to its parent: when the parent's end of a pipe closes, the child goes too."""

import os
import threading
import time
from collections.abc import Callable

_GIVEN_UP = 70


def hold(descriptor: int, on_end: Callable[[], None], *, grace_s: float) -> None:
    """Call `on_end`, in a thread of its own, once the other end of the pipe `descriptor` is closed.

    Nobody ever writes to the pipe. However the parent dies, the kernel closes its end. A process that
    has not ended `grace_s` seconds after that, for a thread that will not come to its end, is ended.
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
        time.sleep(grace_s)
        os._exit(_GIVEN_UP)

    threading.Thread(target=wait, name="leash", daemon=True).start()
