"""Room for connections: how many files and sockets the process may have open."""

import logging
import resource

from bridge.settings import Limits

log = logging.getLogger("isthmus.bridge")

_OTHERS = 256  # of the archive's kept connections, peers that are called, files, the loop


def needed(limits: Limits) -> int:
    """How many descriptors `limits` allow: an association has a connection, and one to the archive."""
    return limits.connections + 2 * limits.associations + _OTHERS


def make_room(limits: Limits) -> None:
    """Raise the soft limit to what is needed, as far as the hard one lets us; a warning where it does not."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = needed(limits)
    if soft == resource.RLIM_INFINITY or soft >= wanted:
        return
    given = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
    if given > soft:
        resource.setrlimit(resource.RLIMIT_NOFILE, (given, hard))
    if given < wanted:
        log.warning("descriptors limit=%d needed=%d (ISTHMUS_MAX_ASSOCIATIONS)", given, wanted)
