"""What the store asks of a client of S3: whole requests, by whole keys."""

from collections.abc import Buffer, Sequence
from dataclasses import dataclass
from typing import Protocol

from service.dicom.errors import ObjectMissing
from service.dicom.frames import Extent
from service.store.port import Opening

DIGEST = "isthmus-sha256"
MEDIA_TYPE = "application/dicom"


@dataclass(frozen=True, slots=True)
class Listed:
    """One key of a listing: written when, in seconds since 1970 by the store's clock, size and ETag."""

    key: str
    written: float
    size: int
    tag: str


class Client(Protocol):
    """One attempt each.

    Raises `Transient` where another attempt may do better, else `StoreUnavailable` and its kinds.
    """

    def get(self, key: str, extent: Extent, tag: str = "") -> Buffer:
        """Exactly `extent`, which is not empty; with a `tag`, `ObjectMissing` if the ETag is another one."""
        ...

    def opening(self, key: str, length: int) -> Opening:
        """The first `length` bytes, at least 1, or all if there are fewer; size and digest."""
        ...

    def put(self, key: str, body: bytes, digest: bytes) -> None:
        """Write the object whole, with `digest` in its metadata unless that is empty."""
        ...

    def delete(self, key: str) -> None:
        """Delete the object; already absent is success."""
        ...

    def page(self, prefix: str, after: str) -> Sequence[Listed]:
        """The next keys behind `after` that begin with `prefix`, in order; none at the end."""
        ...


def require(tag: str, told: str | None) -> None:
    """`ObjectMissing` if the ETag that was `told` is another one than `tag`, unless that is empty."""
    if tag and tag != (told or ""):
        raise ObjectMissing("The object was replaced.")


def digest_of(text: str | None) -> bytes | None:
    """The digest that metadata hold, if it is one."""
    try:
        digest = bytes.fromhex(text or "")
    except ValueError:
        return None
    return digest if len(digest) == 32 else None
