"""Bodies of metadata and bulk data (PS3.18 10.5.2): instances are put together as their parts come."""

import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

from service.archive import reasons
from service.archive.assembling import ARRIVAL, PIXEL_DATA, Arrival, object_blocks, require_uids
from service.archive.port import Intake, Outcome, Refused
from service.archive.settling import (
    Supplied,
    declared_syntax,
    describes_picture,
    frames_of,
    is_native_frame,
    parts_expected,
)
from service.archive.spool import Spool
from service.dicom.dicomxml import DICOM_XML
from service.dicom.errors import ArchiveError, BadRequest, Busy, NotDicom, StoreUnavailable, TooLarge, TooMany
from service.dicom.frames import Extent
from service.dicom.jsonreading import data_sets
from service.dicom.media import DICOM_JSON, content_type
from service.dicom.multipart import Event, PartBegins, PartData, Reads, encoded
from service.dicom.scan import MAX_INFLATED
from service.dicom.syntaxes import Form
from service.dicom.writing import DataSet, detached_uris
from service.dicom.xmlreading import read_xml
from service.room import Room
from service.web.awaiting import Awaited, Instance, instance_of, reference_key, what_is_missing

_JSON = (DICOM_JSON, "application/json")
_XML = (DICOM_XML, "application/xml", "text/xml")
METADATA = (*_JSON, *_XML)
_MOST_COPIED = 64 << 20
_GATHER = 64 << 10
_SMALL = 1 << 20
_ONE_LARGE = threading.BoundedSemaphore()
_MOST_TOGETHER = 512 << 20
_TOGETHER = Room(_MOST_TOGETHER)  # metadata of all requests, read and waiting for their bulk data
_VALUE = 100  # bytes that a value takes in memory, about, beside its text
_PATIENCE_S = 30.0


@dataclass(slots=True)
class _Metadata:
    """The metadata part that is coming in."""

    read: Callable[[bytes], list[Any]]
    error: TooLarge | None = None


class _Told(NamedTuple):
    """What is known of an outcome's instance beside what the intake finds out."""

    sop_class: str
    sop_instance: str
    transient: bool


@dataclass(slots=True)
class _Spooled:
    """The bulk data part that is being kept for its instance."""

    awaited: Awaited
    start: int


@dataclass(slots=True)
class _Streamed:
    """The bulk data part that goes straight into its instance, the last one that it waited for."""

    instance: Instance
    blocks: Iterator[bytes | Arrival]
    left: int


class ComposedBody:
    """A multipart body of metadata, in DICOM JSON or XML, and of the bulk data that they refer to.

    An instance goes into the archive as soon as its last value is complete. A large value goes straight
    through where its length is told and nothing else is missing; others wait in a spool. What a
    BulkDataURI names is looked for among the parts of this body and nowhere else.
    """

    def __init__(
        self,
        intake: Intake,
        reader: Reads,
        *,
        root: str,
        base: str,
        header_limit: int,
        max_instances: int,
        largest_bytes: int | None = None,
    ) -> None:
        """`root` is the media type of the first part where it has none of its own.

        `base` is the URL at which relative references begin, `header_limit` the most bytes of metadata,
        `largest_bytes` those of a part that is kept until its instance is complete.
        """
        self._intake = intake
        self._reader = reader
        self._root = root
        self._base = base
        self._metadata_left = header_limit
        self._header_limit = header_limit
        self._max_instances = max_instances
        self._largest_bytes = largest_bytes
        self._spool = Spool()
        self._document = Spool()  # of the metadata part that is coming in
        self._held = 0
        self._arrived = 0
        self._decoded = 0
        self._written = 0
        self._kept = 0
        self._part: _Metadata | _Spooled | _Streamed | None = None
        self._instances: list[Instance] = []
        self._awaited: dict[str, Awaited] = {}
        self._told: list[_Told] = []

    def push(self, blocks: list[bytes]) -> None:
        """Take the next blocks. `BadRequest`, `TooMany` if the multipart or its JSON is malformed.

        `Busy`, `StoreUnavailable` if there is no room for its metadata now.
        """
        self._arrived += sum(map(len, blocks))
        for event in self._reader.push(blocks):
            self._handle(event)

    def ended(self) -> None:
        """The body has come to its end. `BadRequest` if that is inside a part."""
        for event in self._reader.end():
            self._handle(event)
        require_ended(self._reader)

    def finish(self) -> Sequence[Outcome]:
        """One outcome for each instance and for each part that is of none."""
        try:
            if isinstance(self._part, _Streamed):
                self._refuse(self._part.instance, NotDicom("The body ends inside the instance's bulk data."))
            elif isinstance(self._part, _Metadata):
                self._refuse(Instance(), NotDicom("The body ends inside this part."))
            for instance in self._instances:
                if instance.data_set is not None:
                    self._refuse(instance, NotDicom(what_is_missing(instance)))
            outcomes = self._intake.finish()
        finally:
            self._spool.close()
            self._document.close()
            _TOGETHER.give(self._held)
            self._held = 0
        return [_named(outcome, told) for outcome, told in zip(outcomes, self._told, strict=False)]

    def _handle(self, event: Event) -> None:
        if isinstance(event, PartData):
            self._take(event.data)
        elif isinstance(event, PartBegins):
            self._begin(event)
        else:
            part, self._part = self._part, None
            self._end(part)

    def _begin(self, event: PartBegins) -> None:
        media_type, parameters = content_type(event.headers.get("content-type", ""))
        location = event.headers.get("content-location", "")
        if not media_type and not location and self._reader.parts == 1:
            media_type = self._root
        awaited = self._awaited.get(reference_key(self._base, location)) if location else None
        coding = encoded(event.headers)
        if coding:
            error = NotDicom(f"A part with a {coding.title()} cannot be read; send it in binary.")
            self._refuse_part(awaited, error)
        elif awaited is None and media_type in (*_JSON, *_XML):
            self._part = _Metadata(data_sets if media_type in _JSON else _one_document)
        elif awaited is None:
            self._refuse(
                Instance(), NotDicom("No metadata before this part refer to it by its Content-Location.")
            )
        elif awaited.complete and not awaited.refused:
            message = "More parts than there are frames have this Content-Location."
            self._refuse(Instance(), NotDicom(message))
        elif awaited.waiting and not awaited.complete:
            supplied = Supplied(media_type, parameters.get("transfer-syntax", ""))
            try:
                self._part = self._bulk(awaited, supplied, event.headers.get("content-length", ""))
            except ArchiveError as error:
                self._refuse_all(awaited, error)

    def _refuse_part(self, awaited: Awaited | None, error: ArchiveError) -> None:
        """Refuse the instances that wait for the part that begins, or the part alone if none does."""
        if awaited is not None and awaited.waiting and not awaited.complete:
            self._refuse_all(awaited, error)
        else:
            self._refuse(Instance(), error)

    def _bulk(self, awaited: Awaited, supplied: Supplied, length: str) -> _Spooled | _Streamed:
        """How the bulk data part that begins is taken."""
        known = awaited.supplied
        if known is None:
            known = awaited.supplied = supplied
            told = int(length) if length.isascii() and length.isdigit() and len(length) < 15 else None
            streams = awaited.pixels_of is None or _settled(awaited, awaited.pixels_of, supplied, told)
            only = awaited.uses == 1 and awaited.instances[0].waits_for == 1
            if streams and only and told is not None:
                supplied.arriving = told
                return self._stream(awaited.instances[0], told)
        elif (known.media_type, known.parameter) != (supplied.media_type, supplied.parameter):
            raise NotDicom("The frames of an instance are of different media types or transfer syntaxes.")
        if not awaited.kept:
            awaited.kept = True
            self._kept += 1
        return _Spooled(awaited, self._spool.size)

    def _stream(self, instance: Instance, length: int) -> _Streamed:
        """Begin the object of `instance`, up to the value that arrives."""
        self._intake.begin()
        part = _Streamed(instance, self._blocks(instance), length)
        self._write(part.blocks)
        return part

    def _take(self, block: memoryview) -> None:
        part = self._part
        if isinstance(part, _Metadata):
            self._take_metadata(part, block)
        elif isinstance(part, _Spooled):
            try:
                if self._largest_bytes is not None:
                    self._require_room(part, len(block), self._largest_bytes)
                self._spool.append(block)
            except (StoreUnavailable, TooLarge) as error:
                self._part = None
                self._refuse_all(part.awaited, error)
        elif isinstance(part, _Streamed):
            part.left -= len(block)
            if part.left < 0:
                self._part = None
                self._refuse(part.instance, NotDicom("A part is longer than its Content-Length."))
            else:
                self._intake.write(block)

    def _require_room(self, part: _Spooled, more: int, largest_bytes: int) -> None:
        if self._spool.size - part.start + more > largest_bytes:
            raise reasons.too_large(largest_bytes)

    def _take_metadata(self, part: _Metadata, block: memoryview) -> None:
        self._metadata_left -= len(block)
        if self._metadata_left < 0 and part.error is None:
            part.error = TooLarge(
                f"The metadata are larger than {self._header_limit} bytes (ISTHMUS_HEADER_LIMIT)."
            )
            self._document.clear()
        if part.error is None:
            self._document.append(block)

    def _end(self, part: _Metadata | _Spooled | _Streamed | None) -> None:
        if isinstance(part, _Metadata):
            self._end_metadata(part)
        elif isinstance(part, _Spooled):
            awaited, supplied = part.awaited, part.awaited.supplied
            assert supplied is not None
            supplied.extents.append(Extent(part.start, self._spool.size - part.start))
            if awaited.native and awaited.pixels_of is not None and len(supplied.extents) == 1:
                length = supplied.extents[0].length
                awaited.parts = (
                    frames_of(awaited.pixels_of) if is_native_frame(awaited.pixels_of, length) else 1
                )
            if len(supplied.extents) == awaited.parts:
                self._complete(awaited)
        elif isinstance(part, _Streamed):
            if part.left:
                self._refuse(part.instance, NotDicom("A part is shorter than its Content-Length."))
                return
            try:
                self._write(part.blocks)
            except ArchiveError as error:
                self._refuse(part.instance, error)
            else:
                self._store(part.instance)

    def _end_metadata(self, part: _Metadata) -> None:
        try:
            if part.error is not None:
                raise part.error
            documents = self._parsed(part.read)
        except (NotDicom, TooLarge) as error:
            self._refuse(Instance(), error)
            return
        finally:
            self._document.clear()
        if len(self._instances) + len(documents) > self._max_instances:
            raise TooMany(
                f"The metadata are of more than {self._max_instances} instances; send several requests."
            )
        for document in documents:
            self._expect(document)

    def _parsed(self, read: Callable[[bytes], list[Any]]) -> list[Any]:
        """The data sets of a metadata part; of large ones, one is read at a time in this process.

        As objects in memory they take many times their size.
        """
        if self._document.size <= _SMALL:
            return read(self._whole_document())
        if not _ONE_LARGE.acquire(timeout=_PATIENCE_S):
            raise Busy("Too many large metadata are being read; try again shortly.")
        try:
            return read(self._whole_document())
        finally:
            _ONE_LARGE.release()

    def _whole_document(self) -> bytes:
        content = self._document.read(Extent(0, self._document.size))
        weight = min(len(content) + _VALUE * (content.count(b",") + content.count(b"<")), _MOST_TOGETHER)
        if not _TOGETHER.take(weight):
            raise Busy("Too many metadata wait for their bulk data; try again shortly.")
        self._held += weight
        return content

    def _expect(self, document: Any) -> None:
        """Enter one instance, which is stored at once if it waits for nothing."""
        try:
            data_set = DataSet(document)
        except NotDicom as error:
            # Its parts are still to come; they are known, and passed over.
            for uri in detached_uris(document):
                self._awaited.setdefault(reference_key(self._base, uri), Awaited(refused=True))
            self._refuse(instance_of(document, None), error)
            return
        instance = instance_of(document, data_set)
        self._instances.append(instance)
        for gap in data_set.detached:
            awaited = self._awaited.setdefault(reference_key(self._base, gap.uri), Awaited())
            if not awaited.waiting:  # its value, if it ever had one, is gone with those who waited for it
                awaited = self._awaited[reference_key(self._base, gap.uri)] = Awaited()
            awaited.uses += 1
            if gap.top and gap.tag == PIXEL_DATA and awaited.pixels_of is None:
                awaited.pixels_of = data_set
            if not any(one is instance for one in awaited.instances[-1:]):
                awaited.instances.append(instance)
                awaited.waiting += 1
                instance.waits_for += not awaited.complete
            instance.gaps[gap.uri] = awaited
        try:
            require_uids(data_set)
        except ArchiveError as error:
            self._refuse(instance, error)
            return
        if not instance.waits_for:
            self._assemble(instance)

    def _complete(self, awaited: Awaited) -> None:
        awaited.complete = True
        for instance in awaited.instances:
            instance.waits_for -= 1
            if not instance.waits_for and instance.data_set is not None:
                self._assemble(instance)

    def _assemble(self, instance: Instance) -> None:
        """Put the object of `instance`, all of whose values are in the spool, into the archive."""
        self._intake.begin()
        try:
            self._write(self._blocks(instance))
        except ArchiveError as error:
            self._refuse(instance, error)
        else:
            self._store(instance)

    def _blocks(self, instance: Instance) -> Iterator[bytes | Arrival]:
        assert instance.data_set is not None
        supplied = {uri: one.supplied for uri, one in instance.gaps.items() if one.supplied is not None}
        size = self._spool.size
        for block in object_blocks(instance.data_set, supplied, self._spool):
            self._decoded += self._spool.size - size  # pictures in a form that had to be transformed
            size = self._spool.size
            if self._decoded > MAX_INFLATED:
                raise TooMany("The pictures are larger than 4 GiB when decoded; send several requests.")
            yield block

    def _write(self, blocks: Iterator[bytes | Arrival]) -> None:
        """Write the blocks up to the value that arrives, or to the end, small ones in one."""
        gathered: list[bytes] = []
        size = 0
        for block in blocks:
            if isinstance(block, bytes):
                gathered.append(block)
                size += len(block)
            if size >= _GATHER or block is ARRIVAL:
                self._count(size)
                self._intake.write(memoryview(b"".join(gathered)))
                gathered, size = [], 0
            if block is ARRIVAL:
                return
        self._count(size)
        self._intake.write(memoryview(b"".join(gathered)))

    def _count(self, size: int) -> None:
        """Note bytes that go into objects: a part may be named often, but not to fill a disk with it."""
        self._written += size
        if self._written > self._arrived + self._decoded + _MOST_COPIED:
            raise TooMany("The bulk data are named so often that their copies would fill the store.")

    def _store(self, instance: Instance) -> None:
        self._intake.end()
        for awaited in instance.awaited:
            awaited.complete = True  # also of what went straight through
        self._settle(instance, transient=False)

    def _refuse_all(self, awaited: Awaited, error: ArchiveError) -> None:
        for instance in awaited.instances:
            if instance.data_set is not None:
                self._refuse(instance, error)

    def _refuse(self, instance: Instance, error: ArchiveError) -> None:
        self._intake.refuse(reasons.failure_reason(error), str(error))
        for awaited in instance.awaited:
            awaited.refused = True
        self._settle(instance, transient=isinstance(error, (StoreUnavailable, Busy)))

    def _settle(self, instance: Instance, *, transient: bool) -> None:
        """Note whose outcome the intake has got last, and drop what nobody waits for any more."""
        self._told.append(_Told(instance.sop_class, instance.sop_instance, transient))
        instance.data_set = None
        for awaited in instance.awaited:
            awaited.waiting -= 1
            if not awaited.waiting:
                self._kept -= awaited.kept
                awaited.instances, awaited.pixels_of, awaited.supplied = [], None, None
        instance.gaps = {}
        if not self._kept and self._spool.size:
            self._spool.clear()


def _settled(awaited: Awaited, pixels_of: DataSet, supplied: Supplied, told: int | None) -> bool:
    """Whether pixel data whose first part begins are in no more parts and need no look at the codestream.

    In how many parts they come is noted. `told` is the length of the first, where it is told.
    """
    syntax = declared_syntax(supplied.media_type, supplied.parameter)
    awaited.parts = parts_expected(pixels_of, syntax, supplied.media_type)
    awaited.native = syntax is not None and syntax.form is Form.NATIVE
    if awaited.native:
        return told is not None and not is_native_frame(pixels_of, told)
    return syntax is not None and syntax.form is Form.VIDEO and describes_picture(pixels_of)


def require_ended(reader: Reads) -> None:
    """`BadRequest` if a body that has come to its end is still inside a part."""
    if reader.inside_part:
        raise BadRequest("The body ends inside a part, without the boundary that closes it (RFC 2046 5.1).")


def _one_document(content: bytes) -> list[Any]:
    return [read_xml(content)]


def _named(outcome: Outcome, told: _Told) -> Outcome:
    """The outcome with the UIDs that the metadata told, where the intake did not get as far."""
    if isinstance(outcome, Refused) and not outcome.sop_instance:
        transient = outcome.transient or told.transient
        return replace(outcome, sop_class=told.sop_class, sop_instance=told.sop_instance, transient=transient)
    return outcome
