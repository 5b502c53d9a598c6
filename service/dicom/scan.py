"""A DICOM file as it streams in: head, header, pixel geometry and digest, in one pass."""

import base64
from dataclasses import dataclass
from typing import Protocol

import orjson

from service.dicom.classes import require_of_patient
from service.dicom.digest import Digest
from service.dicom.errors import Busy, ClassMismatch, NotDicom, SyntaxUnsupported, TooLarge
from service.dicom.fragments import Fragments, FragmentScan, frame_table
from service.dicom.frames import Extent, FrameTable, PixelPlace, PixelShape
from service.dicom.header import Bulk, NeedMore, Walker
from service.dicom.inflate import Inflater
from service.dicom.part10 import MAX_HEAD, FileHead, read_file_head
from service.dicom.resource import InstanceKey, is_uid
from service.dicom.syntaxes import Syntax, syntax_of

_WINDOW = 32 << 10
_SOP_CLASS = 0x00080016
_SOP_INSTANCE = 0x00080018
_LONGEST_CODE = 16  # characters of a CS value (PS3.5 6.2)
_EXTENDED_OFFSET_TABLE = 0x7FE00001
_PIXEL_DATA = frozenset((0x7FE00008, 0x7FE00009, 0x7FE00010))
_MAX_EXTENDED_TABLE = 8 << 22
_MAX_ELEMENTS = 65_536
_UNRESERVED = 1 << 20
MAX_INFLATED = 4 << 30


@dataclass(frozen=True, slots=True)
class Scanned:
    """What one pass over a file found.

    `elements` maps tags to finished DICOM JSON members, in tag order.
    """

    head: FileHead
    syntax: Syntax
    key: InstanceKey
    sop_class: str
    elements: dict[int, bytes]
    content: Digest
    shape: PixelShape | None
    pixels: PixelPlace | None
    frames: FrameTable | None
    findings: tuple[str, ...]

    @property
    def digest(self) -> bytes:
        """The digest of the content; the first who asks for it does the work."""
        return self.content.value()


class Budget(Protocol):
    """Bytes that several scans share."""

    def take(self, size: int) -> bool:
        """Whether `size` bytes were to be had; if so they are taken."""
        ...

    def give(self, size: int) -> None:
        """Give `size` bytes back."""
        ...


class Scan:
    """Fed the blocks of one file, keeps its header and none of its pixels.

    Offsets count in the file; in a deflated one, in the file as if its data set were inflated.
    """

    def __init__(self, *, header_limit: int, budget: Budget | None = None) -> None:
        """`header_limit` is the most bytes, in memory, of elements that have to be read whole.

        `budget` bounds what the buffers of all scans hold together.
        """
        self._header_limit = header_limit
        self._budget = budget
        self._reserved = 0
        self._walked = 0
        self._head: FileHead | None = None
        self._syntax: Syntax | None = None
        self._walker: Walker | None = None
        self._inflater: Inflater | None = None
        self._inflated = 0
        self._digest: Digest | None = None
        self._buffer = b""
        self._base = 0
        self._want = _WINDOW
        self._skip = 0
        self._fragment_scan: FragmentScan | None = None
        self._fragments: Fragments | None = None
        self._extended_table = bytearray()
        self._collects = False  # the value that is passed over is the Extended Offset Table
        self._pixels: PixelPlace | None = None

    def push(self, block: memoryview) -> None:
        """Take the bytes that follow.

        `NotDicom` if they cannot belong to a file, `SyntaxUnsupported`, `TooLarge` beyond a limit.
        """
        if self._head is None:
            held = len(self._buffer)
            self._buffer += bytes(block[: MAX_HEAD + _WINDOW - held])
            head = read_file_head(self._buffer)
            if head is None:
                return
            block = self._behind(head, block, held)
            self._begin(head)
        assert self._digest is not None
        self._digest.update(block)
        if self._inflater is None:
            self._take(block)
        else:
            self._inflate(self._inflater, block)

    def _behind(self, head: FileHead, block: memoryview, held: int) -> memoryview:
        """The data set's bytes in `block`, of which `held` bytes of the file came before."""
        if head.data_offset < held:  # the data set begins in an earlier block, which was a small one
            block = memoryview(self._buffer[head.data_offset : held] + bytes(block))
        else:
            block = block[head.data_offset - held :]
        self._buffer = b""
        return block

    def finish(self) -> Scanned:
        """What was found, once the file is at its end.

        `NotDicom` if it ends too early, `ClassMismatch` if a UID is missing, `ClassUnsupported` if it is
        of no patient.
        """
        if self._head is None or self._walker is None or self._syntax is None or self._digest is None:
            raise NotDicom("The file ends inside its file meta information.")
        if self._inflater is not None and not self._inflater.complete:
            raise NotDicom("The deflated data set ends too early.")
        while True:
            if self._skip or self._fragment_scan is not None:
                raise NotDicom("The file ends inside an element's value.")
            step = self._walker.walk(self._buffer, final=True)
            if not isinstance(step, Bulk):
                break
            self._enter(step)
        return self._scanned(self._head, self._syntax, self._walker, self._digest)

    @property
    def named(self) -> tuple[str, str]:
        """SOP Class and SOP Instance UID as far as they came: of the data set, else of the file meta.

        Both are empty unless both are UIDs.
        """
        sop_class, sop_instance = (self._head.sop_class, self._head.sop_instance) if self._head else ("", "")
        if self._walker is not None:
            sop_class = self._walker.text(_SOP_CLASS) or sop_class
            sop_instance = self._walker.text(_SOP_INSTANCE) or sop_instance
        return (sop_class, sop_instance) if is_uid(sop_class) and is_uid(sop_instance) else ("", "")

    @property
    def key(self) -> InstanceKey | None:
        """Whose the file is, as soon as its three UIDs have come; `None` before, or if they are none."""
        if self._walker is None:
            return None
        uids = [self._walker.text(tag) or "" for tag in (0x0020000D, 0x0020000E, _SOP_INSTANCE)]
        return InstanceKey(*uids) if all(map(is_uid, uids)) else None

    @property
    def passable(self) -> int:
        """How many of the bytes that follow tell nothing but the digest, and need not be pushed for it."""
        if self._inflater is not None or self._collects:
            return 0
        return self._skip if self._fragment_scan is None else self._fragment_scan.passable

    def pass_over(self, size: int) -> None:
        """Go on behind the next `size` bytes, at most `passable`; the digest then means nothing."""
        self._base += size
        if self._fragment_scan is None:
            self._skip -= size
        else:
            self._fragment_scan.pass_over(size)

    def _begin(self, head: FileHead) -> None:
        self._head = head
        syntax = self._syntax = syntax_of(head.syntax)
        if syntax is None:
            raise SyntaxUnsupported(f"Transfer syntax {_shown(head.syntax)} is not stored here.")
        self._base = head.data_offset
        self._walker = Walker(syntax)
        self._digest = Digest(syntax.uid)
        if syntax.deflated:
            self._inflater = Inflater()

    def _inflate(self, inflater: Inflater, block: memoryview) -> None:
        for plain in inflater.push(block):
            self._inflated += len(plain)
            if self._inflated > MAX_INFLATED:
                raise TooLarge("The deflated data set is larger than 4 GiB when inflated.")
            self._take(memoryview(plain))

    def _take(self, view: memoryview) -> None:
        while len(view):
            if self._skip:
                view = self._take_value(view)
            elif self._fragment_scan is not None:
                view = self._take_fragments(self._fragment_scan, view)
            else:
                view = self._take_header(view)

    def _take_value(self, view: memoryview) -> memoryview:
        step = min(self._skip, len(view))
        if self._collects:
            self._extended_table += view[:step]
        self._skip -= step
        self._base += step
        return view[step:]

    def _take_fragments(self, scan: FragmentScan, view: memoryview) -> memoryview:
        used = scan.push(view)
        self._base += used
        if scan.fragments is not None:
            pixels = self._pixels
            # Private values may be in fragments too.
            if pixels is not None and pixels.encapsulated and self._fragments is None:
                extent = Extent(pixels.extent.offset, self._base - pixels.extent.offset)
                self._pixels = PixelPlace(pixels.tag, pixels.vr, extent, encapsulated=True)
                self._fragments = scan.fragments
            self._fragment_scan = None
        return view[used:]

    def _take_header(self, view: memoryview) -> memoryview:
        assert self._walker is not None
        taken = view[: self._want - len(self._buffer)]
        self._buffer += bytes(taken)
        view = view[len(taken) :]
        if len(self._buffer) < self._want:
            return view
        step = self._walker.walk(self._buffer)
        if isinstance(step, Bulk):
            self._enter(step)
        elif isinstance(step, NeedMore):
            self._buffer = self._buffer[step.position :]
            self._base += step.position
            self._count(step.position)
            self._wait_for(step.at_least)
        return view

    def _wait_for(self, at_least: int) -> None:
        """Go on when that many bytes of the element at the buffer's beginning are there.

        The buffer at least doubles, so that an element of undefined length, which tells nothing of its
        end, is not walked again for every few bytes.
        """
        held = len(self._buffer)
        self._want = max(_WINDOW, 2 * held, min(at_least, 2 * held + _WINDOW))
        left = self._header_limit - self._walked
        if self._want > left >= max(at_least, _WINDOW):
            self._want = left
        if self._want > left:
            raise TooLarge(
                f"The attributes that have to be read whole are larger than {self._header_limit} bytes "
                "(ISTHMUS_HEADER_LIMIT)."
            )
        self._reserve(self._want)

    def _count(self, walked: int) -> None:
        """Note bytes whose members are kept."""
        assert self._walker is not None
        self._walked += walked
        if len(self._walker.elements) > _MAX_ELEMENTS:
            raise TooLarge(f"The data set has more than {_MAX_ELEMENTS} attributes at its top level.")

    def _reserve(self, size: int) -> None:
        """Take what a large buffer needs from what all scans together may hold."""
        needed = size if size > _UNRESERVED else 0
        if self._budget is not None and needed > self._reserved:
            if not self._budget.take(needed - self._reserved):
                raise Busy("Too many large headers are being read at once; try again shortly.")
            self._reserved = needed

    def close(self) -> None:
        """Let go of what was held; nothing is pushed afterwards."""
        self._buffer = b""
        if self._budget is not None and self._reserved:
            self._budget.give(self._reserved)
            self._reserved = 0

    def _enter(self, bulk: Bulk) -> None:
        """Go on to the value that `bulk` announces inside the buffer, and behind it."""
        rest = self._buffer[bulk.position :]
        self._base += bulk.position
        self._count(bulk.position)
        self._buffer = b""
        self._want = _WINDOW
        self._pass(bulk)
        self._take(memoryview(rest))

    def _pass(self, bulk: Bulk) -> None:
        """Note the value that begins at the present place and is about to be passed over."""
        self._collects = False
        if bulk.tag in _PIXEL_DATA and self._pixels is None:
            extent = Extent(self._base, bulk.length or 0)
            self._pixels = PixelPlace(bulk.tag, bulk.vr, extent, encapsulated=bulk.length is None)
        if bulk.length is None:
            self._fragment_scan = FragmentScan(self._base)
            return
        self._skip = bulk.length
        self._collects = bulk.tag == _EXTENDED_OFFSET_TABLE and bulk.length <= _MAX_EXTENDED_TABLE

    def _scanned(self, head: FileHead, syntax: Syntax, walker: Walker, content: Digest) -> Scanned:
        findings = list(walker.findings)
        if not head.complete:
            findings.append("The file meta information is missing or not complete (PS3.10 7.1).")
        if head.data_offset == 0:
            findings.append(f"The transfer syntax was told by the encoding of the elements: {syntax.name}.")
        shape = _shape(walker, findings)
        frames = None
        if self._pixels is not None and self._pixels.encapsulated is not syntax.encapsulated:
            if self._pixels.encapsulated and (head.data_offset == 0 or not syntax.leaves_as_stored):
                raise NotDicom("Compressed pixel data stand in a transfer syntax that does not allow them.")
            findings.append("The pixel data are not in the form of the transfer syntax.")
        if self._fragments is not None and shape is not None:
            table = bytes(self._extended_table) or _inline_table(walker)
            frames = frame_table(self._fragments, shape.frames, syntax, table)
            if frames is None and syntax.media_type and not syntax.media_type.startswith("video/"):
                findings.append("The frames of the encapsulated pixel data cannot be told apart.")
        _check_native(self._pixels, shape, findings)
        require_of_patient(walker.text(_SOP_CLASS) or head.sop_class)
        sop_class = _uid(walker, _SOP_CLASS, "SOP Class UID (0008,0016)")
        key = InstanceKey(
            _uid(walker, 0x0020000D, "Study Instance UID (0020,000D)"),
            _uid(walker, 0x0020000E, "Series Instance UID (0020,000E)"),
            _uid(walker, _SOP_INSTANCE, "SOP Instance UID (0008,0018)"),
        )
        return Scanned(
            head=head,
            syntax=syntax,
            key=key,
            sop_class=sop_class,
            elements=dict(sorted(walker.elements.items())),
            content=content,
            shape=shape,
            pixels=self._pixels,
            frames=frames,
            findings=tuple(findings),
        )


def _uid(walker: Walker, tag: int, what: str) -> str:
    uid = walker.text(tag) or ""
    if not uid:
        raise ClassMismatch(f"{what} is missing or empty.")
    if not is_uid(uid):
        raise ClassMismatch(f"{what} is not 1 to 64 digits and dots.")
    return uid


def _shape(walker: Walker, findings: list[str]) -> PixelShape | None:
    """The Image Pixel module, or `None` if there is no image or its numbers make no sense."""
    if not any(tag in walker.elements for tag in _PIXEL_DATA):
        return None
    numbers: list[int] = []
    tags = ((0x00280010, ""), (0x00280011, ""), (0x00280002, "1"), (0x00280100, ""), (0x00280008, "1"))
    for tag, default in tags:
        text = walker.text(tag) or default
        if not (text.isascii() and text.isdigit() and len(text) <= 10 and 0 < int(text) < 1 << 31):
            findings.append(f"({tag >> 16:04X},{tag & 0xFFFF:04X}) is needed for pixel data and not usable.")
            return None
        numbers.append(int(text))
    rows, columns, samples, bits, frames = numbers
    stored = _number(walker, 0x00280101, bits, 1, bits, findings)
    return PixelShape(
        rows,
        columns,
        samples,
        bits,
        frames,
        (walker.text(0x00280004) or "")[:_LONGEST_CODE],
        stored,
        high_bit=_number(walker, 0x00280102, stored - 1, stored - 1, bits - 1, findings),
        signed=_number(walker, 0x00280103, 0, 0, 1, findings) == 1,
        planar=_number(walker, 0x00280006, 0, 0, 1, findings),
    )


def _number(walker: Walker, tag: int, default: int, least: int, most: int, findings: list[str]) -> int:
    """The value of an attribute of the Image Pixel module, `default` where it is absent or impossible."""
    text = walker.text(tag)
    if not text:
        return default
    if text.isascii() and text.isdigit() and len(text) <= 5 and least <= int(text) <= most:
        return int(text)
    findings.append(f"({tag >> 16:04X},{tag & 0xFFFF:04X}) cannot be; {default} is taken in its place.")
    return default


def _check_native(pixels: PixelPlace | None, shape: PixelShape | None, findings: list[str]) -> None:
    if pixels is None or shape is None or pixels.encapsulated:
        return
    needed = (shape.frames * shape.frame_bits + 7) // 8
    if pixels.extent.length < needed:
        findings.append(f"The pixel data are {pixels.extent.length} bytes long and should be {needed}.")


def _inline_table(walker: Walker) -> bytes:
    member = walker.elements.get(_EXTENDED_OFFSET_TABLE)
    if member is None or b"InlineBinary" not in member:
        return b""
    value = orjson.loads(b"{" + member + b"}")["7FE00001"]["InlineBinary"]
    return base64.b64decode(value)


def _shown(uid: str) -> str:
    return uid if is_uid(uid) else "(not a UID)"
