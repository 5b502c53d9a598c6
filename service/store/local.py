"""Objects as files below one folder."""

import contextlib
import errno
import fcntl
import os
import tempfile
import threading
import time
from collections.abc import Buffer, Callable, Iterator
from pathlib import Path

from service.dicom.errors import BadExtent, ObjectMissing, StoreUnavailable
from service.dicom.frames import Extent
from service.kernel import begin_writing_back
from service.store.lending import LocalRun
from service.store.port import FileRun, Opening, Upload

_INCOMING = ".incoming"
_FULL = (errno.ENOSPC, errno.EDQUOT)
_MAX_READ = 8 << 20
_ABANDONED_S = 60.0  # a spool this old without a lock belongs to nobody


class LocalStore:
    """An object store on a file system that keeps what `fdatasync` was told to keep.

    No key is ever used twice and an object is reached only through its row in the index, so an object
    that was in memory until its key was known is written at its final place; a larger one is written
    under `.incoming` first and renamed. Either way a crash leaves at most a file that no row names.
    """

    def __init__(
        self,
        root: Path,
        *,
        keep_in_memory: int = 8 << 20,
        keep_together: int = 256 << 20,
        durable: bool = True,
    ) -> None:
        """`keep_in_memory` is the size in bytes up to which a body waits for its key in memory.

        All bodies together keep at most about `keep_together`; beyond it they wait in files. What is not
        `durable` outlasts the process, but not the machine's losing its power.
        """
        self._root = root.absolute()
        self._root_path = str(self._root)
        self._keep_in_memory = keep_in_memory
        self._keep_together = keep_together
        self.durable = durable
        self._kept = 0
        self._known_folders: set[str] = set()
        self._lock = threading.Lock()
        try:
            (self._root / _INCOMING).mkdir(parents=True, exist_ok=True)
            _sync_folder(self._root.parent)
            _sync_folder(self._root)
            self._clear_incoming()
        except OSError as cause:
            raise _unavailable(cause, "The folder of ISTHMUS_STORE cannot be made or written") from cause

    def begin(self) -> Upload:
        return _LocalUpload(self)

    def probe(self) -> None:
        """`StoreUnavailable` if the folder is not there, or cannot be written to; a full one can be read."""
        try:
            with tempfile.TemporaryFile(dir=self._root / _INCOMING, buffering=0) as file:
                file.write(b"\0")
        except OSError as cause:
            if cause.errno not in _FULL:
                raise _unavailable(cause) from cause

    def read(self, key: str, extent: Extent) -> bytes:
        if extent.length > _MAX_READ:
            raise BadExtent(f"A read covers at most {_MAX_READ} bytes.")
        try:
            descriptor = os.open(f"{self._root_path}/{key}", os.O_RDONLY | os.O_CLOEXEC)
        except FileNotFoundError as cause:
            raise ObjectMissing("The object is missing from the store.") from cause
        except OSError as cause:
            raise _unavailable(cause) from cause
        try:
            block = os.pread(descriptor, extent.length, extent.offset)
            while len(block) < extent.length:  # the kernel may give less than asked
                more = os.pread(descriptor, extent.length - len(block), extent.offset + len(block))
                if not more:
                    raise BadExtent("The extent reaches past the end of the object.")
                block += more
            return block
        except OSError as cause:
            raise _unavailable(cause) from cause
        finally:
            os.close(descriptor)

    def opening(self, key: str, length: int) -> Opening:
        try:
            with (self._root / key).open("rb", buffering=0) as file:
                size = os.fstat(file.fileno()).st_size
                return Opening(self.read(key, Extent(0, min(length, size))), size)
        except FileNotFoundError as cause:
            raise ObjectMissing("The object is missing from the store.") from cause
        except OSError as cause:
            raise _unavailable(cause) from cause

    def lend(self, key: str, extent: Extent) -> FileRun | None:
        try:
            run = LocalRun(os.open(f"{self._root_path}/{key}", os.O_RDONLY | os.O_CLOEXEC), extent)
        except OSError:  # `read` finds out what is the matter
            return None
        return run if run.is_at_hand() else None

    def delete(self, key: str) -> None:
        path = self._root / key
        try:
            path.unlink(missing_ok=True)
        except OSError as cause:
            raise _unavailable(cause) from cause

    def keys(self, prefix: str = "") -> Iterator[tuple[str, float]]:
        # Start at the last folder that the prefix names whole.
        start = self._root / prefix.rpartition("/")[0]
        now = time.time()
        for folder, _, names in os.walk(start):
            for name in names:
                path = Path(folder, name)
                key = path.relative_to(self._root).as_posix()
                if not key.startswith(prefix):
                    continue
                try:
                    yield key, now - path.stat().st_mtime
                except FileNotFoundError:
                    continue

    def create(self, key: str) -> tuple[int, str]:
        """A file for `key`, which was never used before: its descriptor and its path. `OSError`."""
        target = f"{self._root_path}/{key}"
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
        return self._in_folder(target, lambda: os.open(target, flags, 0o600)), target

    def take_over(self, file: Path, key: str) -> str:
        """Move a file to where `key` belongs; its path there. `OSError`."""
        target = f"{self._root_path}/{key}"
        self._in_folder(target, lambda: file.rename(target))
        return target

    def _in_folder[Made](self, target: str, make: Callable[[], Made]) -> Made:
        """What `make` gives, once the folder of `target` is there."""
        folder = target.rpartition("/")[0]
        self._require_folder(folder)
        try:
            return make()
        except FileNotFoundError:  # the folder was removed behind our back
            self._known_folders.discard(folder)
            self._require_folder(folder)
            return make()

    def _require_folder(self, folder: str) -> None:
        """Have a folder made if need be, its own entry in its parents durable."""
        if folder not in self._known_folders:
            Path(folder).mkdir(parents=True, exist_ok=True)
            self._make_known(Path(folder))

    def _make_known(self, folder: Path) -> None:
        """Sync the entries of `folder` and of those above it, up to the root.

        Also where they were there already: whoever made them may not have come to it yet, or never will.
        """
        if str(folder) in self._known_folders:
            return
        if folder != self._root:
            self._make_known(folder.parent)
        if self.durable:
            _sync_folder(folder.parent)
        with self._lock:
            if len(self._known_folders) > 10_000:
                self._known_folders.clear()
            self._known_folders.add(str(folder))

    def keeps(self, size: int, more: int) -> bool:
        """Whether a body of `size` bytes may keep `more` of them in memory; if so they are counted."""
        with self._lock:
            if size + more > self._keep_in_memory or self._kept + more > self._keep_together:
                return False
            self._kept += more
            return True

    def release(self, size: int) -> None:
        """Count `size` bytes as no longer kept in memory."""
        with self._lock:
            self._kept -= size

    def _clear_incoming(self) -> None:
        """Remove what uploads have left behind whose process is gone, and with it their lock."""
        for path in self.incoming.iterdir():
            try:
                with path.open("rb") as file:
                    fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    if time.time() - path.stat().st_mtime > _ABANDONED_S:
                        path.unlink()
            except (BlockingIOError, FileNotFoundError):
                continue

    @property
    def incoming(self) -> Path:
        return self._root / _INCOMING


class _LocalUpload:
    """A body in memory up to a limit, from there on in a file under `.incoming`."""

    def __init__(self, store: LocalStore) -> None:
        self._store = store
        self._blocks: list[Buffer] = []
        self._held = 0
        self._descriptor: int | None = None
        self._temporary: Path | None = None
        self._target: str | None = None

    def write(self, block: Buffer) -> None:
        try:
            if self._descriptor is not None:
                _write_all(self._descriptor, [block])
                return
            self._blocks.append(block)
            size = memoryview(block).nbytes
            if self._store.keeps(self._held, size):
                self._held += size
            else:
                self._spill()
        except OSError as cause:
            self.abort()
            raise _unavailable(cause) from cause

    def name(self, key: str) -> None:
        """It makes no difference here: a file is moved at no cost."""

    def ready(self, key: str) -> None:
        try:
            descriptor = self._written(key)
            if self._store.durable:
                begin_writing_back(descriptor)
        except OSError as cause:
            self.abort()
            raise _unavailable(cause) from cause

    def commit(self, key: str, digest: Callable[[], bytes] | None = None) -> None:
        # A file has no place for the digest that every file system keeps.
        try:
            descriptor = self._written(key)
            if self._store.durable:
                os.fdatasync(descriptor)
            self._close()
            target = self._placed(key)
            if self._store.durable:
                _sync_folder(target.rpartition("/")[0])
        except OSError as cause:
            self.abort()
            raise _unavailable(cause) from cause
        except BaseException:
            self.abort()
            raise
        self._target = None

    def abort(self) -> None:
        self._let_go()
        with contextlib.suppress(OSError):
            self._close()
        if self._temporary is not None:
            with contextlib.suppress(OSError):  # what stays is swept
                self._temporary.unlink(missing_ok=True)
            self._temporary = None
        if self._target is not None:
            with contextlib.suppress(OSError):
                Path(self._target).unlink()
            self._target = None

    def _spill(self) -> None:
        self._descriptor, name = tempfile.mkstemp(dir=self._store.incoming)
        fcntl.flock(self._descriptor, fcntl.LOCK_EX)
        self._temporary = Path(name)
        _write_all(self._descriptor, self._blocks)
        self._let_go()

    def _let_go(self) -> None:
        """Keep no block in memory any more."""
        self._blocks.clear()
        self._store.release(self._held)
        self._held = 0

    def _close(self) -> None:
        """Close the file; whatever that says, its number is another's from here on."""
        descriptor, self._descriptor = self._descriptor, None
        if descriptor is not None:
            os.close(descriptor)

    def _written(self, key: str) -> int:
        """The descriptor of the file that all of the body is in: at its final place, or under `.incoming`."""
        if self._descriptor is None:
            self._descriptor, self._target = self._store.create(key)
            _write_all(self._descriptor, self._blocks)
            self._let_go()
        return self._descriptor

    def _placed(self, key: str) -> str:
        """The path of the file, which is at its final place."""
        if self._temporary is not None:
            self._target = self._store.take_over(self._temporary, key)
            self._temporary = None
        assert self._target is not None
        return self._target


def _write_all(descriptor: int, blocks: list[Buffer]) -> None:
    views = [memoryview(block).cast("B") for block in blocks]
    while views:
        written = os.writev(descriptor, views[:512])
        while views and written >= len(views[0]):
            written -= len(views.pop(0))
        if written:
            views[0] = views[0][written:]


def _sync_folder(folder: Path | str) -> None:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _unavailable(cause: OSError, what: str = "The object store does not answer") -> StoreUnavailable:
    if cause.errno in _FULL:
        return StoreUnavailable("The object store is full.")
    reason = os.strerror(cause.errno) if cause.errno else "input/output error"
    return StoreUnavailable(f"{what}: {reason}.")
