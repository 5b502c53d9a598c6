"""Objects that no row names: those whose rows are gone, and what a crash left behind."""

import itertools
import logging
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from service.archive.keys import OBJECT_KEY, OBJECTS
from service.dicom.errors import IndexUnavailable, StoreUnavailable
from service.index.port import Census
from service.store.port import ObjectStore

_INCOMING = ".incoming/"
_BATCH = 500
_FEW = 20  # orphans that are deleted even where they outnumber the objects that rows name
_MOST_FAILURES = 100
_log = logging.getLogger("isthmus.archive")


@dataclass(frozen=True, slots=True)
class Swept:
    """What a sweep did, in objects.

    `doomed` had lost their rows, `orphans` never had one, `unfinished` are uploads that broke off.
    `failed` could not be deleted and wait for the next sweep. `spared` are orphans that were left alone
    because they outnumber the objects that rows name.
    """

    doomed: int = 0
    orphans: int = 0
    unfinished: int = 0
    failed: int = 0
    spared: int = 0


def drain(store: ObjectStore, index: Census, object_keys: Sequence[str]) -> int:
    """Delete objects whose rows are gone, and strike them off the list of the doomed; how many.

    What cannot be deleted now stays on the list. An object that a row names is never deleted.
    """
    deleted = 0
    for batch in itertools.batched(object_keys, _BATCH):
        gone: list[str] = []
        try:
            named = index.holds(batch)
            for object_key in batch:
                if object_key not in named:
                    store.delete(object_key)
                    gone.append(object_key)
        except (StoreUnavailable, IndexUnavailable) as error:
            _log.warning("error=%s left_to_sweep=%d", type(error).__name__, len(object_keys) - deleted)
            return deleted + _clear(index, gone)
        deleted += _clear(index, gone)
    return deleted


def sweep(store: ObjectStore, index: Census, *, older_than_s: float, even_most: bool = False) -> Swept:
    """Delete what no row names: the doomed, then orphans and unfinished uploads older than `older_than_s`.

    An object is written before its row, so the age has to be longer than the longest request. Orphans
    that outnumber the objects that rows name are a sign of a lost index, and are left alone unless
    `even_most`. May raise `StoreUnavailable`, `IndexUnavailable`.
    """
    doomed, undeletable = _drain_all(store, index)
    named, orphaned = _survey(store, index, older_than_s)
    spared = orphaned if orphaned > max(named, _FEW) and not even_most else 0
    orphans = unfinished = failed = 0
    if not spared:
        orphans, failed = _delete(store, index, _orphans(store, index, older_than_s))
    stale = (key for key, age_s in store.keys(_INCOMING) if age_s > older_than_s)
    unfinished, broken = _delete(store, index, stale)
    return Swept(doomed, orphans, unfinished, undeletable + failed + broken, spared)


def _clear(index: Census, object_keys: list[str]) -> int:
    try:
        if object_keys:
            index.clear(object_keys)
    except IndexUnavailable as error:
        # They stay on the list; deleting an absent object again is success.
        _log.warning("error=%s left_to_sweep=%d", type(error).__name__, len(object_keys))
    return len(object_keys)


def _drain_all(store: ObjectStore, index: Census) -> tuple[int, int]:
    """The number of doomed objects deleted, and of those that could not be."""
    deleted = 0
    failed: set[str] = set()
    while True:
        listed = index.doomed(_BATCH + len(failed))
        batch = [key for key in listed if key not in failed]
        if not batch:
            return deleted, len(failed)
        gone, broken = _delete_each(store, index, batch)
        index.clear(gone)
        deleted += len(gone)
        failed.update(broken)
        if len(failed) > _MOST_FAILURES:
            raise StoreUnavailable(f"{len(failed)} objects could not be deleted; the sweep ends here.")


def _survey(store: ObjectStore, index: Census, older_than_s: float) -> tuple[int, int]:
    """How many objects have a row, and how many of the old ones have none."""
    named = orphaned = 0
    for batch in itertools.batched(store.keys(OBJECTS), _BATCH):
        held = index.holds([key for key, _ in batch])
        named += len(held)
        orphaned += sum(_is_orphan(key, age_s, older_than_s) and key not in held for key, age_s in batch)
    return named, orphaned


def _orphans(store: ObjectStore, index: Census, older_than_s: float) -> Iterator[str]:
    old = (key for key, age_s in store.keys(OBJECTS) if _is_orphan(key, age_s, older_than_s))
    for batch in itertools.batched(old, _BATCH):
        held = index.holds(batch)
        yield from (key for key in batch if key not in held)


def _is_orphan(key: str, age_s: float, older_than_s: float) -> bool:
    return age_s > older_than_s and OBJECT_KEY.fullmatch(key) is not None


def _delete(store: ObjectStore, index: Census, object_keys: Iterator[str]) -> tuple[int, int]:
    deleted = failed = 0
    for batch in itertools.batched(object_keys, _BATCH):
        gone, broken = _delete_each(store, index, batch)
        deleted += len(gone)
        failed += len(broken)
        if failed > _MOST_FAILURES:
            raise StoreUnavailable(f"{failed} objects could not be deleted; the sweep ends here.")
    return deleted, failed


def _delete_each(
    store: ObjectStore, index: Census, object_keys: Sequence[str]
) -> tuple[list[str], list[str]]:
    """Delete each object unless a row names it, asked right before; what is gone, and what would not go."""
    gone: list[str] = []
    failed: list[str] = []
    for object_key in object_keys:
        if index.holds([object_key]):
            failed.append(object_key)
            continue
        try:
            store.delete(object_key)
            gone.append(object_key)
        except StoreUnavailable:
            failed.append(object_key)
    return gone, failed
