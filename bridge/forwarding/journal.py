"""A log on disk of what must not be forgotten: appended to, many records by one flush, and compacted.

Files are `N.log`, appended to, and `N.base`, what was left of everything up to `N.log` at one moment. A
line is a CRC-32, a space and a JSON array. What a crash cuts short was never promised to anybody.
"""

import asyncio
import logging
import os
import zlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import orjson

from bridge.state import StateUnavailable, flush_folder, make_folder

log = logging.getLogger("isthmus.forwarding")

type Record = Sequence[Any]
"""An array of JSON: what it is about comes first."""

_LOG, _BASE, _PART, _DAMAGED = ".log", ".base", ".part", ".damaged"
_DIGITS = 12


class Journal:
    """The log in one folder; used on one loop, its disk work done on threads of its own.

    `snapshot` tells records that stand for everything appended so far. It must tell what is new from the
    moment at which `append` is called, and no more of what is over once `append` has returned and its caller
    had its turn. The records are made on a thread, so that those of many do not hold up the loop.
    """

    def __init__(self, folder: Path, snapshot: Callable[[], Iterable[Record]], *, segment_bytes: int) -> None:
        self._folder = folder
        self._snapshot = snapshot
        self._segment_bytes = segment_bytes
        self._disk = ThreadPoolExecutor(1, thread_name_prefix="forwarding")
        self._pending: list[bytes] = []
        self._waiting: list[asyncio.Future[None]] = []
        self._flushing: asyncio.Task[None] | None = None
        self._compacting: asyncio.Task[None] | None = None
        self._number = 0
        self._descriptor = -1
        self._size = 0

    async def load(self) -> list[Record]:
        """All records in their order; to be called once, and first. `StateUnavailable`."""
        try:
            records, self._number = await asyncio.get_running_loop().run_in_executor(self._disk, self._load)
        except OSError as cause:
            raise StateUnavailable(cause.strerror or "") from cause
        return records

    async def append(self, *records: Record) -> None:
        """Have `records` on disk; `StateUnavailable` if that cannot be."""
        waiter: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.append(waiter)
        self.note(*records)
        await waiter

    def note(self, *records: Record) -> None:
        """Have `records` on disk soon; those that are lost may come once more."""
        self._pending += map(_line, records)
        if self._flushing is None:
            self._flushing = asyncio.create_task(self._flush())

    async def compact(self) -> None:
        """Put what is left of everything so far in the place of the files of before, in the background."""
        if self._compacting is not None:
            return
        number, self._number = self._number, self._number + 1
        self._close()
        self._compacting = asyncio.create_task(self._compact(number, self._snapshot()))

    async def close(self) -> None:
        """Finish what is being written."""
        while self._flushing is not None:
            await asyncio.wait([self._flushing])
        if self._compacting is not None:
            await asyncio.wait([self._compacting])
        await asyncio.to_thread(self._disk.shutdown)
        self._close()

    async def _flush(self) -> None:
        """Write what waits until nothing does: one flush of the disk for all that came meanwhile."""
        loop = asyncio.get_running_loop()
        try:
            while self._pending or self._waiting:
                lines, self._pending = self._pending, []
                waiting, self._waiting = self._waiting, []
                failure: StateUnavailable | None = None
                try:
                    await loop.run_in_executor(self._disk, self._write, b"".join(lines))
                except OSError as error:
                    log.error("forwarding journal cannot be written: %s", error.strerror)
                    failure = StateUnavailable(error.strerror or "")
                    self._number += 1  # what became of the end of that file, nobody knows
                    self._close()
                for waiter in waiting:
                    if not waiter.done():
                        waiter.set_result(None) if failure is None else waiter.set_exception(failure)
                if self._size > self._segment_bytes:
                    await asyncio.sleep(0)  # who waited has to draw its conclusions before the snapshot
                    await self.compact()
        finally:
            self._flushing = None

    async def _compact(self, number: int, records: Iterable[Record]) -> None:
        try:
            await asyncio.to_thread(self._write_base, number, records)
        except OSError as error:
            log.error("forwarding journal cannot be compacted: %s", error.strerror)
        finally:
            self._compacting = None

    def _close(self) -> None:
        descriptor, self._descriptor, self._size = self._descriptor, -1, 0
        if descriptor >= 0:
            os.close(descriptor)

    # On threads.

    def _write(self, content: bytes) -> None:
        path = self._folder / f"{self._number:0{_DIGITS}}{_LOG}"
        try:
            if self._descriptor < 0:
                flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC
                self._descriptor = os.open(path, flags, 0o600)
                flush_folder(self._folder)
            view = memoryview(content)
            while view:
                view = view[os.write(self._descriptor, view) :]
            os.fdatasync(self._descriptor)
        except OSError:
            if not self._size:  # no promise is in it; a disk that stays full is not filled with such files
                path.unlink(missing_ok=True)
            raise
        self._size += len(content)

    def _write_base(self, number: int, records: Iterable[Record]) -> None:
        path = self._folder / f"{number:0{_DIGITS}}{_BASE}"
        part = path.with_suffix(_PART)
        try:
            with part.open("wb") as file:
                os.fchmod(file.fileno(), 0o600)
                count = 0
                for record in records:
                    file.write(_line(record))
                    count += 1
                file.write(_line(["end", count]))
                file.flush()
                os.fsync(file.fileno())
            part.rename(path)
        except OSError:
            part.unlink(missing_ok=True)
            raise
        flush_folder(self._folder)
        for one in self._files(_LOG, _BASE):
            if int(one.stem) < number or (int(one.stem) == number and one.suffix == _LOG):
                one.unlink(missing_ok=True)

    def _load(self) -> tuple[list[Record], int]:
        """The records, and the number of the file to go on with."""
        make_folder(self._folder)
        for part in self._files(_PART):
            part.unlink()
        base, records = 0, list[Record]()
        for path in reversed(self._files(_BASE)):
            found = [line for line in _lines(path) if line is not None]
            ended = bool(found) and len(found[-1]) == 2 and found[-1][0] == "end"
            missing = found.pop()[1] - len(found) if ended else 1
            # A base has its name once it is whole: one without an end is damaged, and what it has counts.
            base, records = max(base, int(path.stem)), [*found, *records]
            if missing:
                _set_aside(path, missing)
            if ended:
                break
        for path in self._files(_LOG):
            if int(path.stem) <= base:
                continue
            lines = list(_lines(path))
            records += [line for line in lines if line is not None]
            lost = sum(line is None for line in lines[:-1])  # the last one may be cut short
            if lost:
                _set_aside(path, lost)
        last = max((int(path.stem) for path in self._files(_LOG, _BASE)), default=0)
        return records, last + 1

    def _files(self, *suffixes: str) -> list[Path]:
        return sorted(
            path for path in self._folder.iterdir() if path.suffix in suffixes and path.stem.isdigit()
        )


def _line(record: Record) -> bytes:
    content = orjson.dumps(record)
    return b"%08x %b\n" % (zlib.crc32(content), content)


def _lines(path: Path) -> Iterator[list[Any] | None]:
    """The records of a file, `None` for what is damaged."""
    with path.open("rb") as file:
        for line in file:
            mark, _, content = line.removesuffix(b"\n").partition(b" ")
            if not line.endswith(b"\n") or mark != b"%08x" % zlib.crc32(content):
                yield None
                continue
            try:
                record = orjson.loads(content)
            except orjson.JSONDecodeError:
                record = None
            yield record if isinstance(record, list) else None


def _set_aside(path: Path, count: int) -> None:
    """Keep a copy of a damaged file, which compaction would remove, to be looked at."""
    log.error("forwarding journal=%s damaged records=%d, a copy is to be kept beside it", path.name, count)
    kept = path.with_name(path.name + _DAMAGED)
    try:
        if not kept.exists():
            os.link(path, kept)
    except OSError as error:  # what can be read of it counts for more than the copy
        log.error("forwarding journal=%s cannot be copied: %s", path.name, error.strerror)
