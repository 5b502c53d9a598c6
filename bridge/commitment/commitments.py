"""Storage commitment (PS3.4 annex J): requests are kept, decided by what the archive holds, and reported."""

import asyncio
import logging
import time
from collections.abc import Sequence

from bridge import statuses
from bridge.commitment.holdings import Classes, NotSearchable, Promised, Search, classes_of
from bridge.commitment.references import CommitmentRequest
from bridge.commitment.reporting import Lane, NotTaken, context_of, send
from bridge.commitment.transactions import Transaction
from bridge.peers import Peer
from bridge.settings import BridgeSettings
from bridge.state import Shelf, ShelfFull, StateUnavailable
from bridge.upper.association import Association
from bridge.upper.messages import AssociationLost
from service.dicom.errors import ArchiveError

log = logging.getLogger("isthmus.commitment")

_SEARCHES = 4  # transactions for which the archive is asked at a time


class Commitments:
    """All open transactions; they outlast the program in `shelf`."""

    def __init__(
        self, settings: BridgeSettings, shelf: Shelf, search: Search, promised: Promised | None = None
    ) -> None:
        """What `promised` keeps is not in the archive yet, and nothing is said of it before it is."""
        self._settings = settings
        self._chosen = settings.commitment
        self._shelf = shelf
        self._search = search
        self._promised = promised
        self._open: dict[str, Transaction] = {}
        self._due: dict[Association, list[Transaction]] = {}
        self._lanes: dict[str, Lane] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._searches = asyncio.Semaphore(_SEARCHES)
        self._taking = asyncio.Lock()

    async def start(self) -> None:
        """Go on with what was open when the program ended."""
        for name, record in (await self._shelf.load()).items():
            try:
                transaction = Transaction.of(record)
            except ValueError:
                await self._shelf.set_aside(name)
                continue
            transaction.free.set()
            self._begin(name, transaction)
        if self._open:
            log.info("transactions=%d open", len(self._open))

    async def stop(self) -> None:
        """Stop working; what is open stays on disk."""
        running = [*self._tasks, *(lane.task for lane in self._lanes.values())]
        for task in running:
            task.cancel()
        if running:
            await asyncio.wait(running)

    async def take(self, request: CommitmentRequest, association: Association) -> int:
        """Take a request durably, or not; the status of the N-ACTION.

        A request sent once more, word for word, is the same; another one with the Transaction UID of one
        that is open is refused, since a report on it could be taken for that of the first.
        """
        taken = Transaction(
            request,
            association.calling,
            association.called,
            association.peer[0],
            time.time(),
            association.certificate,
        )
        async with self._taking:
            name = taken.named(self._settings.peers)
            earlier = self._open.get(name)
            if earlier is not None and earlier.request != request:
                return statuses.DUPLICATE_TRANSACTION
            if earlier is None:
                status = await self._keep(name, taken)
                if status != statuses.SUCCESS:
                    return status
            self._attach(self._open[name], association)
            return statuses.SUCCESS

    async def _keep(self, name: str, transaction: Transaction) -> int:
        chosen, peers = self._chosen, self._settings.peers
        owner = transaction.owner(peers)
        held = sum(len(each.request.references) for each in self._open.values())
        crowded = sum(each.owner(peers) == owner for each in self._open.values())
        if (
            crowded >= chosen.transactions_per_caller
            or held + len(transaction.request.references) > chosen.references
        ):
            log.warning("transaction=%s refused, too many are open", transaction.request.transaction)
            return statuses.RESOURCE_LIMITATION
        try:
            await self._shelf.put(name, transaction.record())
        except ShelfFull:
            log.warning("transaction=%s refused, too many are open", transaction.request.transaction)
            return statuses.RESOURCE_LIMITATION
        except StateUnavailable as error:
            log.error("transaction=%s not kept: %s", transaction.request.transaction, error)
            return statuses.PROCESSING_FAILURE
        self._begin(name, transaction)
        return statuses.SUCCESS

    async def follow(self, association: Association) -> None:
        """Report on the association of the requests what can be, while the peer says nothing there."""
        due = self._due.get(association)
        if not due:
            return
        peers = self._settings.peers
        known = peers.caller(association.calling, association.peer[0], association.certificate) is not None
        until = time.monotonic() + (self._chosen.outcome_s if known else self._settings.limits.idle_s)
        while due and await association.quiet(self._chosen.quiet_s):
            for transaction in [each for each in due if each.failures is not None]:
                await self._report_here(transaction, association)
            if time.monotonic() > until:
                break
        else:
            if association.is_open:
                return  # another message has come; afterwards there is another try
        self.leave(association)

    def leave(self, association: Association) -> None:
        """Wait for this association no longer; it may be over."""
        due = self._due.pop(association, [])
        for transaction in due:
            transaction.association = None
            transaction.free.set()
        due.clear()  # whoever follows has nothing to wait for

    async def _report_here(self, transaction: Transaction, association: Association) -> None:
        """One report on the peer's own association; if that fails it is for a lane."""
        context = context_of(association)
        async with transaction.reporting:
            try:
                if context is not None and not transaction.delivered:
                    await send(
                        transaction,
                        association,
                        context,
                        title=self._settings.ae_title,
                        timeout_s=self._chosen.answer_s,
                    )
                    await self.done(transaction, "same association")
            except (AssociationLost, NotTaken) as error:
                log.info("transaction=%s not taken where asked: %r", transaction.request.transaction, error)
        self._detach(transaction)

    def _attach(self, transaction: Transaction, association: Association) -> None:
        """The report is due on `association`, and no longer on the one before."""
        self._unlist(transaction)
        transaction.association = association
        transaction.free.clear()
        self._due.setdefault(association, []).append(transaction)

    def _detach(self, transaction: Transaction) -> None:
        self._unlist(transaction)
        transaction.free.set()

    def _unlist(self, transaction: Transaction) -> None:
        association, transaction.association = transaction.association, None
        if association is not None and association in self._due:
            self._due[association].remove(transaction)
            if not self._due[association]:
                del self._due[association]

    async def done(self, transaction: Transaction, where: str) -> None:
        """The report was delivered, or is given up; the transaction is forgotten."""
        transaction.delivered = True
        self._open.pop(transaction.name, None)
        try:
            await self._shelf.remove(transaction.name)
        except StateUnavailable as error:
            log.error("transaction=%s not forgotten: %s", transaction.request.transaction, error)
        log.info(
            "transaction=%s calling=%r references=%d failed=%d reported=%r seconds=%.1f",
            transaction.request.transaction,
            transaction.calling,
            len(transaction.request.references),
            len(transaction.failures or ()),
            where,
            time.time() - transaction.received_at,
        )

    def _begin(self, name: str, transaction: Transaction) -> None:
        transaction.name = name
        self._open[name] = transaction
        task = asyncio.get_running_loop().create_task(self._see_through(transaction))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _see_through(self, transaction: Transaction) -> None:
        try:
            await self._decide(transaction)
            peer = transaction.caller(self._settings.peers)
            longest_s = self._chosen.same_association_s if peer is not None else None
            try:
                async with asyncio.timeout(longest_s):
                    await transaction.free.wait()
            except TimeoutError:
                pass
            if transaction.delivered:
                return
            if peer is None:
                log.warning("transaction=%s of a caller without an address", transaction.request.transaction)
                await self.done(transaction, "nowhere, caller not in ISTHMUS_PEERS")
                return
            lane = self._lanes.get(peer.name)
            if lane is None:
                lane = Lane(peer, self._settings, self, self._lane_ended)
                self._lanes[peer.name] = lane
            lane.add(transaction)
        except Exception:
            log.exception("transaction=%s unexpected error", transaction.request.transaction)

    def _lane_ended(self, peer: Peer) -> None:
        del self._lanes[peer.name]

    async def _decide(self, transaction: Transaction) -> None:
        """Ask the archive until it can say what it holds, for a bounded time.

        What waits for the archive here is waited for as long as it takes: it was acknowledged, and is safe.
        """
        chosen = self._chosen
        instances = [each.instance for each in transaction.request.references]
        await self._gone(instances)
        until = time.monotonic() + chosen.search_s  # after a restart too: the archive may come up later
        pause_s = chosen.search_delay_s
        while True:
            try:
                async with self._searches:
                    held = await classes_of(instances, self._search)
                if await self._gone(instances):  # what was in quarantine was tried again meanwhile
                    until = time.monotonic() + chosen.search_s
                    continue
                transaction.decide(self._without_refused(held))
                return
            except ArchiveError as error:
                last = isinstance(error, NotSearchable) or time.monotonic() > until
                log.warning("transaction=%s undecided: %s", transaction.request.transaction, error)
                if last:
                    transaction.fail()
                    return
            await asyncio.sleep(pause_s)
            pause_s = min(2 * pause_s, chosen.search_pause_s)

    async def _gone(self, instances: Sequence[str]) -> bool:
        """Return when none of these waits for the archive; whether any had to be waited for."""
        promised, waited = self._promised, False
        while promised is not None and any(map(promised.awaits, instances)):
            waited = True
            for instance in instances:
                await promised.gone(instance)
        return waited

    def _without_refused(self, held: Classes) -> Classes:
        """What the archive holds, without what it has under the UIDs of others that it refused."""
        promised = self._promised
        if promised is None:
            return held
        return {instance: classes for instance, classes in held.items() if not promised.detains(instance)}
