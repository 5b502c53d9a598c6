"""The study of an instance, from the first bytes of its data set."""

from service.dicom.errors import NotDicom
from service.dicom.inflate import Inflater
from service.dicom.locate import Found, find_value
from service.dicom.resource import is_uid
from service.dicom.syntaxes import BY_UID, EXPLICIT_LE

_STUDY = 0x0020000D
_LONGEST_HEAD = 1 << 20


def study_of(head: bytes, syntax_uid: str) -> str:
    """The Study Instance UID in `head`, the beginning of a data set; empty if it is not found there."""
    syntax = BY_UID[syntax_uid]
    if syntax.deflated:
        try:
            head = next(Inflater(_LONGEST_HEAD).push(head), b"")
        except NotDicom:
            return ""
        syntax = BY_UID[EXPLICIT_LE]
    found = find_value(head, syntax, (_STUDY,), final=True)
    if not isinstance(found, Found) or found.length is None:
        return ""
    value = head[found.position : found.position + found.length].strip(b"\0 ")
    study = value.decode("latin-1") if len(value) <= 64 else ""
    return study if is_uid(study) else ""
