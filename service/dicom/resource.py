"""Study, series and instance by their UIDs: made valid here, at the rim, and trusted afterwards."""

import enum
import re
from dataclasses import dataclass

from service.dicom.errors import BadRequest

# PS3.5 9.1: digits and dots, at most 64 characters. Leading zeros and empty components occur in real
# data and are stored as received; only characters and length are errors.
_UID = re.compile(r"[0-9.]{1,64}", re.ASCII)


class Level(enum.IntEnum):
    """The levels of the query/retrieve models (PS3.4 C.6), from the top down."""

    PATIENT = 0
    STUDY = 1
    SERIES = 2
    INSTANCE = 3


def is_uid(text: str) -> bool:
    """Whether `text` may serve as a UID in a path, a key or a query."""
    # A component of dots alone would be a path of its own ("..") in an object key.
    return _UID.fullmatch(text) is not None and text.strip(".") != ""


def require_uid(text: str, what: str) -> str:
    """`text` itself, or `BadRequest` naming `what`."""
    if not is_uid(text):
        raise BadRequest(f"{what} must be 1 to 64 digits and dots (PS3.5 9.1).")
    return text


@dataclass(frozen=True, slots=True)
class InstanceKey:
    """The three UIDs that name one composite instance."""

    study: str
    series: str
    instance: str

    def __post_init__(self) -> None:
        require_uid(self.study, "Study Instance UID")
        require_uid(self.series, "Series Instance UID")
        require_uid(self.instance, "SOP Instance UID")

    @property
    def path(self) -> str:
        """The instance's place below the DICOMweb root, with a leading slash (PS3.18 10.1)."""
        return f"/studies/{self.study}/series/{self.series}/instances/{self.instance}"


@dataclass(frozen=True, slots=True)
class Resource:
    """A study, a series of it, or an instance of that."""

    study: str
    series: str | None = None
    instance: str | None = None

    def __post_init__(self) -> None:
        require_uid(self.study, "Study Instance UID")
        if self.series is not None:
            require_uid(self.series, "Series Instance UID")
        if self.instance is not None:
            require_uid(self.instance, "SOP Instance UID")
            if self.series is None:
                raise BadRequest("An instance is named by study, series and instance.")

    @property
    def level(self) -> Level:
        if self.instance is not None:
            return Level.INSTANCE
        return Level.STUDY if self.series is None else Level.SERIES

    @property
    def path(self) -> str:
        """The resource's place below the DICOMweb root, with a leading slash (PS3.18 10.1)."""
        path = f"/studies/{self.study}"
        if self.series is not None:
            path += f"/series/{self.series}"
        if self.instance is not None:
            path += f"/instances/{self.instance}"
        return path
