"""Instances that are kept, and the names of their files: a folder says all that there is to know.

A file in `spool/` is named `{sequence}_{study}_{instance}.dcm`, one in `quarantine/`
`{sequence}_{study}_{instance}_{detained}_{http}_{reason}.dcm`. The sequence number is the time of arrival
in nanoseconds of the epoch, and that of no other instance; `study` is empty where it could not be read.
"""

import re
from dataclasses import dataclass

SUFFIX = ".dcm"
PART_SUFFIX = ".part"

_UID = r"[0-9.]{1,64}"
_KEPT = rf"(?P<sequence>[0-9]{{1,19}})_(?P<study>(?:{_UID})?)_(?P<instance>{_UID})"
_SPOOLED = re.compile(_KEPT + r"\.dcm")
_DETAINED = re.compile(_KEPT + r"_(?P<at>[0-9]{1,12})_(?P<http>[0-9]{1,3})_(?P<reason>[0-9A-F]{4})\.dcm")


@dataclass(eq=False, slots=True)
class Entry:
    """An instance that waits for the archive.

    `strikes` counts how often the archive failed with it though it took others since the time before, as
    of `seen` instances that were taken.
    """

    sequence: int
    study: str
    instance: str
    size_bytes: int
    strikes: int = 0
    seen: int = -1

    @property
    def name(self) -> str:
        """Of its file."""
        return f"{self.sequence:019d}_{self.study}_{self.instance}{SUFFIX}"

    @property
    def received_at(self) -> float:
        """In seconds of the epoch."""
        return self.sequence / 1e9


@dataclass(frozen=True, slots=True)
class Detained:
    """An instance that the archive refused after it had been acknowledged.

    `at` is in seconds of the epoch; `http` and `reason` are the archive's status, 0 where it gave no answer,
    and the DIMSE status of the refusal.
    """

    sequence: int
    study: str
    instance: str
    size_bytes: int
    at: int
    http: int
    reason: int

    @property
    def id(self) -> str:
        """What it is asked for by."""
        return str(self.sequence)

    @property
    def name(self) -> str:
        """Of its file."""
        kept = f"{self.sequence:019d}_{self.study}_{self.instance}"
        return f"{kept}_{self.at}_{self.http:03d}_{self.reason:04X}{SUFFIX}"

    def entry(self) -> Entry:
        """The same as one that waits."""
        return Entry(self.sequence, self.study, self.instance, self.size_bytes)


def detained(entry: Entry, *, at: int, http: int, reason: int) -> Detained:
    """`entry`, refused."""
    return Detained(entry.sequence, entry.study, entry.instance, entry.size_bytes, at, http, reason)


def read_entry(name: str, size_bytes: int) -> Entry | None:
    """The instance of a file in the spool, `None` if it is none of ours."""
    found = _SPOOLED.fullmatch(name)
    if found is None:
        return None
    return Entry(int(found["sequence"]), found["study"], found["instance"], size_bytes)


def read_detained(name: str, size_bytes: int) -> Detained | None:
    """The instance of a file in the quarantine, `None` if it is none of ours."""
    found = _DETAINED.fullmatch(name)
    if found is None:
        return None
    return Detained(
        int(found["sequence"]),
        found["study"],
        found["instance"],
        size_bytes,
        int(found["at"]),
        int(found["http"]),
        int(found["reason"], 16),
    )
