"""The error tree: what can go wrong between a request and the archive.

    ArchiveError
    ├── BadRequest              the path, query or identifier is malformed
    │   └── BadKey                  one key of an identifier
    ├── NotAuthorized           the caller may not do this
    ├── NotFound                no such resource
    │   └── Superseded          it was there a moment ago
    ├── NotAcceptable           no representation we can make is acceptable
    │   └── Undecodable         a frame's codestream is damaged or not what the data set says
    ├── UnsupportedMedia        the request body is of a type we do not read
    ├── NotDicom                the bytes are not a readable DICOM object
    ├── ClassMismatch           the object does not belong where it was sent
    │   └── WrongStudy          its Study Instance UID differs from the URL
    ├── ClassUnsupported        the SOP class is not stored here
    ├── SyntaxUnsupported       the transfer syntax is not stored here
    ├── Duplicate               another object has this instance's UIDs
    ├── TooLarge                beyond a limit of size
    ├── TooMany                 beyond a limit of count
    │   └── TooCostly               a search beyond its limit of time
    ├── Busy                    a bounded queue is full
    ├── StoreUnavailable        the object store does not answer
    │   ├── ObjectMissing       no object under this key
    │   └── BadExtent           the extent reaches past the object's end
    ├── IndexUnavailable        the index does not answer
    ├── DestinationUnknown      nobody is known by the name to send to
    └── UpstreamFailed          the peer behind us failed
        └── UpstreamTimeout     the peer behind us did not answer in time

`str(error)` is safe to show to anyone: no secrets, no paths of the machine, no patient data.
The errors know neither HTTP nor DIMSE; `web/problems.py` and `bridge/statuses.py` translate them.
"""


class ArchiveError(Exception):
    """Something the archive could not do; the root of every error of ours."""


class BadRequest(ArchiveError):
    """The path, query or identifier is malformed."""


class BadKey(BadRequest):
    """A key of an identifier is malformed, missing or out of place; `tag` is its attribute."""

    def __init__(self, message: str, tag: int) -> None:
        super().__init__(message)
        self.tag = tag


class NotAuthorized(ArchiveError):
    """The caller may not do this."""


class NotFound(ArchiveError):
    """No such resource."""


class Superseded(NotFound):
    """The instance was removed or replaced between being found and being read."""


class NotAcceptable(ArchiveError):
    """No representation we can make satisfies the request; `available` lists what would."""

    def __init__(self, message: str, available: tuple[str, ...] = ()) -> None:
        super().__init__(message)
        self.available = available


class Undecodable(NotAcceptable):
    """A frame cannot be decoded: it is damaged, or not what the data set says."""


class UnsupportedMedia(ArchiveError):
    """The request body is of a media type we do not read."""


class NotDicom(ArchiveError):
    """The bytes are not a DICOM object that can be read to its end."""


class ClassMismatch(ArchiveError):
    """The object does not belong where it was sent."""


class WrongStudy(ClassMismatch):
    """The object's Study Instance UID differs from the one in the URL."""


class ClassUnsupported(ArchiveError):
    """The SOP class is not stored here."""


class SyntaxUnsupported(ArchiveError):
    """The transfer syntax is not stored here."""


class Duplicate(ArchiveError):
    """Another object with the same UIDs is stored and the policy keeps it."""


class TooLarge(ArchiveError):
    """Something is beyond a limit of size."""


class TooMany(ArchiveError):
    """Something is beyond a limit of count."""


class TooCostly(TooMany):
    """A search is given up at its limit of time: a narrower one may be answered, or a later one."""


class Busy(ArchiveError):
    """A bounded queue is full; try again in `retry_after_s` seconds."""

    def __init__(self, message: str, retry_after_s: int = 2) -> None:
        super().__init__(message)
        self.retry_after_s = retry_after_s


class StoreUnavailable(ArchiveError):
    """The object store does not answer, or is full."""


class ObjectMissing(StoreUnavailable):
    """The object store has no object under this key."""


class BadExtent(StoreUnavailable):
    """The extent reaches past the end of the object."""


class IndexUnavailable(ArchiveError):
    """The index does not answer."""


class DestinationUnknown(ArchiveError):
    """Nobody is known by the name that something is to be sent to."""


class UpstreamFailed(ArchiveError):
    """The peer behind us refused or failed."""


class UpstreamTimeout(UpstreamFailed):
    """The peer behind us did not answer in time."""
