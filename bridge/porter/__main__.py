"""The porter as a program: `… SOCKET MEMORY BYTES`, called by the bridge.

It does what it is asked for over the socket until nobody is at its other end. Signals are the bridge's. What
goes wrong beside the work itself ends it, so that nobody waits for an answer that never comes.
"""

import contextlib
import fcntl
import logging
import mmap
import os
import select
import signal
import socket
import sys
import threading
import time
from pathlib import Path

from bridge import heap, tracing
from bridge.porter.entrance import Entrance
from bridge.porter.messages import LONGEST_PACKET, OPENED, Answer, Beginning, Request, packed, unpacked
from bridge.witness import PROGRAM
from service import logs
from service import tracing as traces
from service.archive.intake import as_archive_error
from service.archive.open import open_archive_in_time
from service.dicom.errors import ArchiveError, StoreUnavailable
from service.environment import SettingError

log = logging.getLogger("isthmus.porter")

_PATIENCE_S = 30.0
_GRACE_S = 2.0  # to come to an end in, once the bridge is gone
_FAULT, _GIVEN_UP = 1, 70


def main() -> int:
    """Open the archive, say so, and work; 1 where it cannot be opened."""
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)
    descriptor, shared, size = map(int, sys.argv[1:])
    logs.set_up(mark=tracing.Traced())
    heap.keep()
    connection = socket.socket(fileno=descriptor)
    threading.Thread(target=_outlive, args=(connection,), name="leash", daemon=True).start()
    try:
        packet = connection.recv(LONGEST_PACKET)
        if not packet:
            return 0
        beginning: Beginning = unpacked(packet)
        with traces.tracing(beginning.traces_to, PROGRAM):
            return _serve(connection, beginning, mmap.mmap(shared, size))
    except (BrokenPipeError, ConnectionResetError):
        return 0


def _serve(connection: socket.socket, beginning: Beginning, memory: mmap.mmap) -> int:
    """Work until the bridge is gone."""
    try:
        _alone(Path(beginning.lock))
        archive = open_archive_in_time(beginning.settings, patience_s=_PATIENCE_S)
    except (ArchiveError, SettingError) as error:
        connection.send(packed(Answer(OPENED, error=error)))
        return _FAULT
    entrance = Entrance(archive, memory)
    threads = [
        threading.Thread(target=_work, args=(connection, entrance), name=f"enter_{place}", daemon=True)
        for place in range(beginning.settings.store_threads)
    ]
    for thread in threads:
        thread.start()
    connection.send(packed(Answer(OPENED)))
    for thread in threads:
        thread.join()
    entrance.close()
    archive.close()
    return 0


def _outlive(connection: socket.socket) -> None:
    """End the process a moment after the bridge, whatever it is at: nobody hears of it any more."""
    gone = select.poll()
    gone.register(connection, 0)  # that the other end is closed is told in any case
    gone.poll()
    time.sleep(_GRACE_S)
    os._exit(_GIVEN_UP)


def _alone(lock: Path) -> None:
    """Wait until no other porter is there: one that a bridge before this one has left at its work."""
    try:  # kept open, and locked, as long as this process lives
        descriptor = os.open(lock, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            log.warning("waiting for what an earlier bridge has left at its work")
            fcntl.flock(descriptor, fcntl.LOCK_EX)
    except OSError as error:
        raise StoreUnavailable(f"{lock.name} in ISTHMUS_BRIDGE_STATE: {error.strerror}.") from error


def _work(connection: socket.socket, entrance: Entrance) -> None:
    """Answer requests until there are no more: the kernel gives each to one of the threads that wait."""
    try:
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):  # nobody is there any more
            while packet := connection.recv(LONGEST_PACKET):
                connection.send(packed(_answered(unpacked(packet), entrance)))
    except BaseException:
        log.critical("unexpected error", exc_info=True)
        os._exit(_FAULT)


def _answered(request: Request, entrance: Entrance) -> Answer:
    tracing.enter(request.trace)
    try:
        with traces.span("enter", "server", parent=request.parent or None):
            return Answer(request.number, entrance.do(request.work))
    except Exception as error:
        return Answer(request.number, error=as_archive_error(error))


def run() -> None:
    """Be the program."""
    sys.exit(main())


if __name__ == "__main__":
    run()
