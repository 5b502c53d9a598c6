"""Room for connections: how many files and sockets the process may have open."""

import logging
import resource

from bridge.settings import BridgeSettings

log = logging.getLogger("isthmus.bridge")

_OTHERS = 256  # of the archive's kept connections, peers that are called, files, the loop


def needed(settings: BridgeSettings) -> int:
    """How many descriptors the settings allow.

    An association has a connection, and one to the archive; a request by HTTP has a connection, and an object
    of a PACS that is being read.
    """
    limits = settings.limits
    return limits.connections + 2 * (limits.associations + settings.control.connections) + _OTHERS


def make_room(settings: BridgeSettings) -> None:
    """Raise the soft limit to what is needed, as far as the hard one lets us; a warning where it does not."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = needed(settings)
    if soft == resource.RLIM_INFINITY or soft >= wanted:
        return
    given = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
    if given > soft:
        resource.setrlimit(resource.RLIMIT_NOFILE, (given, hard))
    if given < wanted:
        log.warning("descriptors limit=%d needed=%d (ISTHMUS_MAX_ASSOCIATIONS)", given, wanted)
