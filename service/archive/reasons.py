"""Errors as the reasons that a Store Instances Response gives (PS3.18 Tables I.2-1 and I.2-2)."""

from collections.abc import Mapping

from service.dicom import errors
from service.environment import as_size

COERCED = 0xB000
DISCARDED = 0xB006
MISMATCHED = 0xB007

PROCESSING_FAILURE = 0x0110
DUPLICATE = 0x0111
CANNOT_UNDERSTAND = 0xC000

FAILURE_REASON: Mapping[type[errors.ArchiveError], int] = {
    errors.NotAuthorized: 0x0124,
    errors.NotDicom: CANNOT_UNDERSTAND,
    errors.ClassMismatch: 0xA900,
    errors.WrongStudy: 0xA901,
    errors.ClassUnsupported: 0x0122,
    errors.SyntaxUnsupported: 0xC122,
    errors.Duplicate: DUPLICATE,
    errors.TooLarge: 0xA700,
    errors.Busy: 0xA700,
    errors.StoreUnavailable: 0xA700,
    errors.IndexUnavailable: 0xA700,
    errors.UpstreamFailed: 0xA700,
    errors.ArchiveError: PROCESSING_FAILURE,
}


def failure_reason(error: errors.ArchiveError) -> int:
    """The 16-bit reason of the error's nearest kind in the table."""
    return next(FAILURE_REASON[kind] for kind in type(error).__mro__ if kind in FAILURE_REASON)


def too_large(largest_bytes: int) -> errors.TooLarge:
    """What is said of an instance that is larger than instances may be."""
    return errors.TooLarge(f"The instance is larger than {as_size(largest_bytes)} (ISTHMUS_MAX_INSTANCE).")
