"""DICOM objects in the body of an answer, one after another, while it arrives."""

from collections.abc import Iterator, Mapping

from bridge.archive.http1 import ConnectionLost
from bridge.archive.remote import Incoming
from service.dicom.errors import BadRequest, UpstreamFailed, UpstreamTimeout
from service.dicom.media import DICOM, MULTIPART, content_type
from service.dicom.multipart import Event, OnePart, PartBegins, PartData, PartEnds, Reader, Reads

_MOST_PARTS = 1 << 20


class Body:
    """The parts of an answer, one after another; a body that is no multipart is one part.

    `tag` is the strong entity tag of a body that can be asked for again from any of its bytes, or empty.
    """

    def __init__(self, incoming: Incoming) -> None:
        self._incoming = incoming
        kind, parameters = content_type(incoming.headers.get("content-type", ""))
        self._reader: Reads
        self.tag = ""
        if kind == MULTIPART:
            self._reader = Reader(parameters.get("boundary", ""), max_parts=_MOST_PARTS)
        elif kind in (DICOM, "application/octet-stream"):
            self._reader = OnePart(kind)
            told = incoming.headers.get("etag", "")
            self.tag = told if told.startswith('"') else ""
        else:
            raise BadRequest("The archive sent something else than DICOM objects.")
        self._events: Iterator[Event] = self._reader.push([])
        self._at_end = False
        self.part_ended = False
        self.part_length: int | None = None

    async def begin(self) -> bool:
        """Go to the next part; false if there is none."""
        while True:
            for event in self._events:
                if isinstance(event, PartBegins):
                    self.part_ended = False
                    self.part_length = self._length(event.headers)
                    return True
            if not await self._more():
                return False

    async def next(self) -> list[memoryview]:
        """What has arrived of the part, nothing at its end."""
        while not self.part_ended:
            blocks: list[memoryview] = []
            for event in self._events:
                if isinstance(event, PartEnds):
                    self.part_ended = True
                    break
                if isinstance(event, PartData):
                    blocks.append(event.data)
            if blocks:
                return blocks
            if not self.part_ended and not await self._more():
                raise ConnectionLost("The archive's answer ends inside an instance.")
        return []

    async def until(self, most_bytes: int) -> list[memoryview]:
        """The part to its end, or a little more than `most_bytes` of it."""
        content: list[memoryview] = []
        size = 0
        while size <= most_bytes and (blocks := await self.next()):
            content += blocks
            size += sum(map(len, blocks))
        return content

    async def skip(self, size_bytes: int) -> None:
        """Pass over the first bytes of the part."""
        left = size_bytes
        while left:
            blocks = await self.next()
            if not blocks:
                raise UpstreamFailed("The archive sent less than it had sent before.")
            joined = b"".join(blocks)
            if len(joined) > left:
                self._events = _preceded(joined[left:], self._events)
            left -= min(left, len(joined))

    async def finish(self) -> None:
        """Read what is behind the part, so that the connection can be kept."""
        try:
            while await self._more():
                for _ in self._events:
                    pass
        except (ConnectionLost, UpstreamTimeout, BadRequest):
            return
        self.close()

    def close(self) -> None:
        self._incoming.close()

    async def _more(self) -> bool:
        """Read on; false if nothing more comes."""
        if self._at_end:
            return False
        blocks = await self._incoming.read()
        if not blocks:
            self._at_end = True
            self._events = self._reader.end()
            return True
        self._events = self._reader.push(blocks)
        return True

    def _length(self, headers: Mapping[str, str]) -> int | None:
        whole = self._incoming.headers if isinstance(self._reader, OnePart) else headers
        told = whole.get("content-length", "")
        return int(told) if told.isascii() and told.isdigit() and len(told) < 15 else None


def _preceded(data: bytes, events: Iterator[Event]) -> Iterator[Event]:
    yield PartData(memoryview(data))
    yield from events
