"""Icons of compressed images, as native pixel data (PS3.3 C.7.6.1.1.6).

They are compressed as their image is, which another transfer syntax does not allow to stay so.
"""

import base64
import logging
from typing import TYPE_CHECKING, Any

from service.archive.bulk import Finder, bulk_value
from service.archive.port import Archive
from service.archive.writing import element
from service.dicom.errors import NotAcceptable, NotDicom, NotFound
from service.dicom.record import Held
from service.dicom.syntaxes import EXPLICIT_LE

if TYPE_CHECKING:
    from service.pixels.attributes import Attributes

_ICONS, _PIXEL_DATA = 0x00880200, 0x7FE00010
_MOST_ICON = 16 << 20
_log = logging.getLogger("isthmus.pixels")


def icons_without_fragments(
    archive: Archive, held: Held, attributes: "Attributes", block_size: int
) -> dict[int, bytes | None]:
    """The Icon Image Sequence with its pixel data decoded; empty where it has none in fragments.

    One that cannot be decoded goes.
    """
    items = attributes.values(_ICONS)
    if not items:
        return {}
    path = (_ICONS, 1, _PIXEL_DATA)
    try:
        found, extent = Finder(archive, held).find(path)
    except NotFound:
        return {}
    if not found.encapsulated:
        return {}
    try:
        if extent.length > _MOST_ICON:
            raise NotAcceptable("The icon is larger than its image may be.")
        codestream = b"".join(bulk_value(archive, held, path, block_size).blocks())
        return {_ICONS: element(_ICONS, "SQ", [_native(items[0], attributes, codestream, held.syntax)])}
    except (NotAcceptable, NotDicom, NotFound) as cause:
        _log.warning("An icon of %s is left out: %s", held.key.instance, cause)
        return {_ICONS: None}


def _native(item: Any, attributes: "Attributes", codestream: bytes, syntax: str) -> dict[str, Any]:
    from service.pixels.changes import changes, shape_of
    from service.pixels.frame import Frame
    from service.pixels.plan import plan
    from service.pixels.transcode import transcode

    icon = attributes.items(_ICONS)[0]
    shape = shape_of(icon)
    if shape.native_bytes > _MOST_ICON:
        raise NotAcceptable("The icon is larger than its image may be.")
    made = transcode(Frame(codestream, syntax, shape), EXPLICIT_LE)
    described = dict(item)
    # Palettes may lie elsewhere.
    for tag in icon.tags:
        member = described[f"{tag:08X}"]
        if "BulkDataURI" in member and tag != _PIXEL_DATA:
            described[f"{tag:08X}"] = {"vr": member["vr"], "InlineBinary": _packed(icon.octets(tag))}
    for tag, change in changes(icon, syntax, made.shape, plan(syntax, shape, EXPLICIT_LE)).items():
        described.pop(f"{tag:08X}", None)
        if change is not None:
            described[f"{tag:08X}"] = {"vr": change[0], "Value": change[1]}
    payload = bytes(made.payload)
    vr = "OW" if made.shape.bits_allocated > 8 else "OB"
    described[f"{_PIXEL_DATA:08X}"] = {"vr": vr, "InlineBinary": _packed(payload)}
    return described


def _packed(content: bytes) -> str:
    return base64.b64encode(content + b"\0" * (len(content) % 2)).decode("ascii")
