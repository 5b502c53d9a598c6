"""Worklist items that are sent by HTTP: kept in the state folder, told from memory.

One record holds the whole list. What changes of it item by item is kept beside it, in a record for each that
names the list it changes; a list written anew makes an end of all of these in one step.
"""

import hashlib
import logging
import re
from collections.abc import AsyncGenerator, Mapping, Sequence
from typing import Any

import orjson

from bridge.changes import Changes
from bridge.state import Shelf, ShelfFull, StateUnavailable
from bridge.worklist.item import Step, step_from, steps_of_json
from bridge.worklist.settings import WorklistSettings
from bridge.worklist.sources import BATCH, Days
from service.dicom.errors import ArchiveError, BadRequest, Busy, NotFound, StoreUnavailable, TooMany
from service.dicom.worklist import lacking

log = logging.getLogger("isthmus.worklist")

_FORMAT = 1
_LIST = "list"
_ID = re.compile(r"[A-Za-z0-9._-]{1,64}")


def named(document: Any) -> tuple[str, Step]:
    """An item of a list that is sent as a whole, and its id: made of its study and its step."""
    step = pushed_step(document)
    key = f"{step.study}\0{step.step_id}"
    return hashlib.sha256(key.encode()).hexdigest()[:16], step


def pushed_step(document: Any) -> Step:
    """The step of an item in DICOM JSON; `BadRequest` says what is wrong with it, or lacks."""
    steps = steps_of_json(document)
    if len(steps) != 1:
        raise BadRequest("An item has one item in its Scheduled Procedure Step Sequence.")
    absent = lacking(steps[0].dataset())
    if absent:
        raise BadRequest(f"A worklist item must have a value of {', '.join(absent)} (PS3.4 Table K.6-1).")
    return steps[0]


def require_id(text: str) -> str:
    """`text` if it may name an item, else `BadRequest`."""
    if _ID.fullmatch(text) is None:
        raise BadRequest("The id of an item is 1 to 64 letters, digits, dots, hyphens and underscores.")
    return text


class Pushed:
    """The items by their ids; they outlast the program in `shelf`."""

    at_hand = True

    def __init__(self, shelf: Shelf, settings: WorklistSettings) -> None:
        self._shelf = shelf
        self._settings = settings
        self._items: dict[str, Step] = {}
        self._changed: set[str] = set()  # names of records beside that of the list
        self._generation = 0
        self._changes = Changes()

    @staticmethod
    def records(settings: WorklistSettings) -> int:
        """How many records the shelf needs room for."""
        return 2 * settings.changes + 1

    async def start(self) -> None:
        """Read what was kept. Raises `StateUnavailable`."""
        records = await self._shelf.load()
        whole = records.pop(_LIST, None)
        if whole is not None:
            try:
                self._generation, self._items = _read_list(whole)
            except (ArchiveError, KeyError, TypeError, ValueError):
                await self._shelf.set_aside(_LIST)
        # Changes of a later list than there is: that one is damaged, but they are not.
        self._generation = max([self._generation, *map(_generation, records.values())])
        for name, record in records.items():
            await self._apply(name, record)

    async def _apply(self, name: str, record: Mapping[str, Any]) -> None:
        try:
            generation, identity, step = _read_change(record)
        except (ArchiveError, KeyError, TypeError, ValueError):
            await self._shelf.set_aside(name)
            return
        if generation != self._generation:
            await self._shelf.remove(name)
            return
        self._changed.add(name)
        self._note(identity, step)

    def find(self, identity: str) -> Step:
        """An item by its id; `NotFound`."""
        step = self._items.get(identity)
        if step is None:
            raise NotFound("There is no worklist item of this id.")
        return step

    def all(self) -> Sequence[tuple[str, Step]]:
        """All items with their ids."""
        return list(self._items.items())

    async def replace(self, items: Sequence[tuple[str, Step]]) -> None:
        """Make `items` the whole list, durably. `BadRequest`, `TooMany`, `Busy` or `StoreUnavailable`."""
        found = dict(items)
        if len(found) != len(items):
            raise BadRequest("Two items are the same Scheduled Procedure Step ID of the same study.")
        self._require_room(found)
        if found != self._items:
            await self._changes.make(self._write(found))

    async def put(self, identity: str, step: Step) -> bool:
        """Add or replace an item, durably; whether it is there anew. Raises what `replace` does."""
        added = identity not in self._items
        if self._items.get(identity) != step:
            self._require_room(_with(self._items, identity, step))
            await self._changes.make(self._change(identity, step))
        return added

    async def remove(self, identity: str) -> None:
        """Forget an item, durably; `NotFound` if there is none. Raises what `replace` does."""
        self.find(identity)
        await self._changes.make(self._change(identity, None))

    async def steps(self, days: Days) -> AsyncGenerator[Sequence[Step]]:
        """The steps, as a `Source`."""
        found = [step for step in self._items.values() if step.may_be_within(days)]
        for begin in range(0, len(found), BATCH):
            yield found[begin : begin + BATCH]

    async def close(self) -> None:
        """Wait for the changes that are being made."""
        await self._changes.end()

    def _require_room(self, items: Mapping[str, Step]) -> None:
        if len(items) > self._settings.items:
            raise TooMany(f"The worklist may have {self._settings.items} items.")
        if sum(len(step.document) for step in items.values()) > self._settings.held_bytes:
            raise TooMany(f"The items of the worklist may have {self._settings.held_bytes} bytes together.")

    def _note(self, identity: str, step: Step | None) -> None:
        if step is None:
            self._items.pop(identity, None)
        else:
            self._items[identity] = step

    async def _change(self, identity: str, step: Step | None) -> None:
        """Keep one change beside the list, or with those before it in a list written anew."""
        name = hashlib.sha256(identity.encode()).hexdigest()[:32]
        if name not in self._changed and len(self._changed) >= self._settings.changes:
            await self._write(_with(self._items, identity, step))
            return
        document = None if step is None else step.document.decode()
        record = {"format": _FORMAT, "generation": self._generation, "id": identity, "item": document}
        await self._kept(name, record)
        self._changed.add(name)
        self._note(identity, step)

    async def _write(self, items: dict[str, Step]) -> None:
        """Keep `items` as the list, whatever changes there are of the one before."""
        written = {identity: step.document.decode() for identity, step in items.items()}
        await self._kept(_LIST, {"format": _FORMAT, "generation": self._generation + 1, "items": written})
        self._generation += 1
        self._items = items
        void, self._changed = self._changed, set()
        for name in void:  # they mean nothing already
            try:
                await self._shelf.remove(name)
            except StateUnavailable as error:
                log.error("worklist record=%s not removed: %s", name, error)

    async def _kept(self, name: str, record: Mapping[str, Any]) -> None:
        try:
            await self._shelf.put(name, record)
        except ShelfFull:
            raise Busy("Too much of the worklist is being changed; try again shortly.") from None
        except StateUnavailable as error:
            log.error("worklist not kept: %s", error)
            raise StoreUnavailable("The disk does not take the worklist (ISTHMUS_BRIDGE_STATE).") from error


def _with(items: Mapping[str, Step], identity: str, step: Step | None) -> dict[str, Step]:
    """`items` with one of them changed."""
    changed = {**items} if step is None else {**items, identity: step}
    if step is None:
        changed.pop(identity, None)
    return changed


def _read_list(record: Mapping[str, Any]) -> tuple[int, dict[str, Step]]:
    """Generation and items of the record of a list; raises if it is none."""
    if record["format"] != _FORMAT:
        raise ValueError("no record of a worklist")
    items = {require_id(identity): _kept_step(text) for identity, text in record["items"].items()}
    return int(record["generation"]), items


def _read_change(record: Mapping[str, Any]) -> tuple[int, str, Step | None]:
    """Generation, id and item of the record of a change; raises if it is none."""
    if record["format"] != _FORMAT:
        raise ValueError("no record of a worklist")
    text = record["item"]
    return int(record["generation"]), require_id(record["id"]), None if text is None else _kept_step(text)


def _generation(record: Mapping[str, Any]) -> int:
    """The generation of the list that a record changes, 0 if it tells none."""
    found = record.get("generation")
    return found if isinstance(found, int) else 0


def _kept_step(text: str) -> Step:
    return step_from(orjson.loads(text))
