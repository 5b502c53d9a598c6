"""The way to one target, with a courier that says what becomes of what it carries."""

import asyncio
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from bridge.forwarding.entry import Entry, Route
from bridge.forwarding.lanes import Lane
from bridge.forwarding.ledger import Ledger
from bridge.forwarding.outcomes import Outcomes
from bridge.forwarding.settings import ForwardingSettings
from service.dicom.resource import InstanceKey
from tests.dimse.dimse_peers import PATIENCE_S

TARGET = "workstation"


class Archive:
    """An archive that gets what the spool holds while the courier asks for it, and a courier from there."""

    def __init__(self) -> None:
        self.spooled = {"1.3.1"}
        self.held: set[str] = set()
        self.taken = asyncio.Event()

    def awaits(self, instance: str) -> bool:
        return instance in self.spooled

    async def carry(
        self,
        keys: Sequence[InstanceKey],
        outcomes: Outcomes,
        *,
        transcode: str | None,
        stopped: Callable[[], bool],
    ) -> None:
        for key in keys:
            if key.instance in self.held:
                outcomes.taken.add(key)
                self.taken.set()
            else:
                outcomes.missing.add(key)
        self.held |= self.spooled
        self.spooled.clear()

    async def close(self) -> None:
        pass


def test_what_the_spool_delivers_while_the_archive_is_asked_for_it_is_not_missing(tmp_path: Path):
    async def work() -> int:
        settings = ForwardingSettings(gather_s=0.0, missing_tries=1, retry_delay_s=0.01, retry_pause_s=0.01)
        archive, ledger = Archive(), Ledger(tmp_path, [TARGET], settings)
        await ledger.load()
        lane = Lane(TARGET, archive, ledger, settings, archive.awaits)
        await ledger.enter([Entry(ledger.new_number(), "1.1", "1.2", "1.3.1", time.time(), Route(TARGET))])
        lane.start()
        async with asyncio.timeout(PATIENCE_S):
            await archive.taken.wait()
        await lane.stop()
        await ledger.close()
        return len(ledger.failed)

    assert asyncio.run(work()) == 0
