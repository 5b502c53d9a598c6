"""Storage commitment: nothing is said of what is in the spool before the archive has it, or refuses it."""

import asyncio
from collections.abc import Callable, Coroutine, Sequence
from pathlib import Path
from typing import Any

import orjson
import pytest

from bridge import statuses
from bridge.archive.http1 import HttpAnswer
from bridge.commitment.commitments import Commitments
from bridge.commitment.holdings import Search
from bridge.commitment.references import CommitmentRequest, Reference
from bridge.commitment.transactions import Transaction
from bridge.settings import BridgeSettings, CommitmentSettings
from bridge.state import StateFolder
from tests.dimse.dimse_peers import CT_IMAGE, PATIENCE_S, Ground, a_uid
from tests.dimse.spool.conftest import StartSpooling
from tests.dimse.spool.spooling import Site, of_study


class Holding:
    """What an archive holds, as its search would tell it."""

    def __init__(self) -> None:
        self.instances: set[str] = set()
        self.asked = 0

    async def search(self, target: str) -> HttpAnswer:
        self.asked += 1
        wanted = target.partition("SOPInstanceUID=")[2].partition("&")[0].split(",")
        rows = [
            {"00080016": {"vr": "UI", "Value": [CT_IMAGE]}, "00080018": {"vr": "UI", "Value": [uid]}}
            for uid in wanted
            if uid in self.instances
        ]
        return HttpAnswer(200, {}, orjson.dumps(rows))


class Told(Commitments):
    """Commitments of which the outcomes are seen, without a peer to report to."""

    def __init__(self, *given: Any) -> None:
        super().__init__(*given)
        self.outcomes: dict[str, dict[str, int]] = {}

    async def done(self, transaction: Transaction, where: str) -> None:
        references = transaction.request.references
        failures = transaction.failures or {}
        self.outcomes[transaction.request.transaction] = {
            references[position].instance: reason for position, reason in failures.items()
        }
        await super().done(transaction, where)


def a_record(*instances: str) -> tuple[str, dict[str, Any]]:
    request = CommitmentRequest(a_uid(), tuple(Reference(CT_IMAGE, uid) for uid in instances))
    return request.transaction, Transaction(request, "ASKER", "KEEPER", "192.0.2.1", 1.0).record()


def decided(
    ground: Ground,
    folder: Path,
    spool: Any,
    holding: Holding,
    records: Sequence[dict[str, Any]],
    search: Search | None = None,
) -> tuple[Told, Callable[[], None]]:
    """Commitments that go on with `records`, and how they end."""

    async def begin() -> tuple[Told, Callable[[], Coroutine[Any, Any, None]]]:
        state = StateFolder.open(folder)
        shelf = state.shelf("commitments", most=100)
        await shelf.load()
        for number, record in enumerate(records):
            await shelf.put(f"c{number}", record)
        settings = BridgeSettings(commitment=CommitmentSettings(search_delay_s=0.01))
        told = Told(settings, shelf, search or holding.search, spool)
        await told.start()

        async def end() -> None:
            await told.stop()
            await state.close()

        return told, end

    told, end = ground.run(begin())
    return told, lambda: ground.run(end())


def wait_for(ground: Ground, reached: Callable[[], object]) -> None:
    async def wait() -> None:
        async with asyncio.timeout(PATIENCE_S):
            while not reached():
                await asyncio.sleep(0.005)

    ground.run(wait())


@pytest.fixture
def holding() -> Holding:
    return Holding()


def test_what_waits_for_the_archive_is_committed_when_it_is_there(
    start: StartSpooling, site: Site, ground: Ground, holding: Holding, tmp_path: Path
):
    # given: an instance in the spool, another one in the archive
    bridge = start()
    site.leave()
    kept, there = of_study("1.2"), a_uid()
    assert bridge.send(kept) == [0]
    holding.instances.add(there)
    waiting, about_kept = a_record(there, kept.instance)
    other, about_there = a_record(there)
    told, end = decided(ground, tmp_path / "own", bridge.spool, holding, [about_kept, about_there])
    # then: nothing is said of it, and others do not wait
    wait_for(ground, lambda: other in told.outcomes)
    assert waiting not in told.outcomes
    # when
    holding.instances.add(kept.instance)
    site.come()
    wait_for(ground, lambda: waiting in told.outcomes)
    # then
    assert told.outcomes == {waiting: {}, other: {}}
    end()


def test_what_the_archive_refused_is_not_committed_though_it_has_another_under_that_uid(
    start: StartSpooling, site: Site, ground: Ground, holding: Holding, tmp_path: Path
):
    bridge = start()
    site.leave()
    kept = of_study("1.2")
    assert bridge.send(kept) == [0]
    holding.instances.add(kept.instance)
    name, record = a_record(kept.instance)
    told, end = decided(ground, tmp_path / "own", bridge.spool, holding, [record])

    site.archive.behaviours.append(site.archive.answering(409, failure=0x0111))
    site.come()
    wait_for(ground, lambda: name in told.outcomes)

    assert told.outcomes[name] == {kept.instance: statuses.NO_SUCH_INSTANCE}
    end()


def test_what_is_tried_again_from_quarantine_while_it_is_decided_is_waited_for(
    start: StartSpooling, site: Site, ground: Ground, holding: Holding, tmp_path: Path
):
    # given: an instance in quarantine, since the archive has another under its UID
    bridge = start()
    kept = of_study("1.2")
    refusal = site.archive.answering(409, failure=0x0111)
    site.archive.behaviours += [site.archive.answering(500), refusal, refusal]
    assert bridge.send(kept) == [0]
    bridge.until(lambda: len(bridge.spool.quarantine) == 1)
    holding.instances.add(kept.instance)

    async def search(target: str) -> HttpAnswer:
        answer = await holding.search(target)
        if holding.asked == 1:
            await bridge.spool.quarantine.retry(next(iter(bridge.spool.quarantine)).id)
        return answer

    # when: it is tried again while the archive is searched for it, and refused again
    name, record = a_record(kept.instance)
    told, end = decided(ground, tmp_path / "own", bridge.spool, holding, [record], search)
    wait_for(ground, lambda: name in told.outcomes)

    # then
    assert told.outcomes[name] == {kept.instance: statuses.NO_SUCH_INSTANCE}
    end()


def test_commitments_that_wait_are_ended_with_the_program(
    start: StartSpooling, site: Site, ground: Ground, holding: Holding, tmp_path: Path
):
    bridge = start()
    site.leave()
    kept = of_study("1.2")
    assert bridge.send(kept) == [0]
    _, record = a_record(kept.instance)
    told, end = decided(ground, tmp_path / "own", bridge.spool, holding, [record])

    end()

    assert told.outcomes == {}
    assert holding.asked == 0
