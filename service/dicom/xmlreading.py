"""Documents of the Native DICOM Model read as DICOM JSON objects (PS3.19 A.1, PS3.18 F.2).

The parser is closed: no document type, no entities of its own, nothing fetched, bounded depth.
"""

import re
from collections import defaultdict
from typing import Any
from xml.parsers import expat

from service.dicom.dicomxml import COMPONENTS, GROUPS
from service.dicom.errors import NotDicom, TooLarge
from service.dicom.vr import block_of, dictionary_entry, is_private_creator, settle

_MAX_DEPTH = 140  # elements in one another: two for each level of sequences, which are 64 at most
_MAX_ELEMENTS = 1_500_000  # of a document: each takes some hundred bytes in memory
_MAX_GAP = 64  # values that are left out between two that are there
_TAG = re.compile(r"[0-9A-Fa-f]{8}")
_TEXT = frozenset(("Value", "InlineBinary", *COMPONENTS))
_NUMBERED = frozenset(("Value", "PersonName", "Item"))
_WHERE = {
    "NativeDicomModel": frozenset(("",)),
    "DicomAttribute": frozenset(("NativeDicomModel", "Item")),
    **dict.fromkeys(
        ("Value", "PersonName", "Item", "BulkData", "InlineBinary"), frozenset(("DicomAttribute",))
    ),
    **dict.fromkeys(GROUPS, frozenset(("PersonName",))),
    **dict.fromkeys(COMPONENTS, frozenset(GROUPS)),
}


def read_xml(content: bytes | bytearray) -> dict[str, Any]:
    """The data set of one document. `NotDicom` if it is none, `TooLarge` if it has too many elements.

    Elements are known by their local names, with the model's namespace or without it. Private attributes
    come into the block that their creator has in the data set, or into one that is reserved for them.
    """
    if content.count(b"<") > _MAX_ELEMENTS:
        raise TooLarge("The metadata have too many elements for one document; send several requests.")
    handler = _Handler()
    parser = expat.ParserCreate(namespace_separator=" ")
    parser.buffer_text = True
    parser.SetParamEntityParsing(expat.XML_PARAM_ENTITY_PARSING_NEVER)
    parser.StartDoctypeDeclHandler = handler.doctype
    parser.StartElementHandler = handler.start
    parser.EndElementHandler = handler.end
    parser.CharacterDataHandler = handler.text
    try:
        parser.Parse(bytes(content), True)
    except (expat.ExpatError, LookupError, ValueError):
        # The error's own text may name entities and elements of the sender's making.
        raise NotDicom("The metadata are not a well-formed XML document.") from None
    if handler.data_set is None:
        raise NotDicom("The metadata are not a NativeDicomModel document (PS3.19 A.1).")
    return handler.data_set


class _DataSet:
    """A data set on its way in: attributes by tag, and private ones that still lack their block."""

    def __init__(self) -> None:
        self.placed: dict[int, dict[str, Any]] = {}
        self.private: list[tuple[int, str, dict[str, Any]]] = []

    def add(self, tag: int, creator: str | None, attribute: dict[str, Any]) -> None:
        if creator is not None and tag & 0x10000:
            self.private.append((tag, creator, attribute))
        elif tag in self.placed:
            raise NotDicom(f"({tag >> 16:04X},{tag & 0xFFFF:04X}) is there twice.")
        else:
            self.placed[tag] = attribute

    def finished(self) -> dict[str, Any]:
        blocks = _Blocks(self.placed)
        blocks.require_creators()
        for tag, creator, attribute in self.private:
            self.placed[blocks.place(tag, creator)] = attribute
        return {f"{tag:08X}": self.placed[tag] for tag in sorted(self.placed)}


class _Blocks:
    """The private blocks of one data set (PS3.5 7.8.1)."""

    def __init__(self, placed: dict[int, dict[str, Any]]) -> None:
        self._placed = placed
        self._owners: dict[int, str] = {}
        self._blocks: defaultdict[tuple[int, str], list[int]] = defaultdict(list)
        self._free: defaultdict[int, int] = defaultdict(lambda: 0x10)
        for tag, attribute in placed.items():
            values = attribute.get("Value")
            if is_private_creator(tag) and values:
                self._owners[tag] = str(values[0])
                self._blocks[tag >> 16 << 16, str(values[0])].append(tag)
        self._used = {block_of(tag) for tag in placed if tag & 0x10000 and tag & 0xFFFF > 0xFF}

    def require_creators(self) -> None:
        """`NotDicom` for an attribute of nobody's: it would lie where private creators are named."""
        for tag, attribute in self._placed.items():
            nobodys = tag & 0x10000 and 0 < tag & 0xFFFF < 0x100 and tag not in self._used
            if nobodys and not (is_private_creator(tag) and attribute["vr"] == "LO"):
                raise NotDicom(f"({tag >> 16:04X},{tag & 0xFFFF:04X}) lacks its privateCreator (PS3.19 A.1).")

    def place(self, tag: int, creator: str) -> int:
        """The tag of an attribute of `creator`, given as `gggg00ee`, or whole as some writers do."""
        group, element = tag >> 16 << 16, tag & 0xFF
        if tag & 0xFF00:
            block = block_of(tag)
            if block not in self._owners and block & 0xFFFF >= 0x10:
                self._reserve(block, creator)
            if self._owners.get(block) == creator and tag not in self._placed:
                return tag
        for block in self._blocks[group, creator]:
            found = group | (block & 0xFF) << 8 | element
            if found not in self._placed:
                return found
        free = (group | number for number in range(self._free[group], 0x100))
        block = next((one for one in free if one not in self._owners and one not in self._used), -1)
        if block < 0:
            raise NotDicom(f"Group {group >> 16:04X} has no room for the blocks of its private creators.")
        self._free[group] = (block & 0xFF) + 1
        self._reserve(block, creator)
        return group | (block & 0xFF) << 8 | element

    def _reserve(self, block: int, creator: str) -> None:
        self._owners[block] = creator
        self._blocks[block >> 16 << 16, creator].append(block)
        self._placed[block] = {"vr": "LO", "Value": [creator]}


class _Attribute:
    """One attribute on its way in."""

    def __init__(self, tag: int, vr: str, creator: str | None) -> None:
        self.tag = tag
        self.creator = creator
        self.content: dict[str, Any] = {"vr": vr}
        self._values: list[Any] = []

    def value(self, number: int | None, value: Any) -> None:
        """Put `value` in its place, the next one for `None`; the places of values left out are empty."""
        if number is None:
            number = len(self._values) + 1
        if not 0 < number <= len(self._values) + _MAX_GAP:
            raise NotDicom("The numbers of an attribute's values are not those of a list.")
        self._values += [None] * (number - len(self._values))
        self._values[number - 1] = value

    def finished(self) -> dict[str, Any]:
        if self._values:
            self.content["Value"] = self._values
        return self.content


class _Handler:
    """What the parser calls."""

    def __init__(self) -> None:
        self.data_set: dict[str, Any] | None = None
        self._names: list[str] = [""]
        self._passed_over = 0
        self._data_sets: list[_DataSet] = []
        self._attributes: list[_Attribute] = []
        self._numbers: list[int | None] = []
        self._groups: dict[str, str] = {}
        self._components: dict[str, str] = {}
        self._text: list[str] = []

    def doctype(self, *_: object) -> None:
        raise NotDicom("A document type declaration is not accepted in metadata.")

    def start(self, name: str, attributes: dict[str, str]) -> None:
        local = name.rpartition(" ")[2]
        if len(self._names) + self._passed_over > _MAX_DEPTH:
            raise NotDicom("The XML document is nested too deep.")
        if self._passed_over or self._names[-1] not in _WHERE.get(local, ()):
            if len(self._names) == 1:
                raise NotDicom("The metadata are not a NativeDicomModel document (PS3.19 A.1).")
            self._passed_over += 1
            return
        self._names.append(local)
        self._text.clear()
        if local in ("NativeDicomModel", "Item"):
            self._data_sets.append(_DataSet())
        elif local == "DicomAttribute":
            self._attributes.append(_attribute(attributes))
        elif local == "PersonName":
            self._groups = {}
        elif local in GROUPS:
            self._components = {}
        elif local == "BulkData":
            self._attributes[-1].content["BulkDataURI"] = attributes.get("uri") or attributes.get("uuid", "")
        if local in _NUMBERED:
            self._numbers.append(_number(attributes.get("number")))

    def end(self, name: str) -> None:
        if self._passed_over:
            self._passed_over -= 1
            return
        local = self._names.pop()
        if local in ("NativeDicomModel", "Item"):
            finished = self._data_sets.pop().finished()
            if local == "Item":
                self._attributes[-1].value(self._numbers.pop(), finished)
            else:
                self.data_set = finished
        elif local == "DicomAttribute":
            attribute = self._attributes.pop()
            self._data_sets[-1].add(attribute.tag, attribute.creator, attribute.finished())
        elif local == "PersonName":
            self._attributes[-1].value(self._numbers.pop(), self._groups or None)
        elif local in GROUPS:
            parts = [self._components.get(component, "") for component in COMPONENTS]
            self._groups[local] = "^".join(parts).rstrip("^")
        elif local in COMPONENTS:
            self._components[local] = "".join(self._text)
        elif local == "Value":
            self._attributes[-1].value(self._numbers.pop(), "".join(self._text) or None)
        elif local == "InlineBinary":
            self._attributes[-1].content["InlineBinary"] = "".join(self._text)
        self._text.clear()

    def text(self, text: str) -> None:
        if not self._passed_over and self._names[-1] in _TEXT:
            self._text.append(text)


def _attribute(attributes: dict[str, str]) -> _Attribute:
    written = attributes.get("tag", "")
    if not _TAG.fullmatch(written):
        raise NotDicom("A DicomAttribute has no tag of 8 hexadecimal digits (PS3.19 A.1).")
    tag, creator = int(written, 16), attributes.get("privateCreator") or None
    known = "LO" if creator is None and is_private_creator(tag) else dictionary_entry(tag)
    return _Attribute(tag, attributes.get("vr") or settle(known, signed=False, words=0), creator)


def _number(written: str | None) -> int | None:
    if written is None:
        return None
    return int(written) if written.isascii() and written.isdigit() and len(written) < 10 else 0
