"""What showing an instance takes from the archive: its attributes, and a frame as samples."""

import time
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from service.archive.bulk import bulk_value
from service.archive.detached import tag_path
from service.archive.frames import frames_of
from service.archive.perframe import parsed
from service.archive.port import Archive
from service.archive.transcoding import Steps, frame_bytes, source_syntax
from service.dicom.errors import BadRequest, NotAcceptable, NotFound, Superseded
from service.dicom.record import Held
from service.dicom.resource import Resource
from service.pixels.attributes import Attributes
from service.pixels.codecs import decode
from service.pixels.frame import Frame, FrameShape, Pixels, Samples, frame_shape
from service.pixels.shelf import Shelf

MOST_FRAME_BYTES = 256 << 20
"""The most bytes of samples that one frame is decoded to."""
MOST_VALUE_BYTES = 16 << 20
"""The most bytes of a value, of a look-up table or an overlay, that is fetched."""


def attributes_of(archive: Archive, held: Held, block_size: int, shelf: Shelf | None = None) -> Attributes:
    """The stored attributes of an instance; values that they only point to are fetched when they are read.

    `NotFound` if it is gone by now, unless its attributes lie on the `shelf`.
    """

    def fetch(place: str) -> bytes:
        return _value(archive, held, place, block_size)

    members = shelf.find(("attributes", held.digest)) if shelf is not None else None
    if members is None:
        members = _members(archive, held, shelf)
    return Attributes(members, fetch)


def _members(archive: Archive, held: Held, shelf: Shelf | None) -> Mapping[str, Any]:
    """The stored attributes, read from the index and kept on the shelf.

    They are read by UIDs, under which another object may stand by now: `Superseded` if so.
    """
    resource = Resource(held.key.study, held.key.series, held.key.instance)
    documents = archive.documents(resource)
    document = next((found for found, _ in documents or ()), None)
    if document is None:
        raise NotFound("The instance was removed while it was being read.")
    (read,) = archive.instances(resource)
    if (read.row, read.digest) != (held.row, held.digest):
        raise Superseded("The instance was replaced while it was being read.")
    members, size = parsed(document, most_bytes=shelf.most_bytes if shelf is not None else 0)
    if shelf is not None:
        shelf.keep(("attributes", held.digest), members, size)
    return members


def _value(archive: Archive, held: Held, place: str, block_size: int) -> bytes:
    """The bytes behind a BulkDataURI; none where they are not there, or too many."""
    _, _, path = place.partition("/bulkdata/")
    try:
        content = bulk_value(archive, held, tag_path(path), block_size)
    except Superseded:
        raise
    except (BadRequest, NotFound):
        return b""
    if content.size is None or content.size > MOST_VALUE_BYTES:
        return b""
    return b"".join(content.blocks())


def stored_shape(held: Held) -> FrameShape:
    """The shape of an instance's frames. `NotFound` if there are none, `NotAcceptable` if too large."""
    if held.shape is None or held.pixels is None:
        raise NotFound("The instance has no pixel data.")
    shape = frame_shape(held.shape, held.pixels.tag)
    size = frame_bytes(held.shape)
    if size > MOST_FRAME_BYTES:
        raise NotAcceptable(
            f"A frame of this instance has {size >> 20} MiB of samples; "
            f"frames are rendered up to {MOST_FRAME_BYTES >> 20} MiB."
        )
    return shape


def stored_frames(archive: Archive, held: Held, numbers: Sequence[int], block_size: int) -> Iterator[Frame]:
    """The frames with these numbers, counted from 1, each read when it is wanted.

    They are looked up at once, and a deflated object is inflated once. `NotFound` if one is not there.
    """
    shape = stored_shape(held)
    for found in frames_of(archive, held, numbers, block_size):
        bound = found.content.bound
        if bound is not None and bound > 2 * MOST_FRAME_BYTES:
            raise NotAcceptable("The frame's codestream is larger than any that is decoded here.")
        blocks = list(found.content.blocks())
        payload = blocks[0] if len(blocks) == 1 else b"".join(blocks)
        yield Frame(payload, source_syntax(held), shape)


def stored_frame(archive: Archive, held: Held, number: int, block_size: int) -> Frame:
    """Frame `number`, counted from 1, read in one run. `NotFound` if it is not there."""
    return next(stored_frames(archive, held, [number], block_size))


class StoredStack:
    """The frames of a stored image, read one at a time; see `service.pixels.stack.Stack`."""

    def __init__(self, archive: Archive, held: Held, block_size: int, steps: Steps) -> None:
        self._archive = archive
        self._held = held
        self._block_size = block_size
        self._steps = steps

    @property
    def count(self) -> int:
        """How many frames there are."""
        return self._held.shape.frames if self._held.shape is not None else 0

    def stored(self, number: int) -> Frame:
        """A frame as it is stored."""
        return stored_frame(self._archive, self._held, number, self._block_size)

    def pixels(self, number: int) -> Pixels:
        """The samples of a frame."""
        return stored_pixels(self._archive, self._held, number, self._block_size, self._steps)


def stored_pixels(
    archive: Archive,
    held: Held,
    number: int,
    block_size: int,
    steps: Steps,
    *,
    reduced: int = 0,
    shelf: Shelf | None = None,
) -> Pixels:
    """The samples of frame `number`; with `reduced`, halved so many times where that spares work.

    Those on the `shelf` are nobody's to change. `NotAcceptable` if the frame cannot be decoded.
    """
    key = ("samples", held.digest, number, reduced)
    pixels: Pixels | None = shelf.find(key) if shelf is not None else None
    if pixels is None:
        pixels = next(each_pixels(archive, held, [number], block_size, steps, reduced=reduced))
        if shelf is not None:
            pixels.array.setflags(write=False)
            shelf.keep(key, pixels, _held_bytes(pixels.array))
    return pixels


def _held_bytes(array: Samples) -> int:
    """What an array keeps in memory: all of the block that was read, where it is a view of it."""
    base = array.base
    return array.nbytes if base is None else max(array.nbytes, memoryview(base).nbytes)


def each_pixels(
    archive: Archive,
    held: Held,
    numbers: Sequence[int],
    block_size: int,
    steps: Steps,
    *,
    reduced: int = 0,
) -> Iterator[Pixels]:
    """The samples of the frames with these numbers, as `stored_pixels` has them, on one way through them."""
    frames = stored_frames(archive, held, numbers, block_size)
    for _ in numbers:
        begun = time.perf_counter()
        frame = next(frames)
        read = time.perf_counter()
        try:
            pixels = decode(frame, reduced=reduced)
        except MemoryError as cause:
            raise NotAcceptable("The frame takes more memory to decode than there is.") from cause
        steps["read"] = steps.get("read", 0.0) + read - begun
        steps["decode"] = steps.get("decode", 0.0) + time.perf_counter() - read
        yield pixels
