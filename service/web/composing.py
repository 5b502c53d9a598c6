"""Bodies of metadata and bulk data (PS3.18 10.5.2): instances are put together as their parts come."""

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Any
from urllib.parse import urljoin

from service.archive import reasons
from service.archive.assembling import (
    ARRIVAL,
    PIXEL_DATA,
    Arrival,
    Supplied,
    declared_syntax,
    object_blocks,
    parts_expected,
    require_uids,
)
from service.archive.port import Intake, Outcome, Refused
from service.archive.spool import Spool
from service.dicom.dicomxml import DICOM_XML
from service.dicom.errors import ArchiveError, NotDicom, StoreUnavailable, TooLarge, TooMany
from service.dicom.frames import Extent
from service.dicom.jsonreading import data_sets
from service.dicom.media import DICOM_JSON, content_type
from service.dicom.multipart import PartBegins, PartData, Reader
from service.dicom.resource import is_uid
from service.dicom.syntaxes import Form
from service.dicom.writing import DataSet, Detached, detached_uris
from service.dicom.xmlreading import read_xml

_JSON = (DICOM_JSON, "application/json")
_XML = (DICOM_XML, "application/xml", "text/xml")
_GATHER = 64 << 10
_UUID = re.compile(r"(?:urn:uuid:|uuid:)?([0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12})", re.IGNORECASE)


@dataclass(slots=True)
class _Instance:
    """An instance of which not every value is there yet; `data_set` is `None` once it has its outcome."""

    data_set: DataSet | None
    gaps: dict[str, "_Awaited"] = field(default_factory=dict)
    waits_for: int = 0


@dataclass(slots=True)
class _Awaited:
    """A BulkDataURI, by which `instances` it is named, and what answered it so far.

    `uses` counts the elements that name it, `waiting` the instances that do and have no outcome yet.
    `pixels_of` is the data set whose pixel data it is, `refused` says that an instance of it was.
    """

    instances: list[_Instance] = field(default_factory=list)
    uses: int = 0
    waiting: int = 0
    refused: bool = False
    pixels_of: DataSet | None = None
    parts: int = 1
    supplied: Supplied | None = None
    complete: bool = False
    kept: bool = False


@dataclass(slots=True)
class _Metadata:
    """The metadata part that is coming in."""

    read: Callable[[bytearray], list[Any]]
    content: bytearray = field(default_factory=bytearray)
    error: ArchiveError | None = None


@dataclass(slots=True)
class _Spooled:
    """The bulk data part that is being kept for its instance."""

    awaited: _Awaited
    start: int


@dataclass(slots=True)
class _Streamed:
    """The bulk data part that goes straight into its instance, the last one that it waited for."""

    instance: _Instance
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
        reader: Reader,
        *,
        root: str,
        base: str,
        header_limit: int,
        max_instances: int,
    ) -> None:
        """`root` is the media type of the first part where it has none of its own.

        `base` is the URL at which relative references begin, `header_limit` the most bytes of metadata.
        """
        self._intake = intake
        self._reader = reader
        self._root = root
        self._base = base
        self._metadata_left = header_limit
        self._header_limit = header_limit
        self._max_instances = max_instances
        self._spool = Spool()
        self._kept = 0
        self._part: _Metadata | _Spooled | _Streamed | None = None
        self._instances: list[_Instance] = []
        self._awaited: dict[str, _Awaited] = {}
        self._told: list[Refused] = []

    def push(self, blocks: list[bytes]) -> None:
        """Take the next blocks. `BadRequest`, `TooMany` if the multipart or its JSON is malformed."""
        for event in self._reader.push(blocks):
            if isinstance(event, PartData):
                self._take(event.data)
            elif isinstance(event, PartBegins):
                self._begin(event)
            else:
                part, self._part = self._part, None
                self._end(part)

    def ended(self) -> None:
        """The body has come to its end; where its parts end, their boundaries say."""

    def finish(self) -> Sequence[Outcome]:
        """One outcome for each instance and for each part that is of none."""
        try:
            if isinstance(self._part, _Streamed):
                self._refuse(self._part.instance, NotDicom("The body ends inside the instance's bulk data."))
            elif isinstance(self._part, _Metadata):
                self._refuse(_Instance(None), NotDicom("The body ends inside this part."))
            for instance in self._instances:
                if instance.data_set is not None:
                    self._refuse(instance, NotDicom(_missing(instance.data_set, instance)))
            outcomes = self._intake.finish()
        finally:
            self._spool.close()
        return [_named(outcome, told) for outcome, told in zip(outcomes, self._told, strict=False)]

    def _begin(self, event: PartBegins) -> None:
        media_type, parameters = content_type(event.headers.get("content-type", ""))
        location = event.headers.get("content-location", "")
        if not media_type and not location and self._reader.parts == 1:
            media_type = self._root
        awaited = self._awaited.get(self._key(location)) if location else None
        if awaited is None and media_type in (*_JSON, *_XML):
            self._part = _Metadata(data_sets if media_type in _JSON else _one_document)
        elif awaited is None:
            self._refuse(
                _Instance(None), NotDicom("No metadata before this part refer to it by its Content-Location.")
            )
        elif awaited.complete and not awaited.refused:
            message = "More parts than there are frames have this Content-Location."
            self._refuse(_Instance(None), NotDicom(message))
        elif awaited.waiting and not awaited.complete:
            supplied = Supplied(media_type, parameters.get("transfer-syntax", ""))
            try:
                self._part = self._bulk(awaited, supplied, event.headers.get("content-length", ""))
            except ArchiveError as error:
                self._refuse_all(awaited, error)

    def _bulk(self, awaited: _Awaited, supplied: Supplied, length: str) -> _Spooled | _Streamed:
        """How the bulk data part that begins is taken."""
        known = awaited.supplied
        if known is None:
            known = awaited.supplied = supplied
            streams = True
            if awaited.pixels_of is not None:
                syntax = declared_syntax(supplied.media_type, supplied.parameter)
                awaited.parts = parts_expected(awaited.pixels_of, syntax)
                streams = syntax is not None and syntax.form in (Form.NATIVE, Form.VIDEO)
            only = awaited.uses == 1 and awaited.instances[0].waits_for == 1
            if streams and only and length.isascii() and length.isdigit() and len(length) < 15:
                supplied.arriving = int(length)
                return self._stream(awaited.instances[0], int(length))
        elif (known.media_type, known.parameter) != (supplied.media_type, supplied.parameter):
            raise NotDicom("The frames of an instance are of different media types or transfer syntaxes.")
        if not awaited.kept:
            awaited.kept = True
            self._kept += 1
        return _Spooled(awaited, self._spool.size)

    def _stream(self, instance: _Instance, length: int) -> _Streamed:
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
                self._spool.append(block)
            except StoreUnavailable as error:
                self._part = None
                self._refuse_all(part.awaited, error)
        elif isinstance(part, _Streamed):
            part.left -= len(block)
            if part.left < 0:
                self._part = None
                self._refuse(part.instance, NotDicom("A part is longer than its Content-Length."))
            else:
                self._intake.write(block)

    def _take_metadata(self, part: _Metadata, block: memoryview) -> None:
        self._metadata_left -= len(block)
        if self._metadata_left < 0 and part.error is None:
            part.error = TooLarge(
                f"The metadata are larger than {self._header_limit} bytes (ISTHMUS_HEADER_LIMIT)."
            )
            part.content = bytearray()
        if part.error is None:
            part.content += block

    def _end(self, part: _Metadata | _Spooled | _Streamed | None) -> None:
        if isinstance(part, _Metadata):
            self._end_metadata(part)
        elif isinstance(part, _Spooled):
            awaited, supplied = part.awaited, part.awaited.supplied
            assert supplied is not None
            supplied.extents.append(Extent(part.start, self._spool.size - part.start))
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
            documents = part.read(part.content)
        except (NotDicom, TooLarge) as error:
            self._refuse(_Instance(None), error)
            return
        if len(self._instances) + len(documents) > self._max_instances:
            raise TooMany(
                f"The metadata are of more than {self._max_instances} instances; send several requests."
            )
        for document in documents:
            self._expect(document)

    def _expect(self, document: Any) -> None:
        """Enter one instance, which is stored at once if it waits for nothing."""
        try:
            data_set = DataSet(document)
        except NotDicom as error:
            # Its parts are still to come; they are known, and passed over.
            for uri in detached_uris(document):
                self._awaited.setdefault(self._key(uri), _Awaited(refused=True))
            self._refuse(_Instance(None), error)
            return
        instance = _Instance(data_set)
        self._instances.append(instance)
        for gap in data_set.detached:
            awaited = self._awaited.setdefault(self._key(gap.uri), _Awaited())
            if not awaited.waiting:  # its value, if it ever had one, is gone with those who waited for it
                awaited = self._awaited[self._key(gap.uri)] = _Awaited()
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

    def _complete(self, awaited: _Awaited) -> None:
        awaited.complete = True
        for instance in awaited.instances:
            instance.waits_for -= 1
            if not instance.waits_for and instance.data_set is not None:
                self._assemble(instance)

    def _assemble(self, instance: _Instance) -> None:
        """Put the object of `instance`, all of whose values are in the spool, into the archive."""
        self._intake.begin()
        try:
            self._write(self._blocks(instance))
        except ArchiveError as error:
            self._refuse(instance, error)
        else:
            self._store(instance)

    def _blocks(self, instance: _Instance) -> Iterator[bytes | Arrival]:
        assert instance.data_set is not None
        supplied = {uri: one.supplied for uri, one in instance.gaps.items() if one.supplied is not None}
        return object_blocks(instance.data_set, supplied, self._spool)

    def _write(self, blocks: Iterator[bytes | Arrival]) -> None:
        """Write the blocks up to the value that arrives, or to the end, small ones in one."""
        gathered: list[bytes] = []
        size = 0
        for block in blocks:
            if isinstance(block, bytes):
                gathered.append(block)
                size += len(block)
            if size >= _GATHER or block is ARRIVAL:
                self._intake.write(memoryview(b"".join(gathered)))
                gathered, size = [], 0
            if block is ARRIVAL:
                return
        self._intake.write(memoryview(b"".join(gathered)))

    def _store(self, instance: _Instance) -> None:
        self._intake.end()
        for awaited in instance.gaps.values():
            awaited.complete = True  # also of what went straight through
        self._settle(instance, transient=False)

    def _refuse_all(self, awaited: _Awaited, error: ArchiveError) -> None:
        for instance in awaited.instances:
            if instance.data_set is not None:
                self._refuse(instance, error)

    def _refuse(self, instance: _Instance, error: ArchiveError) -> None:
        self._intake.refuse(reasons.failure_reason(error), str(error))
        for awaited in instance.gaps.values():
            awaited.refused = True
        self._settle(instance, transient=isinstance(error, StoreUnavailable))

    def _settle(self, instance: _Instance, *, transient: bool) -> None:
        """Note whose outcome the intake has got last, and drop what nobody waits for any more."""
        sop_class, sop_instance = "", ""
        if instance.data_set is not None:
            sop_class, sop_instance = instance.data_set.text(0x00080016), instance.data_set.text(0x00080018)
        if not (is_uid(sop_class) and is_uid(sop_instance)):
            sop_class, sop_instance = "", ""
        self._told.append(Refused(0, "", sop_class, sop_instance, transient))
        instance.data_set = None
        for awaited in {id(one): one for one in instance.gaps.values()}.values():
            awaited.waiting -= 1
            if not awaited.waiting:
                self._kept -= awaited.kept
                awaited.instances, awaited.pixels_of, awaited.supplied = [], None, None
        instance.gaps = {}
        if not self._kept and self._spool.size:
            self._spool.clear()

    def _key(self, reference: str) -> str:
        """What a BulkDataURI and a Content-Location have in common: the URL, or the UUID."""
        reference = reference.strip().strip("<>")
        uuid = _UUID.fullmatch(reference)
        if uuid is not None:
            return uuid[1].lower()
        try:
            return urljoin(self._base, reference)
        except ValueError:
            return reference


def _one_document(content: bytearray) -> list[Any]:
    return [read_xml(content)]


def _missing(data_set: DataSet, instance: _Instance) -> str:
    def missing(gap: Detached) -> bool:
        return not instance.gaps[gap.uri].complete

    tags = sorted({gap.tag for gap in data_set.detached if missing(gap)})
    named = ", ".join(f"({tag >> 16:04X},{tag & 0xFFFF:04X})" for tag in tags[:10])
    return f"The body holds no part, or too few, for the BulkDataURI of {named}."


def _named(outcome: Outcome, told: Refused) -> Outcome:
    """The outcome with the UIDs that the metadata told, where the intake did not get as far."""
    if isinstance(outcome, Refused) and not outcome.sop_instance:
        transient = outcome.transient or told.transient
        return replace(outcome, sop_class=told.sop_class, sop_instance=told.sop_instance, transient=transient)
    return outcome
