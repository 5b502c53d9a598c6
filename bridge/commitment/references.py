"""What storage commitment says of instances: its two data sets (PS3.4 Table J.3-1 and J.3-2)."""

import struct
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from service.dicom.errors import BadRequest
from service.dicom.identifier import read_identifier
from service.dicom.resource import is_uid
from service.dicom.syntaxes import Syntax

TRANSACTION_UID = 0x00081195
REFERENCED_SOP_SEQUENCE = 0x00081199

_RETRIEVE_AE_TITLE = 0x00080054
_REFERENCED_CLASS = 0x00081150
_REFERENCED_INSTANCE = 0x00081155
_FAILURE_REASON = 0x00081197
_FAILED_SOP_SEQUENCE = 0x00081198
_ITEM = 0xFFFEE000

_SEQUENCE_HEAD = struct.Struct("<HH2sHI")
_LONG_HEAD = struct.Struct("<HHI")
_SHORT_HEAD = struct.Struct("<HH2sH")
_MOST_ELEMENTS = 1 << 16  # three for a reference: more than a request of the longest length has


@dataclass(frozen=True, slots=True)
class Reference:
    """An instance, and of which class it is said to be."""

    sop_class: str
    instance: str


@dataclass(frozen=True, slots=True)
class CommitmentRequest:
    """The instances for which a peer wants commitment, in its order; at least one."""

    transaction: str
    references: tuple[Reference, ...]


def read_request(content: bytes, syntax: Syntax) -> CommitmentRequest:
    """The Action Information that `content` encodes; `BadRequest` says what is wrong with it."""
    information = read_identifier(content, syntax, most_elements=_MOST_ELEMENTS)
    transaction = information.text(TRANSACTION_UID)
    if not is_uid(transaction):
        raise BadRequest("Transaction UID is missing or no UID.")
    sequence = information.find(REFERENCED_SOP_SEQUENCE)
    if sequence is None or not sequence.items:
        raise BadRequest("Referenced SOP Sequence is missing or empty.")
    references = []
    for item in sequence.items:
        texts = {key.tag: key.text for key in item}
        reference = Reference(texts.get(_REFERENCED_CLASS, ""), texts.get(_REFERENCED_INSTANCE, ""))
        if not is_uid(reference.sop_class) or not is_uid(reference.instance):
            raise BadRequest("A referenced class or instance is missing or no UID.")
        references.append(reference)
    return CommitmentRequest(transaction, tuple(references))


def write_report(
    transaction: str,
    committed: Sequence[Reference],
    failed: Iterable[tuple[Reference, int]],
    *,
    retrieve_ae_title: str,
    explicit: bool,
) -> bytes:
    """The Event Information, in Explicit or Implicit VR Little Endian.

    `failed` holds a Failure Reason (PS3.3 C.14.1.1) for each. The AE title stands for all that is committed.
    """
    element, sequence = (_explicit, _explicit_sequence) if explicit else (_implicit, _implicit_sequence)
    failures = [
        _reference(element, each) + element(_FAILURE_REASON, b"US", struct.pack("<H", reason))
        for each, reason in failed
    ]
    pieces = []
    if committed:
        pieces.append(element(_RETRIEVE_AE_TITLE, b"AE", _even(retrieve_ae_title, b" ")))
    pieces.append(element(TRANSACTION_UID, b"UI", _even(transaction, b"\0")))
    if failures:
        pieces.append(sequence(_FAILED_SOP_SEQUENCE, failures))
    if committed:
        pieces.append(sequence(REFERENCED_SOP_SEQUENCE, [_reference(element, each) for each in committed]))
    return b"".join(pieces)


def _reference(element: Callable[[int, bytes, bytes], bytes], reference: Reference) -> bytes:
    return element(_REFERENCED_CLASS, b"UI", _even(reference.sop_class, b"\0")) + element(
        _REFERENCED_INSTANCE, b"UI", _even(reference.instance, b"\0")
    )


def _even(text: str, padding: bytes) -> bytes:
    value = text.encode("ascii")
    return value + padding if len(value) % 2 else value


def _explicit(tag: int, vr: bytes, value: bytes) -> bytes:
    return _SHORT_HEAD.pack(tag >> 16, tag & 0xFFFF, vr, len(value)) + value


def _implicit(tag: int, vr: bytes, value: bytes) -> bytes:
    return _LONG_HEAD.pack(tag >> 16, tag & 0xFFFF, len(value)) + value


def _explicit_sequence(tag: int, items: Iterable[bytes]) -> bytes:
    value = b"".join(_implicit(_ITEM, b"", item) for item in items)
    return _SEQUENCE_HEAD.pack(tag >> 16, tag & 0xFFFF, b"SQ", 0, len(value)) + value


def _implicit_sequence(tag: int, items: Iterable[bytes]) -> bytes:
    return _implicit(tag, b"SQ", b"".join(_implicit(_ITEM, b"", item) for item in items))
