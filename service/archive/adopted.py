"""Files that were there before the archive, read where they lie and never changed.

The object key of such a file is a URL, which no key of a store is, and names one version of it:
`{place}/{path}#{size}-{modified}`, where `place` is the URL of the folder that was adopted, and `modified`
is in nanoseconds since 1970. A file that was changed since is another version, and is never read for it.
"""

import errno
import os
from collections.abc import Buffer, Iterator, Sequence
from dataclasses import dataclass
from urllib.parse import quote, unquote_to_bytes

from service.dicom.errors import BadExtent, NotFound, StoreUnavailable
from service.dicom.frames import Extent
from service.dicom.record import Held
from service.dicom.resource import Resource
from service.index.port import FullIndex
from service.store.port import ObjectStore, Opening, Upload

_FILE = "file://"
_MAX_READ = 8 << 20


def is_adopted(object_key: str) -> bool:
    """Whether the object is not the archive's own, and must never be deleted."""
    return "://" in object_key


def place_of(folder: str) -> str:
    """The place of the files below `folder`, an absolute path without symbolic links."""
    return _FILE + quote(os.fsencode(folder)).rstrip("/")


def version_of(path: str, found: os.stat_result) -> str:
    """The object key of the file at `path`, absolute, as it is."""
    return f"{_FILE}{quote(os.fsencode(path))}#{found.st_size}-{found.st_mtime_ns}"


@dataclass(frozen=True, slots=True)
class _Version:
    """What an object key says."""

    path: str
    size: int
    modified_ns: int

    @classmethod
    def of(cls, object_key: str) -> "_Version":
        url, _, stamp = object_key.rpartition("#")
        size, _, modified = stamp.partition("-")
        if not url.startswith(f"{_FILE}/") or not (size.isdigit() and modified.lstrip("-").isdigit()):
            raise gone()
        path = os.fsdecode(unquote_to_bytes(url.removeprefix(_FILE)))
        return cls(path, int(size), int(modified))


class AdoptedFiles:
    """Reads adopted files by their object keys. Any thread may call.

    `NotFound` where the file is gone or is not the version that was adopted, `StoreUnavailable` where it
    cannot be read.
    """

    def read(self, object_key: str, extent: Extent) -> bytes:
        """Exactly `extent`, at most 8 MiB. `BadExtent` past the end."""
        version = _Version.of(object_key)
        if extent.length > _MAX_READ or extent.end > version.size:
            raise BadExtent("The extent reaches past the end of the object.")
        descriptor = _opened(version.path)
        try:
            block = os.pread(descriptor, extent.length, extent.offset)
            while len(block) < extent.length:  # the kernel may give less than asked
                more = os.pread(descriptor, extent.length - len(block), extent.offset + len(block))
                if not more:
                    raise gone()
                block += more
            # Asked behind the read: whatever was changed before it or meanwhile shows.
            found = os.fstat(descriptor)
        except OSError as cause:
            raise _unreadable(cause) from cause
        finally:
            os.close(descriptor)
        if (found.st_size, found.st_mtime_ns) != (version.size, version.modified_ns):
            raise gone()
        return block

    def opening(self, object_key: str, length: int) -> Opening:
        """The first `length` bytes, or all there are; nobody keeps the digest of a file."""
        size = _Version.of(object_key).size
        return Opening(self.read(object_key, Extent(0, min(length, size))), size)

    def stands(self, object_key: str) -> bool:
        """Whether the file is there as it was adopted."""
        try:
            self.read(object_key, Extent(0, 0))
        except NotFound:
            return False
        return True


class OwnObjects:
    """A store that deletes what is its own, and leaves alone what was adopted."""

    def __init__(self, store: ObjectStore) -> None:
        self._store = store

    def begin(self) -> Upload:
        """As the store does."""
        return self._store.begin()

    def read(self, key: str, extent: Extent) -> Buffer:
        """As the store does."""
        return self._store.read(key, extent)

    def opening(self, key: str, length: int) -> Opening:
        """As the store does."""
        return self._store.opening(key, length)

    def delete(self, key: str) -> None:
        """As the store does; an adopted object stays."""
        if not is_adopted(key):
            self._store.delete(key)

    def keys(self, prefix: str = "") -> Iterator[tuple[str, float]]:
        """As the store does."""
        return self._store.keys(prefix)


def forget_if_fallen(index: FullIndex, files: AdoptedFiles, located: Sequence[Held]) -> bool:
    """Take out the row of an adopted file that is gone or was changed: it keeps nothing any more."""
    if not located or not located[0].place or files.stands(located[0].object_key):
        return False
    key = located[0].key
    index.clear(index.remove(Resource(key.study, key.series, key.instance)))
    return True


def gone() -> NotFound:
    """What is said of an adopted file that is not there as it was."""
    return NotFound(
        "The file of this instance, which is outside of the archive, is gone or was changed since it was "
        "adopted. Adopt it again, or delete the instance."
    )


def _opened(path: str) -> int:
    """The file at `path`, which no symbolic link may lead to: it could lead anywhere."""
    try:
        if os.path.realpath(path) != path:
            raise gone()
        return os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK)
    except OSError as cause:
        raise _unreadable(cause) from cause


def _unreadable(cause: OSError) -> Exception:
    if cause.errno in (errno.ENOENT, errno.ENOTDIR, errno.ELOOP, errno.ESTALE, errno.EISDIR):
        return gone()
    reason = os.strerror(cause.errno) if cause.errno else "input/output error"
    return StoreUnavailable(f"A file outside of the archive cannot be read: {reason}.")
