"""From a setting to a store."""

from pathlib import Path

from service.environment import SettingError
from service.store.local import LocalStore
from service.store.memory import MemoryStore
from service.store.port import ObjectStore


def open_store(url: str) -> ObjectStore:
    """The store that `ISTHMUS_STORE` names: `file://PATH` or `memory://`.

    What follows `://` is the path as it stands: `file:///srv/objects` is absolute, `file://./objects`
    relative. `SettingError` for anything else.
    """
    scheme, _, path = url.partition("://")
    if scheme == "memory":
        return MemoryStore()
    if scheme == "file" and path:
        return LocalStore(Path(path))
    raise SettingError(f"ISTHMUS_STORE must be file://PATH or memory://; it is {url!r}.")
