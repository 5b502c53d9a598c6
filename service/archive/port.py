"""The archive port: what the web face asks of whoever keeps the studies."""

from collections.abc import Buffer, Sequence
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

from service.dicom.confinement import Confinement
from service.dicom.frames import Extent
from service.dicom.query import Query
from service.dicom.record import Held
from service.dicom.resource import InstanceKey, Resource
from service.index.port import Answer, Connects, Documents
from service.store.port import FileRun

__all__ = [
    "Answer",
    "Archive",
    "Connects",
    "Contents",
    "Documents",
    "FileRun",
    "Forgets",
    "Held",
    "Identifies",
    "Intake",
    "Lacks",
    "Lands",
    "Outcome",
    "Recalls",
    "Refused",
    "ServedArchive",
    "Stored",
    "WholeArchive",
]


@dataclass(frozen=True, slots=True)
class Stored:
    """An instance that is durable. `warning` is a reason of PS3.18 Table I.2-1 where there is one.

    `already` says that nothing was written: it was there, or other content was there and stays.
    """

    key: InstanceKey
    sop_class: str
    warning: int | None = None
    already: bool = False


@dataclass(frozen=True, slots=True)
class Refused:
    """A part that was not stored: `reason` is a failure reason of PS3.18 Table I.2-2.

    The UIDs are empty where the part did not get as far as telling them. `transient` says that the same
    object may be accepted when it is sent again later.
    """

    reason: int
    message: str
    sop_class: str = ""
    sop_instance: str = ""
    transient: bool = False


Outcome = Stored | Refused


class Intake(Protocol):
    """Objects on their way into an archive, one after the other; used by one thread at a time."""

    def begin(self) -> None:
        """An object follows."""
        ...

    def write(self, block: memoryview) -> None:
        """Its next bytes, which the intake may keep. Once it is refused they are passed over."""
        ...

    def end(self) -> None:
        """It is complete."""
        ...

    def refuse(self, reason: int, message: str) -> None:
        """The object that began, or a part that never became one, is refused."""
        ...

    def finish(self) -> Sequence[Outcome]:
        """One outcome for each object, in order; what they call stored is durable.

        An object that began and did not end is refused. May raise `StoreUnavailable`,
        `IndexUnavailable`.
        """
        ...


class Contents(Protocol):
    """The bytes of instances that were found. Every method may raise `StoreUnavailable`."""

    def read(self, held: Held, extent: Extent) -> Buffer:
        """Bytes of an instance's object, at most 8 MiB. `NotFound` if it is gone by now."""
        ...

    def lend(self, held: Held, extent: Extent) -> FileRun | None:
        """The same bytes as a run of a file; `None` says to `read` them."""
        ...

    def frames(self, held: Held, numbers: Sequence[int]) -> Sequence[Extent] | None:
        """Where encapsulated frames lie: their items, in the order asked, counted from 1.

        `None` if that is not known; `NotFound` for a number past the last.
        """
        ...


class Archive(Contents, Protocol):
    """Finds, reads and stores instances. Every method may raise `StoreUnavailable`, `IndexUnavailable`."""

    def find(self, query: Query) -> Answer:
        """The page of matches that `query` asks for."""
        ...

    def instances(self, resource: Resource) -> Sequence[Held]:
        """The instances of `resource`, in order. `NotFound` if there are none."""
        ...

    def documents(self, resource: Resource, *, unless: str | None = None) -> Documents | None:
        """The DICOM JSON of `resource`; `None` if its generation is `unless`. `NotFound` if empty."""
        ...

    def intake(self, study: str | None = None) -> Intake:
        """A way in for objects, all of `study` if it is given."""
        ...


class ServedArchive(Archive, Protocol):
    """An archive that can tell whether it may be sent requests."""

    @property
    def nearby(self) -> bool:
        """Whether rows and objects lie on this machine, so that looking one up takes microseconds."""
        ...

    def ready(self) -> None:
        """Return if requests can be answered; an error of the tree if not."""
        ...


class WholeArchive(ServedArchive, Protocol):
    """An archive that can be asked on behalf of somebody who may not know of everything.

    To who is confined, studies that are not `within` that are not there: `NotFound` is raised of them as of
    those that never were. A query says itself what its reader is confined to.
    """

    def instances(self, resource: Resource, *, within: Confinement | None = None) -> Sequence[Held]:
        """As `Archive.instances`."""
        ...

    def documents(
        self, resource: Resource, *, unless: str | None = None, within: Confinement | None = None
    ) -> Documents | None:
        """As `Archive.documents`."""
        ...

    def intake(self, study: str | None = None, *, within: Confinement | None = None) -> Intake:
        """As `Archive.intake`; instances that are not `within` are refused, and nothing of them is kept."""
        ...


@runtime_checkable
class Forgets(Protocol):
    """What an archive has that lets go of what it keeps."""

    def forget(self, resource: Resource, *, within: Confinement | None = None) -> None:
        """Let go of `resource`: on return nobody finds it any more. `NotFound` if it is not there.

        To who is confined, what is not `within` that is not there. May raise `IndexUnavailable`; the bytes
        themselves may go later.
        """
        ...


@runtime_checkable
class Lacks(Protocol):
    """What an archive has that may know of more instances than it can give."""

    def lacking(self, resource: Resource) -> int:
        """How many instances of `resource` are known of and could not be had when it was last looked up."""
        ...


@runtime_checkable
class Lands(Protocol):
    """What an archive has that fetches its instances, and has their bytes before it knows what they are."""

    def landed(self, resource: Resource, *, within: Confinement | None = None) -> Sequence[Held] | None:
        """The instances of a study or series once all their bytes are there; `None` says to ask for them.

        What is told of them is what has to be known to send them as they are stored: nothing of their
        pixels, and a digest of their names that no other bytes have. Errors are those of `instances`.
        """
        ...


@runtime_checkable
class Recalls(Protocol):
    """What an archive has that keeps what was odd about its instances."""

    def findings(self, held: Held) -> Sequence[str]:
        """What was odd about an instance when it came in: sentences free of patient data.

        `NotFound` if it is gone by now.
        """
        ...


@runtime_checkable
class Identifies(Protocol):
    """What an archive has that can say at little cost whom a study is of."""

    def patient_of(self, study: str) -> str | None:
        """The Patient ID of a study, `None` if it has none or is not there. May raise `IndexUnavailable`."""
        ...
