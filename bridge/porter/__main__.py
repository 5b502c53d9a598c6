"""The porter as a program: `python -m bridge.porter SOCKET MEMORY BYTES`, which the bridge calls.

It does what it is asked for over the socket until nobody is at its other end, whatever becomes of the bridge:
what is under way is brought to its end, and nobody hears of it. Signals are the bridge's.
"""

import contextlib
import mmap
import signal
import socket
import sys
import threading

from bridge import heap, tracing
from bridge.porter.entrance import Entrance
from bridge.porter.messages import LONGEST_PACKET, OPENED, Answer, Beginning, Request, packed, unpacked
from bridge.witness import PROGRAM
from service import logs
from service import tracing as traces
from service.archive.intake import as_archive_error
from service.archive.open import open_archive_in_time
from service.dicom.errors import ArchiveError
from service.environment import SettingError

_PATIENCE_S = 30.0


def main() -> int:
    """Open the archive, say so, and work; 1 where it cannot be opened."""
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)
    descriptor, shared, size = map(int, sys.argv[1:])
    logs.set_up(mark=tracing.Traced())
    heap.keep()
    connection = socket.socket(fileno=descriptor)
    beginning: Beginning = unpacked(connection.recv(LONGEST_PACKET))
    with traces.tracing(beginning.traces_to, PROGRAM), mmap.mmap(shared, size) as memory:
        try:
            archive = open_archive_in_time(beginning.settings, patience_s=_PATIENCE_S)
        except (ArchiveError, SettingError) as error:
            connection.send(packed(Answer(OPENED, error=error)))
            return 1
        entrance = Entrance(archive, memory)
        connection.send(packed(Answer(OPENED)))
        threads = [
            threading.Thread(target=_work, args=(connection, entrance), name=f"enter_{place}")
            for place in range(beginning.settings.store_threads)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        entrance.close()
        archive.close()
    return 0


def _work(connection: socket.socket, entrance: Entrance) -> None:
    """Answer requests until there are no more: the kernel gives each to one of the threads that wait."""
    with contextlib.suppress(OSError):  # nobody is there who would hear the answer
        while packet := connection.recv(LONGEST_PACKET):
            connection.send(packed(_answered(unpacked(packet), entrance)))


def _answered(request: Request, entrance: Entrance) -> Answer:
    tracing.enter(request.trace)
    try:
        with traces.span("enter", "server", parent=request.parent or None):
            return Answer(request.number, entrance.do(request.work))
    except Exception as error:
        return Answer(request.number, error=as_archive_error(error))


if __name__ == "__main__":
    sys.exit(main())
