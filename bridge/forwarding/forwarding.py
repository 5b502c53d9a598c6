"""Auto-forwarding as a whole: what arrives is noticed, promised, and sent on in the background."""

import asyncio
import logging
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from bridge.archive.remote import RemoteArchive
from bridge.errands import WitnessedCourier
from bridge.forwarding.couriers import Courier, PeerCourier, ServerCourier
from bridge.forwarding.deciding import routes
from bridge.forwarding.entry import UNDECIDED, Entry, Route, moment
from bridge.forwarding.heads import Arriving, attributes_of
from bridge.forwarding.lanes import Lane
from bridge.forwarding.ledger import Ledger
from bridge.forwarding.rules import Caller, tags_of, value_of
from bridge.forwarding.undecided import Deciding
from bridge.settings import BridgeSettings
from bridge.upper.association import Association
from bridge.upper.requestor import RequestedAssociation
from service.audit.trail import Trail
from service.dicom.errors import BadRequest
from service.dicom.resource import is_uid
from service.dicom.syntaxes import Syntax
from service.exposition import Family, Sample

log = logging.getLogger("isthmus.forwarding")

_STUDY, _SERIES = 0x0020000D, 0x0020000E


@dataclass(frozen=True, slots=True)
class Noticed:
    """An arriving instance that goes somewhere, or may: not promised before it is kept."""

    study: str
    series: str
    instance: str
    came_at: float
    caller: Caller
    routes: tuple[Route, ...]
    undecided: bool


class Forwarding:
    """Sends on what arrives; used on one loop.

    Who takes an instance asks `notice` while it arrives, and has what that returns kept by `keep`, once the
    archive has taken the instance and before the sender is told so.
    """

    def __init__(
        self,
        settings: BridgeSettings,
        archive: RemoteArchive,
        folder: Path,
        *,
        awaited: Callable[[str], bool] = lambda instance: False,
        trail: Trail | None = None,
    ) -> None:
        """`awaited` says of a SOP Instance UID whether the archive has still to get what was taken of it.

        `trail` is told what was sent.
        """
        peers = settings.peers
        self._settings = settings
        self._rules = tuple(rule for rule in peers.rules if rule.on == "instance")
        self._titles = {peer.name: peer.ae_title for peer in peers}
        self._tags = tags_of(self._rules) | {_STUDY, _SERIES}
        # Also those that no rule names any more: something may wait for them.
        couriers: dict[str, Courier] = {peer.name: PeerCourier(peer, archive, settings) for peer in peers}
        couriers |= {
            server.name: ServerCourier(server, archive, settings) for server in peers.servers.values()
        }
        if trail is not None:
            addresses = {peer.name: (peer.ae_title, peer.host) for peer in peers}
            for target, courier in couriers.items():
                title, host = addresses.get(target, (target, ""))
                couriers[target] = WitnessedCourier(courier, title, host, trail)
        self._ledger = Ledger(folder, couriers, settings.forwarding)
        self._lanes = {
            target: Lane(target, courier, self._ledger, settings.forwarding, awaited)
            for target, courier in couriers.items()
        }
        self._deciding = Deciding(
            self._rules,
            self._titles,
            self._ledger,
            archive,
            settings.forwarding,
            awaited=awaited,
            decided=self._woken,
        )

    def _is_told(self, target: str, failed: int) -> bool:
        """Whether a target is told of: a server, or a peer that something goes to or may go to."""
        named = any(target in rule.to or rule.hook or target == UNDECIDED for rule in self._rules)
        passing = len(self._ledger.queues[target]) or self._ledger.delivered[target] or failed
        return bool(named or passing or target in self._settings.peers.servers)

    async def start(self) -> None:
        """Go on with what is left of an earlier run. Raises `StateUnavailable` and `SettingError`."""
        await self._deciding.load()
        left = await self._ledger.load()
        if left:
            log.info("forwarding left=%d go on", left)
        for lane in self._lanes.values():
            lane.start()
        self._deciding.start()

    async def rest(self) -> None:
        """Stop sending; what arrives is still promised, and goes on when the program is started again."""
        await asyncio.gather(self._deciding.stop(), *(lane.stop() for lane in self._lanes.values()))

    async def stop(self) -> None:
        """Stop sending, and finish what is being written."""
        await self.rest()
        await self._ledger.close()

    # What arrives.

    async def notice(
        self, association: Association, instance: str, syntax: Syntax, first: list[bytes], data: Arriving
    ) -> Noticed | None:
        """Where an arriving instance goes, `None` if nowhere; what is read of `data` is added to `first`.

        Raises `Busy` where too much waits already.
        """
        if not self._rules:
            return None
        caller, came_at = self._caller(association), time.time()
        at = datetime.fromtimestamp(came_at)
        rules = [rule for rule in self._rules if rule.may_fit(caller, at)]
        if not rules:
            return None
        most = self._settings.forwarding.head_bytes
        attributes = await attributes_of(first, data, syntax, self._tags, most_bytes=most)
        study = series = ""
        found: list[Route] = []
        undecided = True
        if attributes is not None:
            study, series = value_of(attributes, _STUDY), value_of(attributes, _SERIES)
            found, undecided = routes(rules, caller, at, attributes, self._titles)
            if not found and not undecided:
                return None
        if not (is_uid(study) and is_uid(series)):  # the archive knows what it took it for
            study, series, found, undecided = "", "", [], True
        self._ledger.require_room(len(found) + undecided)
        return Noticed(study, series, instance, came_at, caller, tuple(found), undecided)

    async def keep(self, noticed: Noticed) -> None:
        """Promise that an instance, which the archive has taken, is sent on. `StoreUnavailable`."""
        new, ledger = noticed, self._ledger
        entries = [
            Entry(ledger.new_number(), new.study, new.series, new.instance, new.came_at, route)
            for route in new.routes
        ]
        if new.undecided:
            routed = tuple(route.target for route in new.routes)
            number, nowhere = ledger.new_number(), Route(UNDECIDED)
            entries.append(
                Entry(number, new.study, new.series, new.instance, new.came_at, nowhere, new.caller, routed)
            )
        await ledger.enter(entries)
        self._woken([entry.route for entry in entries])

    def _caller(self, association: Association) -> Caller:
        """Who has sent something on an association: the peer that called, or that we have called."""
        calling, called = association.calling, association.called
        if isinstance(association, RequestedAssociation):  # for a C-GET
            calling, called = called, calling
        peer = self._settings.peers.caller(calling, association.peer[0], association.certificate)
        return Caller(calling, called, peer.name if peer is not None else "")

    def _woken(self, found: Sequence[Route]) -> None:
        for route in found:
            if route.target == UNDECIDED:
                self._deciding.wake()
            else:
                self._lanes[route.target].wake()

    # What is told of it.

    def told(self) -> list[dict[str, Any]]:
        """Each target with what waits for it and what has failed; at the end what is not decided."""
        failed = self._ledger.failed_by_target()
        names = [*(name for name in self._lanes if self._is_told(name, failed[name])), UNDECIDED]
        names += sorted(name for name in failed if name not in self._ledger.queues)
        return [self._told(name, failed[name]) for name in names]

    def failed(self, target: str | None = None) -> list[Entry]:
        """What has failed for good, of one target if it is named."""
        found = self._ledger.failed
        return found if target is None else [one for one in found if one.route.target == target]

    def failed_one(self, name: str) -> Entry:
        """A failed one by its name; `NotFound`."""
        return self._ledger.failed_one(name)

    async def retry(self, entries: Sequence[Entry]) -> int:
        """Try failed ones again, and hurry what waits; how many were taken up. `StoreUnavailable`."""
        taken = await self._ledger.retry(entries)
        for target in {entry.route.target for entry in entries}:
            if target == UNDECIDED:
                self._deciding.hurry()
            elif target in self._lanes:
                self._lanes[target].hurry()
        return taken

    async def retry_one(self, name: str) -> None:
        """Try a failed one again; `NotFound`, `BadRequest` if its target is not known any more."""
        entry = self._ledger.failed_one(name)
        if entry.route.target not in self._ledger.queues:
            raise BadRequest("Its target is not in ISTHMUS_PEERS.")
        await self.retry([entry])

    async def forget(self, entries: Sequence[Entry]) -> None:
        """Give failed ones up. `StoreUnavailable`."""
        await self._ledger.forget(entries)

    def families(self) -> list[Family]:
        """Its numbers, by target."""
        failed = self._ledger.failed_by_target()
        every = self._ledger.queues.items()
        queues = [(name, queue) for name, queue in every if self._is_told(name, failed[name])]
        waiting = [Sample(len(queue), {"target": name or "undecided"}) for name, queue in queues]
        taken = [Sample(self._ledger.delivered[name], {"target": name}) for name, _ in queues if name]
        lost = [Sample(failed[name], {"target": name or "undecided"}) for name, _ in queues]
        return [
            Family("isthmus_forwarded_total", "counter", "Instances that targets have taken.", taken),
            Family("isthmus_forwarding_waiting", "gauge", "Instances that wait to be sent on.", waiting),
            Family("isthmus_forwarding_failed", "gauge", "Instances that could not be sent on.", lost),
        ]

    def _told(self, name: str, failed: int) -> dict[str, Any]:
        queue, lane = self._ledger.queues.get(name), self._lanes.get(name)
        oldest = queue.oldest_came_at if queue is not None else None
        next_at = lane.next_at if lane is not None else (queue.next_at() if queue is not None else None)
        kinds = {True: "server", False: "peer"}
        return {
            "target": name or None,
            "kind": "undecided" if not name else kinds[name in self._settings.peers.servers],
            "known": queue is not None,
            "waiting": len(queue) if queue is not None else 0,
            "oldest": moment(oldest) if oldest is not None else None,
            "next": moment(next_at) if next_at is not None else None,
            "forwarded": self._ledger.delivered[name],
            "failed": failed,
            "error": queue.error if queue is not None else "",
        }
