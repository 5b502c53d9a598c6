"""DICOM JSON objects as documents of the Native DICOM Model (PS3.19 annex A.1).

The reverse is in `xmlreading`. Both speak of a data set as a DICOM JSON object in memory (PS3.18 F.2).
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from service.dicom.dictionary import entry_of
from service.dicom.vr import block_of, is_private_creator

DICOM_XML = "application/dicom+xml"
NAMESPACE = "http://dicom.nema.org/PS3.19/models/NativeDICOM"
GROUPS = ("Alphabetic", "Ideographic", "Phonetic")
COMPONENTS = ("FamilyName", "GivenName", "MiddleName", "NamePrefix", "NameSuffix")

Attribute = Mapping[str, Any]
Document = Mapping[str, Attribute]

_OPENING = (
    f'<?xml version="1.0" encoding="UTF-8"?>\n<NativeDicomModel xmlns="{NAMESPACE}" xml:space="preserve">'
)
_CLOSING = "</NativeDicomModel>"
# XML 1.0 section 2.2: no other characters may stand in a document, not even by reference.
_ILLEGAL = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
# A bare carriage return would be read as a line feed (XML 1.0 section 2.11).
_MARKUP = re.compile("[&<>\r]")
_ATTRIBUTE_MARKUP = re.compile('[&<>"\t\n\r]')


def xml_document(document: Document) -> bytes:
    """One data set as a document in UTF-8.

    Characters that XML 1.0 cannot hold become U+FFFD. Private attributes are named by their group, number
    and creator (`gggg00ee`); their creators are given too, so that the blocks keep their places.
    """
    return "".join([_OPENING, *_data_set(document), _CLOSING]).encode("utf-8")


def _data_set(document: Document) -> Iterator[str]:
    creators = _creators(document)
    for key in sorted(document):
        tag = int(key, 16)
        attribute = document[key]
        head = f'<DicomAttribute tag="{key}" vr="{_quoted(str(attribute["vr"]))}"'
        creator = creators.get(block_of(tag)) if tag & 0x10000 and not is_private_creator(tag) else None
        if creator is not None:
            name, first = creator
            shown = f"{key[:4]}00{key[6:]}" if first else key
            head = head.replace(f'"{key}"', f'"{shown}"', 1) + f' privateCreator="{_quoted(name)}"'
        else:
            entry = entry_of(tag)
            head += f' keyword="{entry[1]}"' if entry is not None and entry[1] else ""
        content = "".join(_content(attribute))
        yield f"{head}>{content}</DicomAttribute>" if content else f"{head}/>"


def _creators(document: Document) -> dict[int, tuple[str, bool]]:
    """The creator of each block, and whether it is the first of its group with that creator.

    Only of one block could `gggg00ee` tell which is meant; a creator reserves no second one in a sound
    data set (PS3.5 7.8.1).
    """
    found: dict[int, tuple[str, bool]] = {}
    seen: set[tuple[int, str]] = set()
    for key in sorted(document):
        tag = int(key, 16)
        values = document[key].get("Value")
        if is_private_creator(tag) and values and isinstance(values[0], str):
            name = values[0]
            found[tag] = (name, (tag >> 16, name) not in seen)
            seen.add((tag >> 16, name))
    return found


def _content(attribute: Attribute) -> Iterator[str]:
    if "BulkDataURI" in attribute:
        yield f'<BulkData uri="{_quoted(attribute["BulkDataURI"])}"/>'
    elif "InlineBinary" in attribute:
        yield f"<InlineBinary>{_text(attribute['InlineBinary'])}</InlineBinary>"
    elif attribute["vr"] == "SQ":
        yield from _items(attribute.get("Value", ()))
    elif attribute["vr"] == "PN":
        for number, name in enumerate(attribute.get("Value", ()), 1):
            yield f'<PersonName number="{number}">{_name(name or {})}</PersonName>'
    else:
        for number, value in enumerate(attribute.get("Value", ()), 1):
            yield f'<Value number="{number}">{"" if value is None else _text(str(value))}</Value>'


def _items(items: Sequence[Document | None]) -> Iterator[str]:
    for number, item in enumerate(items, 1):
        yield f'<Item number="{number}">'
        yield from _data_set(item or {})
        yield "</Item>"


def _name(groups: Mapping[str, str]) -> str:
    """The component groups of a person name and their components (PS3.5 6.2.1)."""
    written: list[str] = []
    for group in GROUPS:
        if group not in groups:
            continue
        # What follows a fifth component stays with it: `^` is legal in the text of an element.
        parts = groups[group].split("^", len(COMPONENTS) - 1)
        inner = "".join(
            f"<{name}>{_text(part)}</{name}>" for name, part in zip(COMPONENTS, parts, strict=False) if part
        )
        written.append(f"<{group}>{inner}</{group}>")
    return "".join(written)


def _text(value: str) -> str:
    return _MARKUP.sub(_reference, _ILLEGAL.sub("\ufffd", value))


def _quoted(value: str) -> str:
    return _ATTRIBUTE_MARKUP.sub(_reference, _ILLEGAL.sub("\ufffd", value))


def _reference(match: re.Match[str]) -> str:
    return f"&#{ord(match[0])};"
