"""From errors and the archive's answers to DIMSE statuses: the only table."""

from collections.abc import Iterator, Mapping
from typing import Any

import orjson

from service.archive.port import Outcome, Stored
from service.dicom.errors import (
    ArchiveError,
    BadRequest,
    Busy,
    ClassMismatch,
    ClassUnsupported,
    DestinationUnknown,
    Duplicate,
    IndexUnavailable,
    NotAuthorized,
    NotDicom,
    NotFound,
    StoreUnavailable,
    TooLarge,
    TooMany,
    UpstreamFailed,
)
from service.dicom.performed import InvalidValue, MissingAttribute, MissingValue

# PS3.7 annex C, PS3.4 Table B.2-1.
SUCCESS = 0x0000
OPTIONAL_UNSUPPORTED = 0x0001
INVALID_VALUE = 0x0106
ATTRIBUTE_LIST_ERROR = 0x0107
PROCESSING_FAILURE = 0x0110
DUPLICATE_INSTANCE = 0x0111
NO_SUCH_INSTANCE = 0x0112
INVALID_ARGUMENT = 0x0115
INVALID_INSTANCE = 0x0117
NO_SUCH_CLASS = 0x0118
CLASS_CONFLICT = 0x0119
MISSING_ATTRIBUTE = 0x0120
MISSING_VALUE = 0x0121
CLASS_UNSUPPORTED = 0x0122
NO_SUCH_ACTION = 0x0123
NOT_AUTHORIZED = 0x0124
DUPLICATE_TRANSACTION = 0x0131
UNRECOGNIZED_OPERATION = 0x0211
MISTYPED_ARGUMENT = 0x0212
RESOURCE_LIMITATION = 0x0213
OUT_OF_RESOURCES = 0xA700
MATCHES_UNKNOWN = 0xA701
NOT_PERFORMED = 0xA702
DESTINATION_UNKNOWN = 0xA801
MISMATCH = 0xA900
CANNOT_UNDERSTAND = 0xC000
CANNOT_PROCESS = 0xC001
NOT_ALL_WELL = 0xB000
CANCELLED = 0xFE00
PENDING = 0xFF00
PENDING_WARNING = 0xFF01

STORE_STATUS: Mapping[type[BaseException], int] = {
    NotAuthorized: NOT_AUTHORIZED,
    NotDicom: CANNOT_UNDERSTAND,
    ClassMismatch: MISMATCH,
    ClassUnsupported: CLASS_UNSUPPORTED,
    Duplicate: DUPLICATE_INSTANCE,
    TooLarge: OUT_OF_RESOURCES,
    Busy: OUT_OF_RESOURCES,
    StoreUnavailable: OUT_OF_RESOURCES,
    IndexUnavailable: OUT_OF_RESOURCES,
    UpstreamFailed: OUT_OF_RESOURCES,
    ArchiveError: PROCESSING_FAILURE,
    BaseException: PROCESSING_FAILURE,
}

# PS3.4 Table C.4-1.
FIND_STATUS: Mapping[type[BaseException], int] = {
    BadRequest: MISMATCH,
    NotAuthorized: NOT_AUTHORIZED,
    ClassUnsupported: CLASS_UNSUPPORTED,
    TooLarge: OUT_OF_RESOURCES,
    TooMany: OUT_OF_RESOURCES,
    Busy: OUT_OF_RESOURCES,
    StoreUnavailable: OUT_OF_RESOURCES,
    IndexUnavailable: OUT_OF_RESOURCES,
    UpstreamFailed: OUT_OF_RESOURCES,
    BaseException: CANNOT_PROCESS,
}

# PS3.4 Tables C.4-2 and C.4-3, of what goes wrong before it is known which instances are meant.
RETRIEVE_STATUS: Mapping[type[BaseException], int] = {
    BadRequest: MISMATCH,
    NotAuthorized: NOT_AUTHORIZED,
    ClassUnsupported: CLASS_UNSUPPORTED,
    DestinationUnknown: DESTINATION_UNKNOWN,
    TooLarge: MATCHES_UNKNOWN,
    TooMany: MATCHES_UNKNOWN,
    Busy: MATCHES_UNKNOWN,
    StoreUnavailable: MATCHES_UNKNOWN,
    IndexUnavailable: MATCHES_UNKNOWN,
    UpstreamFailed: MATCHES_UNKNOWN,
    BaseException: CANNOT_PROCESS,
}

# PS3.7 10.1.2, 10.1.3, 10.1.5 and C.4 to C.5, PS3.4 F.7.2 and F.8.2, of performed procedure steps.
STEP_STATUS: Mapping[type[BaseException], int] = {
    InvalidValue: INVALID_VALUE,
    MissingAttribute: MISSING_ATTRIBUTE,
    MissingValue: MISSING_VALUE,
    BadRequest: PROCESSING_FAILURE,
    NotFound: NO_SUCH_INSTANCE,
    Duplicate: DUPLICATE_INSTANCE,
    ClassUnsupported: CLASS_UNSUPPORTED,
    TooLarge: RESOURCE_LIMITATION,
    TooMany: RESOURCE_LIMITATION,
    Busy: RESOURCE_LIMITATION,
    BaseException: PROCESSING_FAILURE,
}

# What a C-STORE gets where the answer names no reason of its own.
_STATUS_OF_HTTP: Mapping[int, int] = {
    401: NOT_AUTHORIZED,
    403: NOT_AUTHORIZED,
    413: OUT_OF_RESOURCES,
    429: OUT_OF_RESOURCES,
    502: OUT_OF_RESOURCES,
    503: OUT_OF_RESOURCES,
    504: OUT_OF_RESOURCES,
    507: OUT_OF_RESOURCES,
}

_WARNING_REASON = "00081196"
_FAILURE_REASON = "00081197"
_FAILED = "00081198"
_REFERENCED = "00081199"
_OTHER_FAILURES = "0008119A"

_WARNINGS = frozenset((0x0107, 0x0116))  # of the general statuses (PS3.7 C.5)
_AZURE_DUPLICATE = 0xB00E  # Microsoft's failure reason for an instance that is there already


def store_status(error: BaseException) -> int:
    """The C-STORE status (PS3.4 Table B.2-1) of an error."""
    return next(STORE_STATUS[kind] for kind in type(error).__mro__ if kind in STORE_STATUS)


def find_status(error: BaseException) -> int:
    """The C-FIND status (PS3.4 Table C.4-1) of an error."""
    return next(FIND_STATUS[kind] for kind in type(error).__mro__ if kind in FIND_STATUS)


def retrieve_status(error: BaseException) -> int:
    """The C-MOVE or C-GET status (PS3.4 Tables C.4-2, C.4-3) of an error before the first sub-operation."""
    return next(RETRIEVE_STATUS[kind] for kind in type(error).__mro__ if kind in RETRIEVE_STATUS)


def step_status(error: BaseException) -> int:
    """The status of an N-CREATE, N-SET or N-GET about a performed procedure step, of an error."""
    return next(STEP_STATUS[kind] for kind in type(error).__mro__ if kind in STEP_STATUS)


def retrieved_status(*, completed: int, warning: int, failed: int, cancelled: bool) -> int:
    """The final status of a C-MOVE or C-GET, by what became of its sub-operations."""
    if cancelled:
        return CANCELLED
    if failed and not completed and not warning:
        return NOT_PERFORMED
    return NOT_ALL_WELL if failed or warning else SUCCESS


def store_status_of_answer(http_status: int, body: bytes) -> int:
    """The C-STORE status of a server's answer to the storing of one instance (PS3.18 10.5.3).

    A reason in the answer counts before the HTTP status: it says what became of this instance. Success is
    only what names the instance as stored: a page of somebody else's may have the status 200 too. Outages
    and refusals of the request as a whole (401, 403, 5xx) are no word on the instance, whatever the body.
    """
    if http_status in (200, 202, 409):
        answer = _object(body)
        for reason in _reasons(answer, (_FAILED, _OTHER_FAILURES), _FAILURE_REASON):
            return _failure(reason)
        if http_status != 409 and _items(answer, _REFERENCED):
            warnings = _reasons(answer, (_REFERENCED,), _WARNING_REASON)
            return next((w for w in warnings if 0xB000 <= w <= 0xBFFF), SUCCESS)
    return _STATUS_OF_HTTP.get(http_status, PROCESSING_FAILURE)


def store_status_of_outcome(outcome: Outcome) -> int:
    """The C-STORE status of what became of an instance in the archive beside the bridge."""
    if isinstance(outcome, Stored):
        warning = outcome.warning or SUCCESS
        return warning if warning >> 12 == 0xB else SUCCESS
    return _failure(outcome.reason)


def says_what_became(body: bytes) -> bool:
    """Whether an answer to a store request has a word on any instance (PS3.18 Table I.1-1)."""
    answer = _object(body)
    return any(_items(answer, sequence) for sequence in (_FAILED, _OTHER_FAILURES, _REFERENCED))


def _failure(reason: int) -> int:
    """A failure reason as a status, which must not read as a success, warning or pending one."""
    if reason == _AZURE_DUPLICATE:
        return DUPLICATE_INSTANCE
    if reason in _WARNINGS:
        return PROCESSING_FAILURE
    if 0x0100 <= reason <= 0x02FF or 0xA000 <= reason <= 0xAFFF or 0xC000 <= reason <= 0xCFFF:
        return reason
    return PROCESSING_FAILURE


def _object(body: bytes) -> dict[str, Any]:
    try:
        answer = orjson.loads(body)
    except orjson.JSONDecodeError:
        return {}
    if isinstance(answer, list) and len(answer) == 1:  # some servers send an array
        answer = answer[0]
    return answer if isinstance(answer, dict) else {}


def _items(answer: Mapping[str, Any], tag: str) -> list[Mapping[str, Any]]:
    sequence = answer.get(tag)
    value = sequence.get("Value") if isinstance(sequence, dict) else None
    return [item for item in value if isinstance(item, dict)] if isinstance(value, list) else []


def _reasons(answer: Mapping[str, Any], sequences: tuple[str, ...], tag: str) -> Iterator[int]:
    for sequence in sequences:
        for item in _items(answer, sequence):
            element = item.get(tag)
            value = element.get("Value") if isinstance(element, dict) else None
            if isinstance(value, list) and value and isinstance(value[0], int):
                yield value[0]
            elif sequence != _REFERENCED:
                yield PROCESSING_FAILURE
