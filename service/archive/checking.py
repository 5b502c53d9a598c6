"""Rows against objects and objects against rows: what is wrong, in words, one instance at a time."""

import itertools
from collections.abc import Iterator, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass

from service.archive.adopted import Adopted
from service.archive.keys import OBJECT_KEY, OBJECTS, is_of
from service.archive.records import record_of
from service.archive.reindexing import Pace
from service.archive.scanning import Examined, Readable, examine, in_order
from service.dicom.errors import ArchiveError, NotFound, ObjectMissing, StoreUnavailable
from service.dicom.frames import FrameTable
from service.dicom.record import Held, InstanceRecord
from service.dicom.resource import Resource
from service.index.port import FullIndex
from service.store.port import ObjectStore

_PAGE = 500
_FRAMES = 5_000  # of which the places are asked for at once
_SETTLED_AFTER_S = 3600.0  # an object that is younger may have its row on the way
_COMPARED = {
    "key": "UIDs",
    "sop_class": "SOP class",
    "syntax": "transfer syntax",
    "shape": "image pixel attributes",
    "pixels": "place of the pixel data",
    "data_offset": "place of the data set",
    "head_fits": "file meta information",
}


@dataclass(frozen=True, slots=True)
class Checked:
    """One instance, or object without one: `wrong` is empty where all is well."""

    subject: str
    wrong: tuple[str, ...] = ()


class Checking:
    """One run over the rows of an index and the objects of a store; nothing is changed."""

    def __init__(
        self,
        store: ObjectStore,
        index: FullIndex,
        readers: Executor,
        *,
        pace: Pace,
        adopted: Adopted,
        quick: bool = False,
    ) -> None:
        """If `quick`, objects are not read: that they are there, their sizes and kept digests must do."""
        self._store = store
        self._index = index
        self._readers = readers
        self._pace = pace
        self._quick = quick
        self._adopted = adopted

    def rows(self) -> Iterator[Checked]:
        """Each instance, its object compared with what its row says.

        May raise `IndexUnavailable`; an object that cannot be read is something wrong.
        """
        return in_order(self._readers, self._check, self._walk(), ahead=2 * self._pace.threads)

    def objects(self) -> Iterator[Checked]:
        """Each object that is named as objects are here, and whether a row names it.

        Those that are younger than an hour may still get theirs. May raise `IndexUnavailable`,
        `StoreUnavailable`.
        """
        old = (
            key
            for key, age_s in self._store.keys(OBJECTS)
            if age_s > _SETTLED_AFTER_S and OBJECT_KEY.fullmatch(key)
        )
        for batch in itertools.batched(old, _PAGE):
            held = self._index.holds(batch)
            rest = [key for key in batch if key not in held]
            struck = self._index.struck(rest)
            yield from (Checked(key) for key in batch if key in held)
            yield from (self._without_row(key, key in struck) for key in rest)

    def _walk(self) -> Iterator[Held]:
        after = 0
        while page := self._index.walk(after, _PAGE):
            yield from page
            after = page[-1].row

    def _without_row(self, key: str, struck: bool) -> Checked:
        # It may have been deleted, or got its row, since it was listed.
        if self._index.holds([key]) or not self._is_there(key):
            return Checked(key)
        said = "its instance was deleted; a sweep deletes it too" if struck else "no row names this object"
        return Checked(key, (said,))

    def _is_there(self, key: str) -> bool:
        try:
            self._store.opening(key, 1)
        except ObjectMissing:
            return False
        return True

    # -- one row ----------------------------------------------------------------------------------

    def _check(self, held: Held) -> Checked:
        """What is wrong with an instance; called by the readers."""
        wrong = self._compare(held)
        # Found to be wrong, it may be gone by now.
        if wrong and held.row not in [other.row for other in self._located(held)]:
            wrong = ()
        return Checked(held.key.path, wrong)

    def _located(self, held: Held) -> Sequence[Held]:
        return self._index.locate(Resource(held.key.study, held.key.series, held.key.instance))

    def _compare(self, held: Held) -> tuple[str, ...]:
        source: Readable = self._adopted if held.place else self._store
        if not held.place and not is_of(held.object_key, held.key):
            return (f"the row names an object of another instance, {held.object_key}",)
        try:
            opening = source.opening(held.object_key, 1)
            if opening.size != held.size:
                return (f"the object has {opening.size} bytes, the row says {held.size}",)
            if opening.digest not in (None, held.digest):
                return ("the digest that is kept with the object is another one than the row's",)
            if self._quick:
                return ()
            found = examine(source, held.object_key, header_limit=self._pace.header_limit, trusting=False)
            return tuple(self._differences(held, found))
        except ObjectMissing:
            return ("the object is missing",)
        except NotFound as error:
            return (str(error),)
        except StoreUnavailable as error:
            return (f"the object cannot be read: {error}",)
        except ArchiveError as error:
            return (f"the object is damaged: {error}",)

    def _differences(self, held: Held, found: Examined) -> Iterator[str]:
        if found.digest != held.digest:
            yield "the digest of the object is another one than the row's: its bytes were changed"
            return
        record = record_of(found.scanned, found.size, held.object_key, digest=found.digest)
        differing = [said for name, said in _COMPARED.items() if getattr(held, name) != getattr(record, name)]
        if differing:
            yield f"the row differs from the object: {', '.join(differing)}"
        elif not self._has_frames(held, record):
            yield "the row differs from the object: places of the frames"

    def _has_frames(self, held: Held, record: InstanceRecord) -> bool:
        """Whether the row tells the places of the frames that the object has."""
        table = record.frames or FrameTable((0,))
        try:
            if self._index.frames(held, []) is None:
                return record.frames is None
            return record.frames is not None and all(
                self._index.frames(held, numbers) == [table.extent(number) for number in numbers]
                for numbers in itertools.batched(range(1, len(table) + 1), _FRAMES)
            )
        except NotFound:  # the row has fewer, or is gone
            return False
