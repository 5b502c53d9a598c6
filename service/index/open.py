"""The index that the setting ISTHMUS_INDEX names."""

from service.environment import SettingError
from service.index.memory import MemoryIndex
from service.index.port import FullIndex
from service.index.sqlite import SqliteIndex

CONNECTIONS = 16  # to a database server, of each process

_SERVERS = ("postgresql", "postgres")


def open_index(url: str, *, connections: int = CONNECTIONS) -> FullIndex:
    """The index at `url`: `sqlite://` and the path of a file, `postgresql://…`, or `memory://`.

    `connections` bounds those that are open at a time to a database server. `SettingError` if the URL
    names no index of ours, `IndexUnavailable` if the index cannot be opened.
    """
    scheme, separator, path = url.partition("://")
    if separator and scheme == "sqlite" and path and not path.endswith("/"):
        return SqliteIndex(path)
    if separator and scheme in _SERVERS and path:
        from service.index.postgres import PostgresIndex  # whose driver nobody else needs to load

        return PostgresIndex(url, connections=connections)
    if separator and scheme == "memory" and not path.strip("/"):
        return MemoryIndex()
    raise SettingError(
        "ISTHMUS_INDEX must be sqlite:// and the path of a file, as in sqlite://./data/index.db or"
        " sqlite:///var/lib/isthmus/index.db, a database as in postgresql://user@host/name, or memory://"
        " for a trial."
    )


def is_nearby(url: str) -> bool:
    """Whether a look-up in the index at `url` takes microseconds."""
    return url.partition("://")[0] not in _SERVERS
