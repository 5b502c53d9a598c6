"""Answers of S3 that are no success, as errors of ours."""

from service.dicom.errors import BadExtent, ObjectMissing, StoreUnavailable
from service.store.s3.retrying import Transient

_PASSING = (408, 425, 429)
_MISSING = ("NoSuchKey", "NoSuchUpload")
_PASSING_CODES = ("RequestTimeout", "SlowDown", "Throttling", "InternalError", "OperationAborted")


def failure(status: int, code: str) -> Exception:
    """The error for an answer with `status` and the `Code` of its body."""
    told = f"{status} {code}".strip()
    if status >= 500 or status in _PASSING or code in _PASSING_CODES:
        return Transient(told)
    if code == "NoSuchBucket":
        return StoreUnavailable("The bucket of the object store is missing (ISTHMUS_STORE).")
    if code in _MISSING:
        return ObjectMissing("The object is missing from the store.")
    if status == 404:  # said by something between here and the store: nobody has looked for the object
        return Transient(told)
    if status == 416:
        return BadExtent("The extent reaches past the end of the object.")
    if status in (401, 403):
        return StoreUnavailable("The object store refuses the credentials of this service.")
    return StoreUnavailable(f"The object store refuses the request ({told}).")
