"""The index port: which instances there are, what they say, and where their bytes lie."""

import enum
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

from service.dicom.confinement import Confinement
from service.dicom.frames import Extent
from service.dicom.query import Query
from service.dicom.record import Held, InstanceRecord
from service.dicom.resource import InstanceKey, Resource

FEWEST = 16
"""Instances of a series that is worth a bundle; the documents of fewer are read one by one as fast."""


class OnDuplicate(enum.Enum):
    """What happens to an instance whose UIDs are taken by other content (ISTHMUS_ON_DUPLICATE)."""

    REFUSE = "refuse"
    KEEP = "keep"
    REPLACE = "replace"


class Added(enum.Enum):
    """What became of one record given to `add`."""

    NEW = "a row was made"
    SAME = "the same content was there already"
    KEPT = "other content was there and stays"
    REPLACED = "other content was there and is gone"
    FORBIDDEN = "its study is there, and may not be known of"


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of one record: `doomed` is the object key that nobody refers to any more."""

    added: Added
    doomed: str | None = None


@dataclass(frozen=True, slots=True)
class Answer:
    """The matches of a search: complete DICOM JSON objects with slots, in order.

    `remaining` counts further matches behind this page; `at_least` says that there may be more of them.
    `total` is the number of all matches where it was counted (below 10,001). `syntaxes` holds for each
    match of a search for instances what `record.syntax_and_pixels` gives, and is empty for others.
    `warnings` are sentences on what the answer may lack.
    """

    matches: Sequence[bytes]
    remaining: int = 0
    at_least: bool = False
    total: int | None = None
    syntaxes: Sequence[str] = ()
    warnings: Sequence[str] = ()


@dataclass(frozen=True, slots=True)
class Connections:
    """How many connections an index has lent to threads, and how many wait to be lent."""

    lent: int
    idle: int


@runtime_checkable
class Connects(Protocol):
    """What an index has that keeps connections to a database."""

    def connections(self) -> Connections:
        """How many there are at the moment."""
        ...


class Documents(Protocol):
    """The DICOM JSON of a resource's instances, read in one snapshot."""

    @property
    def generation(self) -> str:
        """A tag that changes with every instance added to, removed from or changed in the resource."""
        ...

    @property
    def count(self) -> int:
        """The number of instances."""
        ...

    @property
    def scattered(self) -> int:
        """The most documents of one series that are read one by one, since it has no bundle."""
        ...

    def __iter__(self) -> Iterator[tuple[bytes, str]]:
        """JSON with slots and `record.syntax_and_pixels` of each instance, in the order of `locate`."""
        ...

    def blocks(self) -> Iterator[tuple[bytes, str]]:
        """The same, several at once: JSON with slots, with commas between the instances of a block.

        A block holds instances of which `record.syntax_and_pixels` is the same. Between two blocks goes one
        comma more.
        """
        ...


@dataclass(frozen=True, slots=True)
class Bundle:
    """The documents of a series made ready as one, and the generation of the series that they are of.

    `content` is for the index to read; it is empty where they are too long to be made ready.
    """

    generation: str
    content: bytes


class Index(Protocol):
    """Rows of studies, series and instances. Every method may raise `IndexUnavailable`.

    An index is used from many threads at once, and several processes may share one. To who is confined,
    studies that are not `within` that are not there, which is decided where their rows are read or changed.
    """

    def add(
        self,
        records: Sequence[InstanceRecord],
        *,
        on_duplicate: OnDuplicate,
        within: Confinement | None = None,
    ) -> list[Outcome]:
        """Enter `records` in one transaction, durable on return; one outcome each, in order.

        A record whose key is taken is decided by its digest and `on_duplicate`; the object that lost
        (its own with SAME, KEPT and FORBIDDEN, the earlier one with REPLACED) is noted as doomed in the same
        transaction and named in the outcome. The records themselves are
        `within`: who brings them has looked at that.
        """
        ...

    def find(self, query: Query) -> Answer:
        """The page of matches that `query` asks for (PS3.18 10.6, PS3.4 C.2.2.2).

        `BadRequest` if a key can neither be matched from columns nor on the documents of a study.
        """
        ...

    def locate(self, resource: Resource, *, within: Confinement | None = None) -> list[Held]:
        """The instances of `resource` by series number, series UID, instance number, instance UID.

        Empty if there are none.
        """
        ...

    def documents(
        self, resource: Resource, *, unless: str | None = None, within: Confinement | None = None
    ) -> Documents | None:
        """The DICOM JSON of `resource`, or `None` if its generation is `unless`. May be empty."""
        ...

    def frames(self, held: Held, numbers: Sequence[int]) -> list[Extent] | None:
        """The items of the given frames of encapsulated pixel data, counted from 1, in the order asked.

        `None` if the instance has no frame table; `NotFound` for a number past its end, `Superseded` if
        the row is gone.
        """
        ...

    def remove(self, resource: Resource, *, within: Confinement | None = None) -> list[str]:
        """Forget `resource`; the keys of its objects, noted as doomed in the same transaction."""
        ...


class Census(Protocol):
    """What an operator and the sweeper ask of an index."""

    def ready(self) -> None:
        """Return if the index answers; `IndexUnavailable` if not."""
        ...

    def doomed(self, limit: int) -> list[str]:
        """Object keys whose rows are gone and whose objects are still to be deleted."""
        ...

    def clear(self, object_keys: Sequence[str]) -> None:
        """Strike deleted objects off the list of the doomed."""
        ...

    def holds(self, object_keys: Sequence[str]) -> set[str]:
        """Those of `object_keys` that a row refers to."""
        ...

    def findings(self, key: InstanceKey) -> tuple[str, ...]:
        """What was odd about an instance when it came in; `NotFound` if it is not here."""
        ...


class Inventory(Protocol):
    """What is asked of an index that is compared with the objects it is about."""

    def walk(self, after: int, limit: int) -> list[Held]:
        """The next instances, at most `limit`, whose row numbers are above `after`, in their order."""
        ...

    def struck(self, object_keys: Sequence[str]) -> set[str]:
        """Those of `object_keys` whose rows are gone and whose objects are still to be deleted."""
        ...


class Bundles(Protocol):
    """Documents of series made ready, which `Index.documents` gives where they are up to date and whole.

    They go with any instance of their series that is removed or replaced.
    """

    def read(self, series: Resource) -> Bundle | None:
        """The bundle of `series`, of whatever generation; `None` if there is none."""
        ...

    def keep(self, series: Resource, bundle: Bundle) -> bool:
        """Keep `bundle` if its generation is still that of `series`; whether it is kept."""
        ...

    def unready(self, resource: Resource) -> list[Resource]:
        """The series of `resource` that are worth a bundle and have none that is up to date and whole."""
        ...

    def fold(self, resource: Resource) -> int:
        """Make the bundles that series of `resource` lack and are worth; how many were made.

        Writers go on meanwhile: a series that changes gets none.
        """
        ...


class FullIndex(Index, Census, Inventory, Bundles, Protocol):
    """What every index of ours is."""

    def close(self) -> None:
        """Let go of everything; no method is called afterwards."""
        ...
