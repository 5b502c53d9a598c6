"""Instances out of the DICOMweb server behind the bridge (WADO-RS, PS3.18 10.4), whole or as they arrive."""

import asyncio
import random
import re
from collections.abc import AsyncGenerator, AsyncIterator, Mapping

from bridge.archive.bodies import Body
from bridge.archive.budget import Budget, Room
from bridge.archive.http1 import ConnectionLost
from bridge.archive.remote import Incoming, RemoteArchive
from bridge.scp.identity import Verdict, compare
from bridge.settings import RetrieveSettings
from service.dicom.errors import (
    ArchiveError,
    BadRequest,
    Busy,
    NotAcceptable,
    NotAuthorized,
    NotFound,
    TooLarge,
    UpstreamFailed,
    UpstreamTimeout,
)
from service.dicom.media import DICOM, MULTIPART, content_type
from service.dicom.part10 import FileHead, read_file_head
from service.dicom.resource import InstanceKey, Resource
from service.dicom.syntaxes import BY_UID

_BUSY = frozenset((429, 503))
_TRIES = 3  # of an instance, where others are answered
_RESUMES = 3  # of one instance
_BEGINNING = 1 << 16  # bytes of a data set in which its UIDs stand
_RANGE = re.compile(r"bytes (\d{1,20})-\d{1,20}/(?:\d{1,20}|\*)")


class ArchiveFailed(UpstreamFailed):
    """The archive has answered, and did not send what it was asked for."""


class _BrokenOff(ConnectionLost):
    """The archive had begun to send."""


class Arrived:
    """One DICOM object: `head` is its file meta information, what follows is its data set.

    `whole` is that data set, or `None` where it is larger than what is held: then it can be read once,
    by `blocks`, which raises `UpstreamFailed` if it breaks off for good. Who has it closes it, and so gives
    back its `room`.
    """

    def __init__(
        self,
        head: FileHead,
        whole: memoryview | None,
        rest: AsyncGenerator[bytes] | None = None,
        *,
        beginning: bytes = b"",
        begun: Body | None = None,
    ) -> None:
        self.head = head
        self.whole = whole
        self.room: Room | None = None
        self._rest = rest
        self._beginning = beginning
        self._begun = begun

    def is_instance(self, sop_class: str, sop_instance: str) -> bool:
        """Whether it is what it is taken for: its data set says so, else its file meta information."""
        syntax = BY_UID.get(self.head.syntax)
        if syntax is not None:
            start = self._beginning if self.whole is None else bytes(self.whole[:_BEGINNING])
            complete = self.whole is not None and len(self.whole) <= _BEGINNING
            verdict = compare(start, syntax, sop_class, sop_instance, whole=complete)
            if verdict in (Verdict.SAME, Verdict.DIFFERENT):
                return verdict is Verdict.SAME
        return self.head.sop_instance in ("", sop_instance)

    def blocks(self) -> AsyncIterator[bytes]:
        """The data set of an object that is not whole, as it arrives."""
        assert self._rest is not None
        return self._rest

    async def close(self) -> None:
        """Let go of what is held, and of the connection."""
        if self._rest is not None:
            await self._rest.aclose()
        if self._begun is not None:
            self._begun.close()  # which a generator that was never begun has not done
        if self.room is not None:
            self.room.close()


class Objects:
    """Fetches DICOM objects for all retrievals of a bridge."""

    def __init__(self, archive: RemoteArchive, settings: RetrieveSettings) -> None:
        self._archive = archive
        self._settings = settings
        self._budget = Budget(settings.held_bytes)
        self._takes_plain = True  # an instance without a multipart around it
        self._answered_at = float("-inf")

    async def one(self, key: InstanceKey, syntax: str) -> Arrived:
        """An instance in a transfer syntax, `*` for the stored one.

        It is there to its end if it is no larger than `whole_bytes`, for which the caller has `room`. Raises
        `NotFound`, `NotAcceptable` if it cannot be had so, `NotAuthorized`, `Busy`, `ArchiveFailed`,
        `BadRequest` or `NotDicom` for an answer that makes no sense, `UpstreamFailed` or `UpstreamTimeout`.
        """
        try:
            return await self._one(key, syntax)
        except ConnectionLost:
            pass
        try:
            return await self._one(key, syntax)
        except _BrokenOff as broken:  # it is there, and cannot send this one
            raise ArchiveFailed(str(broken)) from broken

    @property
    def has_room(self) -> bool:
        """Whether `room` would not wait."""
        return self._budget.has_room(self._settings.whole_bytes)

    async def room(self) -> Room:
        """Room for one instance: whoever fetches several takes it in the order in which they are wanted."""
        return await self._budget.room(self._settings.whole_bytes)

    async def many(self, resource: Resource) -> AsyncGenerator[Arrived]:
        """The instances of a study or series as they are stored, each whole, in the archive's order.

        Raises what `one` does, where the archive breaks off; `TooLarge` before one above `whole_bytes`.
        """
        incoming = await self._open(resource.path, {"Accept": _accept("*", plain=False)}, patient=False)
        try:
            body = Body(incoming)
            while await body.begin():
                size = body.part_length
                if size is not None and size > self._settings.whole_bytes:
                    raise TooLarge("An instance is larger than what is held.")
                room = await self._budget.room(self._settings.whole_bytes if size is None else size)
                try:
                    content = await body.until(self._settings.whole_bytes)
                    if not body.part_ended:
                        raise TooLarge("An instance is larger than what is held.")
                    arrived = _whole(content, size)
                except BaseException:
                    room.close()
                    raise
                room.narrow(sum(map(len, content)))
                arrived.room = room
                yield arrived
        finally:
            incoming.close()

    async def _one(self, key: InstanceKey, syntax: str) -> Arrived:
        incoming = await self._open_instance(key, syntax)
        kept = False
        try:
            if incoming.status == 206 and "content-range" in incoming.headers:
                raise ArchiveFailed("The archive sent a range that nobody asked for.")
            body = Body(incoming)
            if not await body.begin():
                raise NotFound("The archive sent no instance.")
            size = body.part_length
            content: list[memoryview] = []
            if size is None or size <= self._settings.whole_bytes:
                content = await body.until(self._settings.whole_bytes)
                if body.part_ended:
                    await body.finish()
                    return _whole(content, size)
            arrived = await self._streamed(key, syntax, body, content)
            kept = True
            return arrived
        except ConnectionLost as lost:
            raise _BrokenOff(str(lost)) from lost
        finally:
            if not kept:
                incoming.close()

    async def _streamed(
        self, key: InstanceKey, syntax: str, body: Body, content: list[memoryview]
    ) -> Arrived:
        """An instance of which not more than a window is held."""
        begun = b"".join(content)
        while (head := read_file_head(begun)) is None:
            more = await body.next()
            if not more:
                raise BadRequest("The archive sent no DICOM object.")
            begun += b"".join(more)
        while len(begun) < head.data_offset + _BEGINNING and (more := await body.next()):
            begun += b"".join(more)
        beginning = begun[head.data_offset : head.data_offset + _BEGINNING]
        rest = self._rest(key, syntax, body, begun, head.data_offset)
        return Arrived(head, None, rest, beginning=beginning, begun=body)

    async def _rest(
        self, key: InstanceKey, syntax: str, body: Body, begun: bytes, offset: int
    ) -> AsyncGenerator[bytes]:
        received, told = len(begun), body.part_length
        resumes = 0
        try:
            if len(begun) > offset:
                yield begun[offset:]
            del begun
            while True:
                try:
                    blocks = await body.next()
                except (ConnectionLost, UpstreamTimeout):
                    resumes += 1
                    if resumes > _RESUMES or not body.tag:
                        raise
                    body = await self._resumed(key, syntax, body, received)
                    continue
                if not blocks:
                    if told is not None and received < told:
                        raise ArchiveFailed(_SHORT)
                    return
                received += sum(map(len, blocks))
                yield b"".join(blocks)
        finally:
            body.close()

    async def _resumed(self, key: InstanceKey, syntax: str, body: Body, received: int) -> Body:
        """The same answer from byte `received` on: a range, or all of it where that is what it was."""
        body.close()
        more = {"Range": f"bytes={received}-", "If-Range": body.tag}
        incoming = await self._open_instance(key, syntax, more)
        try:
            resumed = Body(incoming)
            if resumed.tag != body.tag or not await resumed.begin():
                raise UpstreamFailed("The archive has another object than it had begun to send.")
            skipped = received
            if incoming.status == 206:
                told = _RANGE.fullmatch(incoming.headers.get("content-range", "").strip())
                if told is None or int(told[1]) != received:
                    raise UpstreamFailed("The archive sent another range than it was asked for.")
                skipped = 0
            await resumed.skip(skipped)
        except BaseException:
            incoming.close()
            raise
        return resumed

    async def _open_instance(
        self, key: InstanceKey, syntax: str, more: Mapping[str, str] | None = None
    ) -> Incoming:
        headers = {"Accept": _accept(syntax, plain=self._takes_plain), **(more or {})}
        try:
            return _framed(await self._open(key.path, headers))
        except NotAcceptable:
            if not self._takes_plain:
                raise
        # Some servers know nothing but multiparts, and one media range at a time.
        headers["Accept"] = _accept(syntax, plain=False)
        incoming = _framed(await self._open(key.path, headers))
        self._takes_plain = False
        return incoming

    async def _open(self, path: str, headers: Mapping[str, str], *, patient: bool = True) -> Incoming:
        """The answer to a GET, with a body; an archive that is busy, or away, is waited for if `patient`."""
        loop = asyncio.get_running_loop()
        begun = loop.time()
        tries = 0
        while True:
            try:
                incoming = await self._archive.open(path, headers)
            except (ConnectionLost, UpstreamTimeout):
                raise
            except UpstreamFailed:  # nobody listens, for now
                if not patient or loop.time() - begun >= self._settings.busy_s:
                    raise
                await asyncio.sleep(_wait_s({}, self._settings.busy_delay_s))
                continue
            if incoming.status in (200, 206):
                self._answered_at = loop.time()
                return incoming
            incoming.close()
            tries += 1
            if not patient or incoming.status not in _BUSY or loop.time() - begun >= self._settings.busy_s:
                raise _error(incoming.status)
            if tries == _TRIES and self._answered_at > begun:  # busy with this instance only
                raise ArchiveFailed("The archive is there and does not send the instance.")
            await asyncio.sleep(_wait_s(incoming.headers, self._settings.busy_delay_s))


_SHORT = "The archive sent less of an instance than it had said."


def _whole(content: list[memoryview], told: int | None) -> Arrived:
    """An object that is there to its end; `told` is how long it should be."""
    joined = b"".join(content)
    if told is not None and len(joined) < told:
        raise ArchiveFailed(_SHORT)
    head = read_file_head(joined)
    if head is None:
        raise BadRequest("The archive sent no DICOM object.")
    return Arrived(head, memoryview(joined)[head.data_offset :])


def _framed(incoming: Incoming) -> Incoming:
    """An answer that shows where it ends, other than by the end of the connection, which may come early."""
    kind, _ = content_type(incoming.headers.get("content-type", ""))
    if kind != MULTIPART and not incoming.headers.keys() & {"content-length", "transfer-encoding"}:
        incoming.close()
        raise NotAcceptable("The archive does not tell where an instance ends.")
    return incoming


def _accept(syntax: str, *, plain: bool) -> str:
    """An instance, alone if the server can, since only then it can be had from its middle on."""
    many = f'{MULTIPART}; type="{DICOM}"; transfer-syntax={syntax}'
    return f"{DICOM}; transfer-syntax={syntax}, {many}; q=0.5" if plain else many


def _error(status: int) -> ArchiveError:
    if status in (401, 403):
        return NotAuthorized("The archive does not allow the bridge to retrieve.")
    if status in (404, 410):
        return NotFound("The archive does not have the instance any more.")
    if status in (400, 406, 415):
        return NotAcceptable("The archive cannot send the instance so.")
    if status in _BUSY:
        return Busy("The archive is busy.")
    return ArchiveFailed(f"The archive answered {status}.")


def _wait_s(headers: Mapping[str, str], longest_s: float) -> float:
    told = headers.get("retry-after", "")
    wait_s = min(float(told), longest_s) if told.isascii() and told.isdigit() else longest_s
    return wait_s * random.uniform(0.5, 1.0)  # not all at once
