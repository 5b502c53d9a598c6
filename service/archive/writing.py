"""Changed attributes as elements in Explicit VR Little Endian."""

from typing import TYPE_CHECKING, Any

import orjson

from service.dicom.items import SPECIFIC_CHARACTER_SET
from service.dicom.writing import UTF_8, DataSet, Detached, element_head

if TYPE_CHECKING:
    from service.pixels.attributes import Attributes
    from service.pixels.changes import Change

_CHARACTER_SET = f"{SPECIFIC_CHARACTER_SET:08X}"


def written(tag: int, change: "Change", attributes: "Attributes") -> bytes | None:
    """The element that a change makes, `None` for one that goes; `attributes` are those of its data set.

    Text beyond ASCII in items says itself how it is encoded. At the top level it is in the character set
    of the data set, and is replaced where that is not UTF-8.
    """
    if change is None:
        return None
    vr, values = change
    if values and isinstance(values[0], bytes):
        return element_head(tag, vr, len(values[0])) + values[0]
    if vr == "SQ":
        return element(tag, vr, [_told(item) for item in values])
    if UTF_8 not in attributes.texts(SPECIFIC_CHARACTER_SET):
        values = [_plain(value) for value in values]
    return element(tag, vr, values)


def element(tag: int, vr: str, values: list[Any]) -> bytes:
    """The element of values as they stand in DICOM JSON; what lies elsewhere is left out."""
    made = DataSet({f"{tag:08X}": {"vr": vr, "Value": values}})
    segments = iter(made.segments)
    if tag != SPECIFIC_CHARACTER_SET and made.has_value(SPECIFIC_CHARACTER_SET):
        next(segments), next(segments)  # its head and its value, which the data set has already
    return b"".join(segment for segment in segments if not isinstance(segment, Detached))


def _told(item: Any) -> Any:
    if not isinstance(item, dict) or orjson.dumps(item).isascii():
        return item
    return {**item, _CHARACTER_SET: {"vr": "CS", "Value": [UTF_8]}}


def _plain(value: Any) -> Any:
    return value.encode("ascii", "replace").decode("ascii") if isinstance(value, str) else value
