"""From a setting to a store."""

import os
from pathlib import Path

from service.dicom.errors import StoreUnavailable
from service.environment import SettingError
from service.store.local import LocalStore
from service.store.memory import MemoryStore
from service.store.port import ObjectStore, Versions


def is_nearby(url: str) -> bool:
    """Whether the store that `url` names is on this machine, so that reading a little takes microseconds."""
    return not url.startswith("s3://")


def open_store(
    url: str,
    *,
    s3_endpoint: str = "",
    s3_client: str = "obstore",
    connections: int = 48,
    durable: bool = True,
) -> ObjectStore:
    """The store that `ISTHMUS_STORE` names: `file://PATH`, `s3://BUCKET/PREFIX` or `memory://`.

    What follows `://` is the path as it stands: `file:///srv/objects` is absolute, `file://./objects`
    relative. `connections` is how many threads use it at once. Files that need not be `durable` are not
    waited for until they are on the disk. `SettingError` for anything else.
    """
    scheme, _, path = url.partition("://")
    if scheme == "memory":
        return MemoryStore()
    if scheme == "file" and path:
        return _folder(url, Path(path), durable)
    if scheme == "s3":
        # boto3 takes half a second and 40 MB, which only those pay who use it.
        from service.store.s3.options import s3_options
        from service.store.s3.store import S3Store

        return S3Store(s3_options(path, endpoint=s3_endpoint, client=s3_client, connections=connections))
    raise SettingError(f"ISTHMUS_STORE must be file://PATH, s3://BUCKET/PREFIX or memory://; it is {url!r}.")


def _folder(url: str, path: Path, durable: bool) -> ObjectStore:
    try:
        return LocalStore(path, durable=durable)
    except StoreUnavailable as error:
        if not isinstance(error.__cause__, (PermissionError, NotADirectoryError, FileExistsError)):
            raise
        raise SettingError(
            f"ISTHMUS_STORE is {url!r}, which user {os.getuid()} of group {os.getgid()} cannot use: "
            f"{error.__cause__.strerror}. It must be a folder that can be written, or be made."
        ) from error


def open_bucket(name: str, *, s3_endpoint: str, s3_client: str, connections: int) -> Versions:
    """The objects of a bucket that is somebody else's. `SettingError` if it cannot be one."""
    from service.store.s3.options import s3_options
    from service.store.s3.store import S3Store

    return S3Store(s3_options(name, endpoint=s3_endpoint, client=s3_client, connections=connections))
