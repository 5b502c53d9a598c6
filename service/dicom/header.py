"""A data set's bytes to DICOM JSON in one pass (PS3.5 7, PS3.18 annex F).

`Walker` takes top-level elements as their bytes arrive, passes over pixel data and other large values
without reading them, and keeps a finished JSON member for each element. What is inside a value is read
in `items`; `find_value` finds the bytes of one value again.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass
from typing import Any

import orjson

from service.dicom.dicomjson import CHARACTER_SET_MEMBER, Reading, value_member
from service.dicom.elements import (
    TRAILING_PADDING,
    UNDEFINED,
    CutOff,
    Damaged,
    Head,
    NeedMore,
    actual_encoding,
    encoding_of,
    fragments_end,
)
from service.dicom.errors import NotDicom
from service.dicom.items import PIXEL_REPRESENTATION, SPECIFIC_CHARACTER_SET, Reader, Value
from service.dicom.locate import Found, Skip, find_value
from service.dicom.memo import MEMO, Memo
from service.dicom.record import BASE_SLOT
from service.dicom.syntaxes import Syntax
from service.dicom.text import CharacterSet
from service.dicom.vr import BINARY, DETACHABLE, PIXEL_DATA

__all__ = ["Bulk", "End", "Found", "NeedMore", "Skip", "Walker", "find_value", "read_data_set"]

# Text and numbers up to this size are waited for, though they become a BulkDataURI.
_PASS_BYTES = 1 << 20
_SHORT_MEMBER = 256  # bytes
_LEAST_SHARED_LIMIT = 512  # below it the members of short values depend on the limit


@dataclass(frozen=True, slots=True)
class Bulk:
    """A top-level value to be passed over without being read; its head has been processed.

    `position` is of the value's first byte in the buffer, which may end there. `length` is in bytes,
    `None` for encapsulated pixel data, which starts with the item tag of the Basic Offset Table. The
    walk goes on with a buffer that begins behind the value. `tag` is 0 where the value is of no interest:
    trailing padding, or an element that was there before.
    """

    tag: int
    vr: str
    position: int
    length: int | None


@dataclass(frozen=True, slots=True)
class End:
    """Everything up to `position` was processed, and nothing follows."""

    position: int


class Walker:
    """Reads one data set, a deflated one given inflated.

    `elements` maps tags to finished members `"00100010":{"vr":"PN",…}`, without group lengths, group 0002
    and trailing padding. Text is UTF-8; BulkDataURIs begin with `BASE_SLOT`, which stands for the URL of
    the instance. `findings` are sentences about odd values that name the attribute, never the value.
    """

    def __init__(
        self,
        syntax: Syntax,
        *,
        inline_limit: int = 1024,
        element_limit: int = 4_000_000,
        memo: Memo | None = None,
    ) -> None:
        if memo is None:
            memo = MEMO if inline_limit >= _LEAST_SHARED_LIMIT else Memo()
        self.elements: dict[int, bytes] = {}
        self._inline_limit = inline_limit
        self._reader = Reader(memo, inline_limit=inline_limit, element_limit=element_limit)
        self._scope = self._reader.scope(encoding_of(syntax))
        self._recognised = False
        self._last = -1

    @property
    def findings(self) -> list[str]:
        return self._reader.findings

    @property
    def charset(self) -> CharacterSet:
        """What the top-level Specific Character Set declared, so far as it was walked."""
        return self._scope.charset

    def walk(self, buffer: bytes, position: int = 0, *, final: bool = False) -> NeedMore | Bulk | End:
        """Process the complete top-level elements from `position` on.

        `final` says that the data set ends with this buffer. The buffer may begin anew at the position
        that the last call told, or go on growing. `NotDicom` if the elements cannot be walked to their
        end: one is cut, or a length lies. Of two elements with the same tag the first counts.
        """
        size = len(buffer)
        elements = self.elements
        if not self._recognised and position + 8 <= size:
            self._recognise(buffer, position)
        while position < size:
            known = self._scope.heads.get(buffer[position : position + 8])
            if known is not None:
                tag, size_bytes = known
                if tag > self._last:
                    member = self._scope.members.get(buffer[position : position + size_bytes])
                    if member is not None:
                        elements[tag] = member
                        self._last = tag
                        position += size_bytes
                        continue
            mark = self._reader.mark()
            try:
                step = self._element(buffer, position, final)
            except CutOff as cut:
                self._reader.restore(mark)
                if final:
                    raise NotDicom("The data set ends inside an element.") from None
                return NeedMore(position, max(cut.needed, size + 1) - position)
            except Damaged:
                raise NotDicom("A sequence or an encapsulated value cannot be walked to its end.") from None
            if isinstance(step, Bulk):
                return step
            position = step
        return End(position) if final else NeedMore(position, position - size + 8)

    def json(self) -> bytes:
        """The DICOM JSON object of everything processed, members in ascending order of tags."""
        elements = self.elements
        return b"{" + b",".join([elements[tag] for tag in sorted(elements)]) + b"}"

    def strings(self, tag: int) -> list[str]:
        """The values of a top-level element as text, empty ones as empty strings.

        Empty if it is not there, has no value, or one that is no text. Of person names, the first group
        that there is.
        """
        member = self.elements.get(tag)
        if member is None:
            return []
        return list(_strings(member) if len(member) > _SHORT_MEMBER else _strings_before(member))

    def text(self, tag: int) -> str | None:
        """The first value of a top-level element as text; `None` if there is none."""
        strings = self.strings(tag)
        return strings[0] if strings and strings[0] else None

    def _element(self, buffer: bytes, position: int, final: bool) -> int | Bulk:
        """Process the element at `position`; the position behind it."""
        reader = self._reader
        may_be_zeros = buffer.startswith(b"\0\0\0\0", position) or len(buffer) - position < 4
        if may_be_zeros and self._last >= 0 and buffer.count(0, position) == len(buffer) - position:
            return self._zeros(buffer, final)
        scope = self._scope
        head = reader.head(buffer, position, None, scope)
        tag = head.tag
        if tag >> 16 == 0xFFFE:
            raise NotDicom("There is an item or a delimiter outside of a sequence.")
        value = reader.value(buffer, head, None, scope)
        again = tag <= self._last and self._is_repeated(tag)
        bulk = self._bulk(head, value, again)
        if bulk is not None:
            self._last = max(self._last, tag)
            return bulk
        member, behind = reader.member(buffer, position, head, value, None, scope)
        self._last = max(self._last, tag)
        if member is not None and not again:
            self.elements[tag] = member
        if reader.undeclared:
            self.elements[SPECIFIC_CHARACTER_SET] = CHARACTER_SET_MEMBER
        if tag == PIXEL_REPRESENTATION:
            self._settle_signs()
        return behind

    def _recognise(self, buffer: bytes, position: int) -> None:
        """Go by what the first element shows, where the transfer syntax says otherwise."""
        self._recognised = True
        encoding = actual_encoding(buffer, position, self._scope.encoding)
        if encoding is not self._scope.encoding:
            self._reader.findings.append("The data set is not in the VR encoding of its transfer syntax.")
            self._scope = self._reader.scope(encoding)

    def _is_repeated(self, tag: int) -> bool:
        """Whether `tag`, out of order, was there before; either is odd."""
        repeated = tag in self.elements
        self._reader.note(tag, "is there twice" if repeated else "is out of order")
        return repeated

    def _zeros(self, buffer: bytes, final: bool) -> int:
        """Zero bytes behind the last element, which some writers leave: no element, and no harm."""
        if not final:
            raise CutOff(len(buffer) + 1)
        self._reader.findings.append("Zero bytes follow the last element.")
        return len(buffer)

    def _bulk(self, head: Head, value: Value, again: bool) -> Bulk | None:
        """The value, if it is to be passed over; its member is made."""
        tag, _, start, length = head
        vr = value.vr
        if tag in PIXEL_DATA:
            vr = vr if vr in BINARY else "OW"
        elif length == UNDEFINED:
            if vr not in BINARY or vr == "UN":
                return None
        elif tag == TRAILING_PADDING:
            return Bulk(0, vr, start, length)
        elif vr not in DETACHABLE or length <= (self._inline_limit if vr in BINARY else _PASS_BYTES):
            return None
        if again:
            return Bulk(0, vr, start, None if length == UNDEFINED else length)
        if length:
            self.elements[tag] = self._reader.bulk_member(tag, vr, self._scope)
        else:
            self.elements[tag] = b'"%08X":{"vr":"%s"}' % (tag, vr.encode("ascii"))
        return Bulk(tag, vr, start, None if length == UNDEFINED else length)

    def _settle_signs(self) -> None:
        """Read again what came before the Pixel Representation it depends on."""
        if self._scope.signed:
            for tag, content in self._reader.unsettled:
                member = value_member(tag, "SS", content, Reading())
                if member is not None:
                    self.elements[tag] = member
        self._reader.unsettled.clear()


def read_data_set(
    syntax: Syntax, content: bytes, *, inline_limit: int = 1024, element_limit: int = 4_000_000
) -> Walker:
    """A walker that has walked the whole of a data set in memory; `NotDicom` if it cannot be walked."""
    walker = Walker(syntax, inline_limit=inline_limit, element_limit=element_limit)
    position = 0
    while True:
        step = walker.walk(content, position, final=True)
        if not isinstance(step, Bulk):
            return walker
        if step.length is None:
            position = _behind_fragments(syntax, content, step.position)
        else:
            position = step.position + step.length
        if position > len(content):
            raise NotDicom("The data set ends inside a value.")


def _behind_fragments(syntax: Syntax, content: bytes, position: int) -> int:
    try:
        return fragments_end(content, position, len(content), encoding_of(syntax))
    except Damaged:
        raise NotDicom("Encapsulated data cannot be walked to its end.") from None


def _strings(member: bytes) -> tuple[str, ...]:
    if b'"Value":' not in member or BASE_SLOT in member:
        return ()
    (content,) = orjson.loads(b"{" + member + b"}").values()
    return () if content["vr"] == "SQ" else tuple(_as_text(value) for value in content["Value"])


@functools.lru_cache(maxsize=4096)
def _strings_before(member: bytes) -> tuple[str, ...]:
    """The same, remembered: the instances of a series differ in few attributes."""
    return _strings(member)


def _as_text(value: Any) -> str:
    if isinstance(value, dict):
        return next((str(group) for group in value.values()), "")
    return "" if value is None else str(value)
