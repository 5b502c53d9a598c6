"""The folder `ISTHMUS_BRIDGE_STATE`: what the bridge has promised, one JSON file for each record."""

import asyncio
import errno
import fcntl
import logging
import os
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import orjson

from service.environment import SettingError

log = logging.getLogger("isthmus.state")

_RECORD = ".json"
_TEMPORARY = ".json.part"
_DAMAGED = ".json.damaged"


class ShelfFull(Exception):
    """There are as many records as there may be."""


class StateUnavailable(Exception):
    """The disk does not take or give a record."""


class StateFolder:
    """A folder that belongs to one bridge while it is open. Its disk work is done on a thread, in order."""

    def __init__(self, path: Path, lock: int) -> None:
        self._path = path
        self._lock = lock
        self._disk = ThreadPoolExecutor(1, thread_name_prefix="state")

    @classmethod
    def open(cls, path: Path) -> "StateFolder":
        """Make the folder if it is not there, and lock it; `SettingError` if either cannot be done."""
        try:
            make_folder(path)
            lock = os.open(path / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        except OSError as error:
            raise SettingError(
                f"ISTHMUS_BRIDGE_STATE must be a folder that can be written; {path} cannot: {error.strerror}."
            ) from None
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            os.ftruncate(lock, 0)
            os.pwrite(lock, b"%d\n" % os.getpid(), 0)
        except BlockingIOError:
            holder = os.pread(lock, 32, 0).decode("ascii", "replace").strip()
            os.close(lock)
            raise SettingError(
                f"ISTHMUS_BRIDGE_STATE: another bridge (process {holder or 'unknown'}) works on {path}; "
                "end it, or give this one a folder of its own."
            ) from None
        except OSError as error:
            os.close(lock)
            raise SettingError(
                f"ISTHMUS_BRIDGE_STATE must be a folder that can be locked; {path} cannot: {error.strerror}."
            ) from None
        return cls(path, lock)

    def shelf(self, kind: str, *, most: int) -> "Shelf":
        """The records of one kind, at most so many."""
        return Shelf(self._path / kind, most, self._disk)

    async def close(self) -> None:
        """Finish what is being written, and let others have the folder."""
        await asyncio.to_thread(self._disk.shutdown)
        os.close(self._lock)


class Shelf:
    """Records of one kind by name; a name is made of letters and digits.

    `put` and `remove` are durable when they return.
    """

    def __init__(self, path: Path, most: int, disk: ThreadPoolExecutor) -> None:
        self._path = path
        self._most = most
        self._disk = disk
        self._names: set[str] = set()

    async def load(self) -> dict[str, dict[str, Any]]:
        """All records; to be called once, and first. Damaged files are set aside, and logged."""
        found = await self._done(self._load)
        self._names = set(found)
        return found

    async def put(self, name: str, record: Mapping[str, Any]) -> None:
        """Keep `record` in the place of what had that name; `ShelfFull`, or `StateUnavailable`."""
        if name not in self._names and len(self._names) >= self._most:
            raise ShelfFull
        known = name in self._names
        self._names.add(name)
        try:
            await self._done(self._put, name, record)
        except BaseException:
            if not known:
                self._names.discard(name)
            raise

    async def remove(self, name: str) -> None:
        """Forget a record; one that is not there is forgotten already. `StateUnavailable`."""
        self._names.discard(name)
        await self._done(self._remove, name)

    async def set_aside(self, name: str) -> None:
        """Leave a record that means nothing where it can be looked at, under another name, and log it."""
        self._names.discard(name)
        await self._done(_set_aside, self._path / (name + _RECORD))

    async def _done[**P, R](self, work: Callable[P, R], *args: P.args, **kwargs: P.kwargs) -> R:
        loop = asyncio.get_running_loop()
        try:
            # What was begun is done, though nobody waits for it any more.
            return await asyncio.shield(loop.run_in_executor(self._disk, lambda: work(*args, **kwargs)))
        except OSError as cause:
            raise StateUnavailable(cause.strerror or "") from cause

    # On the disk's thread.

    def _load(self) -> dict[str, dict[str, Any]]:
        make_folder(self._path)
        found: dict[str, dict[str, Any]] = {}
        for path in sorted(self._path.iterdir()):
            if path.name.endswith(_TEMPORARY):
                path.unlink(missing_ok=True)  # never was a promise
            elif path.name.endswith(_RECORD):
                record = _read(path)
                if record is None:
                    _set_aside(path)
                else:
                    found[path.name.removesuffix(_RECORD)] = record
        return found

    def _put(self, name: str, record: Mapping[str, Any]) -> None:
        temporary = self._path / (name + _TEMPORARY)
        try:
            with open(temporary, "wb", opener=for_us_alone) as file:
                file.write(orjson.dumps(record))
                file.flush()
                os.fsync(file.fileno())
            temporary.rename(self._path / (name + _RECORD))
        except OSError:
            temporary.unlink(missing_ok=True)
            raise
        flush_folder(self._path)

    def _remove(self, name: str) -> None:
        (self._path / (name + _RECORD)).unlink(missing_ok=True)
        flush_folder(self._path)


def make_folder(path: Path) -> None:
    """Make a folder and those above it durably, where they are not there."""
    for folder in [*reversed(path.parents), path]:
        if not folder.exists():
            folder.mkdir(exist_ok=True)
            flush_folder(folder.parent)
    if not path.is_dir():
        raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR))


def for_us_alone(path: str, flags: int) -> int:
    """An `opener` for files that nobody but the bridge's own user may read: patients' data are in them."""
    return os.open(path, flags | os.O_CLOEXEC, 0o600)


def _read(path: Path) -> dict[str, Any] | None:
    """A record, `None` if the file holds none."""
    try:
        record = orjson.loads(path.read_bytes())
    except (OSError, orjson.JSONDecodeError):
        return None
    return record if isinstance(record, dict) else None


def _set_aside(path: Path) -> None:
    log.error("record=%s/%s damaged, set aside", path.parent.name, path.name)
    path.rename(path.with_name(path.name.removesuffix(_RECORD) + _DAMAGED))


def flush_folder(path: Path) -> None:
    """Make the names in a folder durable."""
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
