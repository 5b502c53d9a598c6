"""The row of an object, made of what one pass over it found."""

from bisect import bisect_left
from collections.abc import Mapping

from service.archive import reasons
from service.dicom.describing import describe
from service.dicom.record import BASE_SLOT, SYNTAXES_SLOT, InstanceRecord
from service.dicom.scan import Scanned

_AVAILABLE_SYNTAXES = 0x00083002


def record_of(
    scanned: Scanned, size: int, object_key: str, *, place: str = "", digest: bytes | None = None
) -> InstanceRecord:
    """The row of an object of `size` bytes; `place` is empty where it lies in the store itself.

    `digest` is given where it is known otherwise than by having read all of the object.
    """
    document = _document(scanned.elements)
    if BASE_SLOT in document:
        document = document.replace(BASE_SLOT, BASE_SLOT + scanned.key.path.encode("ascii"))
    return InstanceRecord(
        key=scanned.key,
        sop_class=scanned.sop_class,
        syntax=scanned.syntax.uid,
        object_key=object_key,
        place=place,
        size=size,
        digest=scanned.digest if digest is None else digest,
        shape=scanned.shape,
        pixels=scanned.pixels,
        frames=scanned.frames,
        description=describe(scanned.elements),
        json=document,
        findings=scanned.findings,
        data_offset=scanned.head.data_offset,
        head_fits=scanned.head.complete and warning_of(scanned) is None,
    )


def _document(elements: Mapping[int, bytes]) -> bytes:
    """DICOM JSON of `elements`, which are in tag order, with the slot of the available syntaxes."""
    members = list(elements.values())
    place = bisect_left(list(elements), _AVAILABLE_SYNTAXES)
    replaced = 1 if _AVAILABLE_SYNTAXES in elements else 0
    members[place : place + replaced] = [b'"00083002":{"vr":"UI","Value":[' + SYNTAXES_SLOT + b"]}"]
    return b"{" + b",".join(members) + b"}"


def warning_of(scanned: Scanned) -> int | None:
    """B007 where file meta and data set disagree about what the object is."""
    head = scanned.head
    class_differs = head.sop_class not in ("", scanned.sop_class)
    instance_differs = head.sop_instance not in ("", scanned.key.instance)
    return reasons.MISMATCHED if class_differs or instance_differs else None
