"""All performed procedure steps: made and changed durably (PS3.4 F.7.2), told, forgotten when old."""

import hashlib
import logging
import time
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from typing import Any, Protocol

import orjson

from bridge.changes import Changes
from bridge.forwarding.rules import Caller, Rule
from bridge.mpps.settings import MppsSettings
from bridge.mpps.step import CREATE, SET, Delivery, PerformedStep, StepMessage, scheduled_of
from bridge.state import Shelf, ShelfFull, StateUnavailable
from bridge.worklist.item import Step
from service.dicom import performed
from service.dicom.errors import ArchiveError, Busy, Duplicate, NotFound, StoreUnavailable

log = logging.getLogger("isthmus.mpps")

_STATION_NAME, _PERFORMED_STATION_NAME = "00081010", "00400242"


class NoLongerUpdated(ArchiveError):
    """The step is completed or discontinued (PS3.4 F.7.2.2.3)."""


class Forwards(Protocol):
    """Who passes messages on."""

    def due(self, step: PerformedStep) -> None:
        """A step has a message that waits for a peer."""
        ...


class PerformedSteps:
    """The steps by their SOP Instance UIDs; they outlast the program in `shelf`."""

    def __init__(self, settings: MppsSettings, shelf: Shelf, rules: Sequence[Rule] = ()) -> None:
        """`rules` say which steps are passed on, and where to; of these, those on MPPS count."""
        self._settings = settings
        self._shelf = shelf
        self._rules = [rule for rule in rules if rule.on == "mpps"]
        self._steps: dict[str, PerformedStep] = {}
        self._scheduled: defaultdict[tuple[str, str], set[str]] = defaultdict(set)
        self._held_bytes = 0
        self._changes = Changes()
        self.forwards: Forwards | None = None

    async def start(self) -> None:
        """Read what was kept. Raises `StateUnavailable`."""
        for name, record in (await self._shelf.load()).items():
            try:
                self._note(PerformedStep.of(record))
            except ValueError:
                await self._shelf.set_aside(name)
        await self._changes.make(self._forget_old())

    async def stop(self) -> None:
        """Wait for what is being kept."""
        await self._changes.end()

    def find(self, instance: str) -> PerformedStep:
        """A step; `NotFound`."""
        step = self._steps.get(instance)
        if step is None:
            raise NotFound("There is no performed procedure step of this UID.")
        return step

    def all(self) -> list[PerformedStep]:
        """All steps, the one that changed last first."""
        return sorted(self._steps.values(), key=lambda each: (each.changed_at, each.instance), reverse=True)

    def performed(self, step: Step) -> str | None:
        """The status of what is performed for a scheduled step: IN PROGRESS if anything of it is."""
        if not step.step_id:
            return None
        instances = {
            instance
            for key in ((step.study, step.step_id), (f" {step.accession}", step.step_id))
            if key[0].strip()
            for instance in self._scheduled.get(key, ())
        }
        found = {self._steps[each].status for each in instances}
        order = (performed.IN_PROGRESS, performed.COMPLETED, performed.DISCONTINUED)
        return next((status for status in order if status in found), None)

    async def create(
        self, instance: str, attributes: Mapping[str, Any], caller: Caller, host: str, charset: str
    ) -> None:
        """Keep a step that was created.

        Raises `Duplicate` if there is one of this UID, `Busy` if there are too many, `StoreUnavailable`.
        """
        at = time.time()
        document = orjson.dumps(attributes)
        status = performed.status_of(attributes)
        step = PerformedStep(instance, status, document, caller.calling, caller.called, host, at, at, charset)
        targets = self._targets(attributes, caller)
        step = replace(step, deliveries={name: Delivery() for name in targets})
        message = StepMessage(CREATE, document, charset, at)
        await self._changes.make(self._create(step.told(message, most=self._settings.messages)))

    async def change(
        self, instance: str, change: Mapping[str, Any], caller: Caller, charset: str, *, strict: bool
    ) -> list[str]:
        """Change a step; the tags of what was not changed, since it may not be.

        Raises `NotFound`, `NoLongerUpdated`, what the attributes are refused for, and what `create` does.
        """
        return await self._changes.make(self._change(instance, change, caller, charset, strict))

    async def note_delivery(
        self, instance: str, peer: str, message: StepMessage, *, failed: str = ""
    ) -> None:
        """Keep what became of the next message for a peer: it was taken, or `failed` says why it ends there.

        Nothing changes if another one is next by then, as one that was added to it. `StoreUnavailable`.
        """
        await self._changes.make(self._note_delivery(instance, peer, message, failed))

    async def try_again(self, instance: str) -> PerformedStep:
        """Pass on what was given up; the step. `NotFound`, `StoreUnavailable`."""
        return await self._changes.make(self._try_again(instance))

    # One at a time.

    async def _create(self, step: PerformedStep) -> None:
        if step.instance in self._steps:
            raise Duplicate("There is a performed procedure step of this UID.")
        await self._make_room(step.size_bytes)
        await self._keep(step)
        log.info("mpps=%s created calling=%r forward=%d", step.instance, step.calling, len(step.deliveries))

    async def _change(
        self, instance: str, change: Mapping[str, Any], caller: Caller, charset: str, strict: bool
    ) -> list[str]:
        step = self.find(instance)
        if step.status in performed.FINAL:
            raise NoLongerUpdated("Performed Procedure Step Object may no longer be updated")
        before = step.attributes()
        after, settled = performed.changed(before, change)
        performed.check_change(change, after, strict=strict)
        if after == before:
            return settled
        at = time.time()
        new = replace(
            step,
            status=performed.status_of(after),
            document=orjson.dumps(after),
            changed_at=at,
            charset=charset or step.charset,
        )
        sent = {tag: value for tag, value in change.items() if tag not in settled}
        new = new.told(StepMessage(SET, orjson.dumps(sent), charset, at), most=self._settings.messages)
        if caller.peer in new.deliveries:  # it has just told us
            new = _not_to(caller.peer, new, step)
        await self._make_room(new.size_bytes - step.size_bytes, but=instance)
        await self._keep(new)
        log.info("mpps=%s changed status=%r", instance, new.status)
        return settled

    async def _note_delivery(self, instance: str, peer: str, message: StepMessage, failed: str) -> None:
        step = self._steps.get(instance)
        state = step.deliveries.get(peer) if step is not None else None
        if step is None or state is None or not step.owed(peer) or step.messages[state.sent] is not message:
            return
        # Counted from what is kept: while the peer was asked, others may have done with messages before it.
        delivery = Delivery(state.sent, failed) if failed else Delivery(state.sent + 1)
        await self._keep(step.delivered(peer, delivery), notify=False)

    async def _try_again(self, instance: str) -> PerformedStep:
        step = self.find(instance)
        deliveries = {peer: replace(each, failed="") for peer, each in step.deliveries.items()}
        if deliveries != step.deliveries:
            at = time.time()
            messages = tuple(replace(message, at=at) for message in step.messages)
            await self._keep(replace(step, deliveries=deliveries, messages=messages))
        return self._steps[instance]

    async def _keep(self, step: PerformedStep, *, notify: bool = True) -> None:
        try:
            await self._shelf.put(_named(step.instance), step.record())
        except ShelfFull:
            raise Busy("There are too many performed procedure steps.") from None
        except StateUnavailable as error:
            log.error("mpps=%s not kept: %s", step.instance, error)
            raise StoreUnavailable("The disk does not take the performed procedure step.") from error
        self._note(step)
        if notify and step.owes and self.forwards is not None:
            self.forwards.due(step)

    async def _make_room(self, size_bytes: int, *, but: str = "") -> None:
        """Forget what is old, and beyond that the oldest that nobody needs; `Busy` if that is not enough."""
        await self._forget_old()
        needed = len(self._steps) + (not but) - self._settings.kept
        over = self._held_bytes + size_bytes - self._settings.held_bytes
        if needed <= 0 and over <= 0:
            return
        for step in reversed(self.all()):
            if needed <= 0 and over <= 0:
                return
            if step.instance != but and _is_done(step):
                needed -= 1
                over -= step.size_bytes
                await self._forget(step)
        if needed > 0 or over > 0:
            log.error("mpps refused: too many steps are in progress, or wait to be passed on")
            raise Busy("Too many performed procedure steps are open.")

    async def _forget_old(self) -> None:
        oldest = time.time() - self._settings.kept_s
        for step in [each for each in self._steps.values() if each.changed_at < oldest]:
            if step.owes:
                log.error("mpps=%s forgotten though it was not passed on", step.instance)
            await self._forget(step)

    async def _forget(self, step: PerformedStep) -> None:
        del self._steps[step.instance]
        self._held_bytes -= step.size_bytes
        for key in _keys(step):
            self._scheduled[key].discard(step.instance)
            if not self._scheduled[key]:
                del self._scheduled[key]
        try:
            await self._shelf.remove(_named(step.instance))
        except StateUnavailable as error:
            log.error("mpps=%s not forgotten: %s", step.instance, error)

    def _note(self, step: PerformedStep) -> None:
        before = self._steps.get(step.instance)
        self._held_bytes += step.size_bytes - (0 if before is None else before.size_bytes)
        self._steps[step.instance] = step
        if before is None:  # what it is performed for does not change
            for key in _keys(step):
                self._scheduled[key].add(step.instance)

    def _targets(self, attributes: Mapping[str, Any], caller: Caller) -> dict[str, None]:
        """The peers that a step goes to; never who sent it."""
        known = {_STATION_NAME: attributes.get(_PERFORMED_STATION_NAME), **attributes}
        now = datetime.now().astimezone()
        fitting = [rule for rule in self._rules if rule.fits(caller, now, known)]
        return {name: None for rule in fitting for name in rule.to if name != caller.peer}


def _named(instance: str) -> str:
    """The name of a step's record."""
    return hashlib.sha256(instance.encode()).hexdigest()[:32]


def _keys(step: PerformedStep) -> set[tuple[str, str]]:
    """What scheduled steps are found by: study or accession number, and the step's ID."""
    found = [each for each in scheduled_of(step.attributes()) if each[2]]
    by_study = {(study, identity) for study, _, identity in found if study}
    return by_study | {(f" {accession}", identity) for _, accession, identity in found if accession}


def _is_done(step: PerformedStep) -> bool:
    return step.status in performed.FINAL and not step.owes


def _not_to(peer: str, new: PerformedStep, before: PerformedStep) -> PerformedStep:
    """`new` without its last message for a peer that needs none, since it sent it."""
    delivery = before.deliveries[peer]
    if delivery.sent == len(before.messages) and len(new.messages) > len(before.messages):
        return new.delivered(peer, replace(delivery, sent=len(new.messages)))
    return new
