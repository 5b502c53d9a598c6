"""Adopted files: each one read as it was adopted, or not at all."""

import errno
import os
from collections.abc import Iterable, Iterator
from pathlib import Path
from urllib.parse import quote, unquote_to_bytes

from service.archive.versions import Candidate, VersionKey, gone
from service.dicom.errors import BadExtent, StoreUnavailable
from service.dicom.frames import Extent
from service.store.port import Opening

_FILE = "file://"
_MAX_READ = 8 << 20


def place_of(folder: str) -> str:
    """The place of the files below `folder`, an absolute path without symbolic links."""
    return _FILE + quote(os.fsencode(folder)).rstrip("/")


def files_as_they_are(folder: Path, files: Iterable[Path]) -> Iterator[Candidate]:
    """The files, all below `folder`. No symbolic link is followed."""
    place = place_of(os.path.realpath(folder))
    for path in files:
        real = os.path.realpath(path)
        url = place_of(real)
        if path.is_symlink() or not url.startswith(f"{place}/"):
            yield Candidate(str(path), refusal="A symbolic link is not followed.")
            continue
        try:
            found = Path(real).stat()
            yield Candidate(str(path), f"{url}#{found.st_size}-{found.st_mtime_ns}")
        except OSError as error:
            reason = os.strerror(error.errno or 0)
            yield Candidate(str(path), refusal=f"The file cannot be read: {reason}.")


class AdoptedFiles:
    """Reads files by object keys that tell their paths, sizes and when they were changed, in nanoseconds."""

    def read(self, object_key: str, extent: Extent) -> bytes:
        """Exactly `extent`; `NotFound` where the file is gone or was changed."""
        version = VersionKey.of(object_key)
        if extent.length > _MAX_READ or extent.end > version.size:
            raise BadExtent("The extent reaches past the end of the object.")
        descriptor = _opened(os.fsdecode(unquote_to_bytes(version.url.removeprefix(_FILE))))
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
        if (found.st_size, str(found.st_mtime_ns)) != (version.size, version.stamp):
            raise gone()
        return block

    def opening(self, object_key: str, length: int) -> Opening:
        """The first `length` bytes, or all there are; nobody keeps the digest of a file."""
        size = VersionKey.of(object_key).size
        return Opening(self.read(object_key, Extent(0, min(length, size))), size)


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
