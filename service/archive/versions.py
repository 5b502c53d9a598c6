"""The object keys of adopted objects: each names one version of one object."""

from dataclasses import dataclass

from service.dicom.errors import NotFound


@dataclass(frozen=True, slots=True)
class VersionKey:
    """What the key of an adopted object says: `{url}#{size}-{stamp}`, with escapes as they stand there."""

    url: str
    size: int
    stamp: str

    @classmethod
    def of(cls, object_key: str) -> "VersionKey":
        """`NotFound` if it is no such key."""
        url, _, rest = object_key.rpartition("#")
        size, dash, stamp = rest.partition("-")
        if not (url and size.isdigit() and dash):
            raise gone()
        return cls(url, int(size), stamp)


@dataclass(frozen=True, slots=True)
class Candidate:
    """What may be adopted: its name for people, and its object key, or why it has none."""

    name: str
    object_key: str = ""
    refusal: str = ""


def gone() -> NotFound:
    """What is said of an adopted object that is not there as it was."""
    return NotFound(
        "The file of this instance, which is outside of the archive, is gone or was changed since it was "
        "adopted. Adopt it again, or delete the instance."
    )
