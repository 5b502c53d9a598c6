"""Room for connections: how many files and sockets a process may have open."""

import logging
import resource

from service.archive.intake import OPEN_TOGETHER
from service.settings import Settings

_OTHERS = 256  # of the index, the store, adopted files, the loop


def needed(settings: Settings) -> int:
    """How many descriptors the settings allow: a request has a connection, and a file or one more.

    One that stores has a few objects that are on their way to the disk.
    """
    storing = min(settings.uploads, settings.max_requests) * OPEN_TOGETHER
    return 2 * settings.max_requests + storing + settings.index_connections + _OTHERS


def make_room(wanted: int, setting: str, log: logging.Logger) -> None:
    """Raise the soft limit to `wanted`, as far as the hard one lets us; a warning where it does not.

    `setting` names what asks for so many.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft == resource.RLIM_INFINITY or soft >= wanted:
        return
    given = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
    if given > soft:
        resource.setrlimit(resource.RLIMIT_NOFILE, (given, hard))
    if given < wanted:
        log.warning("descriptors limit=%d needed=%d (%s)", given, wanted, setting)
