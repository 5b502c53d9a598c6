"""The object store port: immutable blobs by key."""

from collections.abc import Buffer, Callable, Iterator
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

from service.dicom.frames import Extent


@dataclass(frozen=True, slots=True)
class Opening:
    """How an object begins, how many bytes it has, and the digest its writer gave, where that is kept.

    `version` tells this content from any other that the object had or will have, where that is known.
    """

    head: Buffer
    size: int
    digest: bytes | None = None
    version: str = ""


@dataclass(frozen=True, slots=True)
class Version:
    """An object of somebody else as it is: its key, its size in bytes, and what tells its content."""

    key: str
    size: int
    version: str


class Upload(Protocol):
    """A body on its way into a store; used by one thread at a time."""

    def write(self, block: Buffer) -> None:
        """Append `block`, which the upload may keep: the caller must not change it afterwards."""
        ...

    def name(self, key: str) -> None:
        """Tell the key that `commit` will give, as soon as it is known: the body may go there from now on.

        Telling it is voluntary; nothing is to be seen under the key before the commit.
        """
        ...

    def ready(self, key: str) -> None:
        """The body is whole and `commit` follows with this key: it may be on its way to being durable.

        Telling it is voluntary, and waits for nothing. What is to be seen under the key means nothing before
        the commit.
        """
        ...

    def commit(self, key: str, digest: Callable[[], bytes] | None = None) -> None:
        """Make the body durable under `key`, a key that was never used before.

        `digest` tells 32 bytes of the caller's, which are kept beside the object where that takes no other
        request; it is asked only then.
        """
        ...

    def abort(self) -> None:
        """Drop the body; nothing happens after `commit`."""
        ...


class ObjectStore(Protocol):
    """Immutable blobs by key. Every method may raise `StoreUnavailable`; any thread may call."""

    def begin(self) -> Upload:
        """A body to be pushed with `write`, made durable by `commit(key)`, dropped by `abort`."""
        ...

    def read(self, key: str, extent: Extent) -> Buffer:
        """Exactly `extent`, at most 8 MiB. `ObjectMissing` if absent, `BadExtent` past the end."""
        ...

    def opening(self, key: str, length: int) -> Opening:
        """The first `length` bytes, at least 1 and at most 8 MiB, or all there are. `ObjectMissing`."""
        ...

    def delete(self, key: str) -> None:
        """Forget the object; already absent is success."""
        ...

    def keys(self, prefix: str = "") -> Iterator[tuple[str, float]]:
        """Every key that begins with `prefix`, with its age in seconds."""
        ...


class Versions(Protocol):
    """Objects of somebody else, who may change them. Every method may raise `StoreUnavailable`."""

    def opening(self, key: str, length: int) -> Opening:
        """As of an `ObjectStore`, with its version."""
        ...

    def read_version(self, key: str, version: str, extent: Extent) -> Buffer:
        """As `read` of an `ObjectStore`, of that version; `ObjectMissing` if it is another one by now."""
        ...

    def versions(self, prefix: str = "") -> Iterator[Version]:
        """Every object whose key begins with `prefix`."""
        ...


@runtime_checkable
class Probes(Protocol):
    """What a store has that can tell how it is without being asked for an object."""

    def probe(self) -> None:
        """Return if objects are to be had; `StoreUnavailable` if not."""
        ...


class FileRun(Protocol):
    """A run of bytes of an open file, to be sent by the kernel without passing through this program."""

    @property
    def descriptor(self) -> int:
        """The open file; it is read at positions, so that its own does not matter."""
        ...

    @property
    def extent(self) -> Extent:
        """Where in the file the run lies."""
        ...

    def read(self) -> bytes:
        """The bytes, for whoever cannot send them out of the file. `OSError` if they are not to be had."""
        ...

    def close(self) -> None:
        """Let go of the file. Once is enough; more often is no error."""
        ...


@runtime_checkable
class Lends(Protocol):
    """What a store has whose objects are files of this machine."""

    def lend(self, key: str, extent: Extent) -> FileRun | None:
        """`extent` as a run of a file, if it lies in memory already; `None` says to `read` it."""
        ...
