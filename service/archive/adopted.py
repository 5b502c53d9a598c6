"""Objects that were there before the archive, read where they lie, never changed and never deleted.

The object key of such an object is a URL, which no key of a store is, and names one version of it:
`file:///path#{size}-{modified}` or `s3://bucket/key#{size}-{tag}`. What was changed since is another version,
and is never read for the one that was adopted.
"""

import threading
from collections.abc import Buffer, Callable, Iterator, Sequence
from typing import Protocol
from urllib.parse import quote, unquote

from service.archive.adopted_files import AdoptedFiles
from service.archive.versions import Candidate, VersionKey, gone
from service.dicom.errors import BadExtent, NotFound, ObjectMissing, StoreUnavailable
from service.dicom.frames import Extent
from service.dicom.record import Held
from service.dicom.resource import Resource
from service.environment import SettingError
from service.index.port import FullIndex
from service.store.port import ObjectStore, Opening, Upload, Versions

S3 = "s3://"


def is_adopted(object_key: str) -> bool:
    """Whether the object is not the archive's own, and must never be deleted."""
    return "://" in object_key


class _Kept(Protocol):
    """Adopted objects of one kind, by their object keys."""

    def read(self, object_key: str, extent: Extent) -> Buffer:
        """Exactly `extent`; `NotFound` where the object is not the version that was adopted."""
        ...

    def opening(self, object_key: str, length: int) -> Opening:
        """The first `length` bytes, or all there are; `NotFound` likewise."""
        ...


class AdoptedObjects:
    """Reads adopted objects of buckets, each bucket opened when it is first needed."""

    def __init__(self, open_bucket: Callable[[str], Versions]) -> None:
        self._open = open_bucket
        self._buckets: dict[str, Versions] = {}
        self._lock = threading.Lock()

    def read(self, object_key: str, extent: Extent) -> Buffer:
        """Exactly `extent`; `NotFound` where the object is gone or was replaced."""
        version = VersionKey.of(object_key)
        bucket, _, key = version.url.removeprefix(S3).partition("/")
        if extent.end > version.size:
            raise BadExtent("The extent reaches past the end of the object.")
        try:
            if not extent.length:
                return b""
            return self._bucket(bucket).read_version(unquote(key), unquote(version.stamp), extent)
        except ObjectMissing:
            raise gone() from None

    def opening(self, object_key: str, length: int) -> Opening:
        """The first `length` bytes, or all there are; `NotFound` likewise."""
        version = VersionKey.of(object_key)
        bucket, _, key = version.url.removeprefix(S3).partition("/")
        try:
            opening = self._bucket(bucket).opening(unquote(key), length)
        except ObjectMissing:
            raise gone() from None
        if (opening.size, opening.version) != (version.size, unquote(version.stamp)):
            raise gone()
        # Whoever wrote it may keep a digest of another kind beside it.
        return Opening(opening.head, opening.size)

    def below(self, place: str) -> Iterator[Candidate]:
        """The objects of the bucket that `place`, `s3://bucket/prefix`, names."""
        bucket, _, prefix = place.removeprefix(S3).partition("/")
        for one in self._bucket(bucket).versions(f"{prefix.rstrip('/')}/" if prefix.rstrip("/") else ""):
            name = f"{S3}{bucket}/{one.key}"
            if one.key.endswith("/"):  # what stands for a folder
                continue
            if not one.version:
                yield Candidate(name, refusal="The store does not tell versions of this object (ETag).")
                continue
            stamp = f"{one.size}-{quote(one.version, safe='')}"
            yield Candidate(name, f"{S3}{bucket}/{quote(one.key)}#{stamp}")

    def _bucket(self, name: str) -> Versions:
        with self._lock:
            if name not in self._buckets:
                try:
                    self._buckets[name] = self._open(name)
                except SettingError as cause:
                    raise StoreUnavailable("The bucket of an adopted object cannot be opened.") from cause
            return self._buckets[name]


class Adopted:
    """Reads adopted objects wherever they are. Any thread may call.

    `NotFound` where an object is gone or is not the version that was adopted, `StoreUnavailable` where it
    cannot be read.
    """

    def __init__(self, open_bucket: Callable[[str], Versions] | None = None) -> None:
        """`open_bucket` opens a bucket of the given name; without it objects of buckets are not read."""
        self._files = AdoptedFiles()
        self.objects = AdoptedObjects(open_bucket or _no_buckets)

    def read(self, object_key: str, extent: Extent) -> Buffer:
        """Exactly `extent`, at most 8 MiB. `BadExtent` past the end."""
        return self._kept(object_key).read(object_key, extent)

    def opening(self, object_key: str, length: int) -> Opening:
        """The first `length` bytes, or all there are."""
        return self._kept(object_key).opening(object_key, length)

    def stands(self, object_key: str) -> bool:
        """Whether the object is there as it was adopted."""
        try:
            self._kept(object_key).opening(object_key, 1)
        except NotFound:
            return False
        return True

    def forget_if_fallen(self, index: FullIndex, located: Sequence[Held]) -> bool:
        """Take out the row of an adopted object that is gone or was changed: it keeps nothing any more."""
        if not located or not located[0].place or self.stands(located[0].object_key):
            return False
        key = located[0].key
        index.clear(index.remove(Resource(key.study, key.series, key.instance)))
        return True

    def _kept(self, object_key: str) -> _Kept:
        return self.objects if object_key.startswith(S3) else self._files


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


def _no_buckets(name: str) -> Versions:
    raise StoreUnavailable("Adopted objects of buckets cannot be read here.")
