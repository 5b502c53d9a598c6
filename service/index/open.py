"""The index that the setting ISTHMUS_INDEX names."""

from service.environment import SettingError
from service.index.memory import MemoryIndex
from service.index.port import FullIndex
from service.index.sqlite import SqliteIndex

CONNECTIONS = 16  # to a database server, of each process
STATEMENT_LIMIT_S = 20.0  # of a search
_PATIENCE_S = 60.0  # with whatever is done on one connection to a database server

_SERVERS = ("postgresql", "postgres")


def open_index(
    url: str, *, connections: int = CONNECTIONS, statement_limit_s: float = STATEMENT_LIMIT_S
) -> FullIndex:
    """The index at `url`: `sqlite://` and the path of a file, `postgresql://…`, or `memory://`.

    `connections` bounds those that are open at a time to a database server, `statement_limit_s` what a
    search takes. `SettingError` if the URL
    names no index of ours, `IndexUnavailable` if the index cannot be opened.
    """
    scheme, separator, path = url.partition("://")
    if separator and scheme == "sqlite" and path and not path.endswith("/"):
        return SqliteIndex(path, statement_limit_s=statement_limit_s)
    if separator and scheme in _SERVERS and path:
        from service.index.postgres import PostgresIndex  # whose driver nobody else needs to load

        return PostgresIndex(
            url,
            connections=connections,
            statement_limit_s=statement_limit_s,
            patience_s=max(_PATIENCE_S, 3 * statement_limit_s),
        )
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
