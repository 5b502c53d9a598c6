"""Room for connections: how many files and sockets the process may have open."""

from bridge.settings import BridgeSettings

_OTHERS = 256  # of the archive's kept connections, peers that are called, files, the loop


def needed(settings: BridgeSettings) -> int:
    """How many descriptors the settings allow.

    An association has a connection, one to the archive, and a file for the instance that arrives where it is
    kept, and another where it is stored here; a request by HTTP has a connection, and an object of a PACS
    that is being read.
    """
    limits = settings.limits
    files = limits.associations * ((settings.spool.size_bytes > 0) + (settings.own is not None))
    return limits.connections + 2 * (limits.associations + settings.control.connections) + files + _OTHERS
