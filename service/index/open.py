"""The index that the setting ISTHMUS_INDEX names."""

from service.environment import SettingError
from service.index.memory import MemoryIndex
from service.index.port import FullIndex
from service.index.sqlite import SqliteIndex


def open_index(url: str) -> FullIndex:
    """The index at `url`: `sqlite://` and the path of a file, or `memory://`.

    `SettingError` if it names no index of ours, `IndexUnavailable` if the index cannot be opened.
    """
    scheme, separator, path = url.partition("://")
    if separator and scheme == "sqlite" and path and not path.endswith("/"):
        return SqliteIndex(path)
    if separator and scheme == "memory" and not path.strip("/"):
        return MemoryIndex()
    raise SettingError(
        "ISTHMUS_INDEX must be sqlite:// and the path of a file, as in sqlite://./data/index.db or"
        " sqlite:///var/lib/isthmus/index.db, or memory:// for a trial."
    )
