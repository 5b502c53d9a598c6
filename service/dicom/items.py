"""Values and sequences of a data set in memory to members of DICOM JSON (PS3.5 7.5, PS3.18 annex F).

Elements may be nested; a buffer may end anywhere. Damage inside a sequence or an item of defined length
costs only what follows it in there; in undefined lengths nothing tells where to go on, so it is fatal.
"""

from __future__ import annotations

from typing import NamedTuple

from service.dicom import text
from service.dicom.dicomjson import (
    CHARACTER_SET_MEMBER,
    Reading,
    bulk_member,
    sequence_member,
    value_member,
)
from service.dicom.elements import (
    EXPLICIT,
    IMPLICIT,
    ITEM,
    ITEM_END,
    SEQUENCE_END,
    TRAILING_PADDING,
    UNDEFINED,
    CutOff,
    Damaged,
    Encoding,
    Head,
    delimiter_end,
    fragments_end,
    holds_items,
    item_encoding,
    require_head,
    short,
    starts_with_item,
)
from service.dicom.errors import NotDicom
from service.dicom.memo import Memo
from service.dicom.scope import Scope
from service.dicom.vr import BINARY, DETACHABLE, PIXEL_DATA, is_private_creator

SPECIFIC_CHARACTER_SET = 0x00080005
PIXEL_REPRESENTATION = 0x00280103

DEPTH_LIMIT = 64  # of sequences in one another
DETACH_BYTES = 64 << 10  # text and numbers beyond this become BulkDataURI (PS3.18 10.4.1.1.2)
# What is worth remembering, in bytes of the element: codes, UIDs and names are shorter.
_MEMO_VALUE_BYTES = 136
_MEMO_SEQUENCE_BYTES = 512
_MEMO_DEPTH = 16  # below it a remembered sequence cannot reach the depth limit
_FINDINGS = 100

# They have effects on other elements, or mean something else at the top level.
_NEVER_REMEMBERED = PIXEL_DATA | {SPECIFIC_CHARACTER_SET, PIXEL_REPRESENTATION}

_ITEM_END_LITTLE = b"\xfe\xff\x0d\xe0\0\0\0\0"


class Value(NamedTuple):
    """How the value of one element is to be read.

    `lasting` says that another element with the same bytes is to be read the same way.
    """

    vr: str
    encoding: Encoding
    lasting: bool


class Mark(NamedTuple):
    """How far a reader had come, to be restored when an element turns out to be cut off."""

    findings: int
    elements: int
    heads: int
    undeclared: bool


class Reader:
    """Reads the elements of one data set and collects what is odd about them in `findings`."""

    def __init__(self, memo: Memo, *, inline_limit: int, element_limit: int) -> None:
        self.findings: list[str] = []
        self.undeclared = False
        """Whether there is 8-bit text without a declared character set."""
        self.unsettled: list[tuple[int, bytes]] = []
        """Top-level values read as unsigned, ahead of the Pixel Representation that says what they are."""
        self._memo = memo
        self._inline_limit = inline_limit
        self._element_limit = element_limit
        self._count = 0  # of what is inside items
        self._heads = 0  # of elements that were not remembered, wherever they are
        # Grows whenever a member depends on more than the bytes of its element, which bars it from the memo.
        self._dependent = 0

    def scope(self, encoding: Encoding, outer: Scope | None = None, tag: int = 0, number: int = 0) -> Scope:
        """The scope of a data set, or of item `number` of the sequence `tag` in `outer`."""
        scope = Scope(encoding, outer, tag, number)
        if scope.depth > DEPTH_LIMIT:
            raise NotDicom(f"Sequences are nested more than {DEPTH_LIMIT} deep.")
        if outer is not None and outer.encoding is encoding:
            scope.heads, scope.members = outer.heads, outer.members
        else:
            scope.heads = self._memo.heads(encoding)
            scope.members = self._memo.members(encoding, scope.charset.numbers)
        return scope

    def mark(self) -> Mark:
        return Mark(len(self.findings), self._count, self._heads, self.undeclared)

    def restore(self, mark: Mark) -> None:
        del self.findings[mark.findings :]
        self._count, self._heads, self.undeclared = mark.elements, mark.heads, mark.undeclared

    def note(self, tag: int, words: str) -> None:
        """Add a finding about `tag`; `words` follow its name and tell nothing of the value."""
        self._dependent += 1
        sentence = f"({tag >> 16:04X},{tag & 0xFFFF:04X}) {words}."
        if len(self.findings) < _FINDINGS and sentence not in self.findings:
            self.findings.append(sentence)

    def head(self, buffer: bytes, position: int, end: int | None, scope: Scope) -> Head:
        """The head of the element at `position`; `end` is where a defined length around it ends, if any."""
        self._heads += 1
        if self._heads > self._element_limit:
            raise NotDicom(f"There are more than {self._element_limit} elements.")
        head = require_head(buffer, position, end, scope.encoding)
        if head.vr == "??":
            self.note(head.tag, "has a value representation that there is not")
        elif not head.vr and not scope.encoding.implicit and head.tag >> 16 != 0xFFFE:
            self.note(head.tag, "has no value representation")
        return head

    def value(self, buffer: bytes, head: Head, end: int | None, scope: Scope) -> Value:
        """How the value behind `head` is to be read; `vr` is SQ for whatever is read as a sequence."""
        tag, vr, start, length = head
        encoding, lasting = scope.encoding, True
        if vr == "UN":
            # Whatever the transfer syntax, such a value is in implicit VR little endian (PS3.5 6.2.2).
            encoding = EXPLICIT if length == UNDEFINED else IMPLICIT
        if vr in ("", "UN", "??"):
            told = vr
            vr, lasting = scope.vr_of(tag, length)
            lasting = lasting and told == "" and encoding.implicit
        if length != UNDEFINED:
            if vr == "SQ" and head.vr != "SQ" and length and not starts_with_item(buffer, start, encoding):
                return Value("UN", encoding, False)
            return Value(vr, encoding, lasting)
        if tag in PIXEL_DATA:
            return Value("OB", encoding, lasting)
        if vr == "SQ" or (vr in BINARY and head.vr != "UN" and vr != "UN"):
            return Value(vr, encoding, lasting)
        # UN is a sequence then (PS3.5 6.2.2), and other values can hardly be anything else.
        return Value("SQ" if holds_items(buffer, start, end, encoding) else vr, encoding, False)

    def member(
        self, buffer: bytes, position: int, head: Head, value: Value, end: int | None, scope: Scope
    ) -> tuple[bytes | None, int]:
        """The member of the element at `position`, and the position behind the element.

        `None` for what does not belong into JSON: group lengths, trailing padding and group 0002.
        """
        tag, _, start, length = head
        if length == UNDEFINED:
            return self._undefined(buffer, head, value, end, scope)
        behind = start + length
        if behind > (len(buffer) if end is None else end):
            raise short(behind, end)
        if tag & 0xFFFF == 0 or tag == TRAILING_PADDING or tag >> 16 == 0x0002:
            return None, behind
        limit = _MEMO_SEQUENCE_BYTES if value.vr == "SQ" else _MEMO_VALUE_BYTES
        if behind - position > limit or not value.lasting:
            self._dependent += 1
            return self.defined(buffer, head, value, scope), behind
        element = buffer[position:behind]
        if tag in _NEVER_REMEMBERED or is_private_creator(tag):
            return self.defined(buffer, head, value, scope), behind
        member = scope.members.get(element)
        if member is None:
            before = self._dependent
            member = self.defined(buffer, head, value, scope)
            if self._dependent == before and scope.depth <= _MEMO_DEPTH:
                self._memo.remember(scope.members, element, member)
                if start == position + 8:
                    self._memo.remember_head(scope.heads, element[:8], tag, behind - position)
        return member, behind

    def defined(self, buffer: bytes, head: Head, value: Value, scope: Scope) -> bytes:
        """The member of a value of defined length that lies in `buffer` as a whole."""
        tag, _, start, length = head
        behind = start + length
        if value.vr == "SQ":
            items: list[bytes] = []
            try:
                self._items(buffer, start, behind, behind, value.encoding, scope, tag, items)
            except Damaged:
                self.note(tag, "is damaged inside")
            return sequence_member(tag, items)
        if length & 1:
            self.note(tag, "has an odd length")
        if self.is_detached(value.vr, length):
            return self.bulk_member(tag, value.vr, scope)
        return self._single(tag, value, buffer[start:behind], scope)

    def _single(self, tag: int, value: Value, content: bytes, scope: Scope) -> bytes:
        """The member of a value that is no sequence, and its effect on what follows."""
        if tag == SPECIFIC_CHARACTER_SET:
            return self._charset(content, scope)
        reading = Reading(scope.charset, value.encoding.big_endian)
        member = value_member(tag, value.vr, content, reading)
        for words in reading.odd:
            self.note(tag, words)
            self.undeclared = self.undeclared or words is text.UNDECLARED
        if member is None:
            return self.bulk_member(tag, value.vr, scope)
        if tag == PIXEL_REPRESENTATION and len(content) >= 2:
            scope.signed = content[1 if value.encoding.big_endian else 0] & 1 == 1
        elif is_private_creator(tag):
            scope.reserve(tag, text.DEFAULT.decode(content)[0].strip(" \0"))
        elif scope.outer is None and not value.lasting and scope.waits_for_sign(tag):
            self.unsettled.append((tag, content))
        return member

    def _charset(self, content: bytes, scope: Scope) -> bytes:
        charset, clean = text.character_set(content)
        if not clean:
            self.note(SPECIFIC_CHARACTER_SET, "names a character set that there is not")
        scope.charset = charset
        scope.members = self._memo.members(scope.encoding, charset.numbers)
        return CHARACTER_SET_MEMBER if content.strip(b" \0") else b'"00080005":{"vr":"CS"}'

    def bulk_member(self, tag: int, vr: str, scope: Scope) -> bytes:
        """The member of a value that is left where it is."""
        self._dependent += 1
        return bulk_member(tag, vr, scope.path(tag))

    def _undefined(
        self, buffer: bytes, head: Head, value: Value, end: int | None, scope: Scope
    ) -> tuple[bytes, int]:
        """A sequence or encapsulated data up to its delimiter (PS3.5 7.5.1, A.4)."""
        tag, _, start, _ = head
        if value.vr == "SQ":
            items: list[bytes] = []
            behind = self._items(buffer, start, None, end, value.encoding, scope, tag, items)
            return sequence_member(tag, items), behind
        if value.vr in BINARY and value.vr != "UN":
            behind = fragments_end(buffer, start, end, value.encoding)
        else:
            self.note(tag, "has an undefined length, but no items")
            behind = delimiter_end(buffer, start, end, value.encoding)
        if self.is_detached(value.vr, behind - 8 - start):
            return self.bulk_member(tag, value.vr, scope), behind
        return self._single(tag, value, buffer[start : behind - 8], scope), behind

    def is_detached(self, vr: str, size_bytes: int) -> bool:
        """Whether a value of this size becomes a BulkDataURI (PS3.18 10.4.1.1.2)."""
        return vr in DETACHABLE and size_bytes > (self._inline_limit if vr in BINARY else DETACH_BYTES)

    def _items(
        self,
        buffer: bytes,
        position: int,
        stop: int | None,
        end: int | None,
        encoding: Encoding,
        outer: Scope,
        tag: int,
        items: list[bytes],
    ) -> int:
        """Append the items from `position` up to `stop`, or to the delimiter, to `items`."""
        size = len(buffer) if end is None else end
        while stop is None or position < stop:
            head = require_head(buffer, position, end, encoding)
            if head.tag == SEQUENCE_END and stop is None:
                return head.start
            if head.tag != ITEM:
                raise Damaged
            inner = item_encoding(buffer, head.start, size, encoding)
            scope = self.scope(inner, outer, tag, len(items) + 1)
            if head.length == UNDEFINED:
                found: dict[int, bytes] = {}
                position = self._elements(buffer, head.start, None, end, scope, found)
                items.append(self._object(found, scope))
                continue
            position = head.start + head.length
            if position > size:
                if end is None:
                    raise CutOff(position)
                self.note(tag, "is damaged inside")
                position = end
            items.append(self._closed_item(buffer, head.start, position, scope))
        return position

    def _closed_item(self, buffer: bytes, position: int, stop: int, scope: Scope) -> bytes:
        """The JSON object of an item of defined length, as far as it can be read."""
        found: dict[int, bytes] = {}
        try:
            self._elements(buffer, position, stop, stop, scope, found)
        except Damaged:
            self.note(scope.tag, "is damaged inside")
        return self._object(found, scope)

    def _object(self, found: dict[int, bytes], scope: Scope) -> bytes:
        self._count += len(found) + 1
        if self._count > self._element_limit:
            raise NotDicom(f"There are more than {self._element_limit} elements.")
        members = found.values() if scope.ordered else [found[tag] for tag in sorted(found)]
        return b"{" + b",".join(members) + b"}"

    def _elements(
        self,
        buffer: bytes,
        position: int,
        stop: int | None,
        end: int | None,
        scope: Scope,
        found: dict[int, bytes],
    ) -> int:
        """Put the members of one item into `found`; the position behind the item."""
        size = len(buffer) if end is None else end
        heads, members = scope.heads, scope.members
        last = -1
        while stop is None or position < stop:
            known = heads.get(buffer[position : position + 8])
            if known is not None:
                tag, size_bytes = known
                behind = position + size_bytes
                if tag > last and behind <= size:
                    member = members.get(buffer[position:behind])
                    if member is not None:
                        found[tag] = member
                        last, position = tag, behind
                        continue
            elif stop is None and buffer.startswith(_ITEM_END_LITTLE, position):
                return position + 8
            head = self.head(buffer, position, end, scope)
            if head.tag == ITEM_END and stop is None:
                return head.start
            if head.tag >> 16 == 0xFFFE:
                raise Damaged
            value = self.value(buffer, head, end, scope)
            made, position = self.member(buffer, position, head, value, end, scope)
            members = scope.members
            if made is not None:
                if head.tag <= last:
                    self.note(head.tag, "is out of order in an item, or there twice")
                    scope.ordered = False
                found.setdefault(head.tag, made)
                last = max(last, head.tag)
        return position
