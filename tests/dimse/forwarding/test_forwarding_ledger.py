"""What was promised and what was given up: the same after a restart, whatever else happened then."""

import asyncio
import time
from pathlib import Path
from typing import Any

from bridge.forwarding.entry import Entry, Route
from bridge.forwarding.ledger import Ledger
from bridge.forwarding.settings import ForwardingSettings

TARGET = "workstation"


def a_ledger(folder: Path, **given: Any) -> Ledger:
    return Ledger(folder, [TARGET], ForwardingSettings(gather_s=0.0, **given))


async def a_failed_one(ledger: Ledger) -> Entry:
    """An entry that was promised, and set aside for good."""
    entry = Entry(ledger.new_number(), "1.1", "1.2", "1.3", time.time(), Route(TARGET))
    await ledger.enter([entry])
    batch = ledger.queues[TARGET].take(time.time(), 10)
    assert batch is not None
    ledger.begin(batch.entries)
    ledger.queues[TARGET].give_back(batch, [], 0.0)
    ledger.fail(entry, "refused")
    return entry


async def left(folder: Path) -> tuple[int, int]:
    """How many wait and how many have failed, for a program that is started anew."""
    ledger = a_ledger(folder)
    await ledger.load()
    told = len(ledger.queues[TARGET]), len(ledger.failed)
    await ledger.close()
    return told


def test_what_is_retried_twice_at_a_time_is_promised_once_and_kept(tmp_path):
    async def work() -> tuple[list[int], int, tuple[int, int]]:
        ledger = a_ledger(tmp_path)
        await ledger.load()
        entry = await a_failed_one(ledger)
        taken = await asyncio.gather(ledger.retry([entry]), ledger.retry([entry]))
        waiting = len(ledger.queues[TARGET])
        await ledger.close()
        return list(taken), waiting, await left(tmp_path)

    assert asyncio.run(work()) == ([1, 0], 1, (1, 0))


def test_what_is_given_up_while_the_journal_is_compacted_stays_so(tmp_path):
    async def work() -> tuple[int, int]:
        ledger = a_ledger(tmp_path, segment_bytes=1)  # each flush compacts it
        await ledger.load()
        entry = await a_failed_one(ledger)
        await ledger.close()
        again = a_ledger(tmp_path, segment_bytes=1)
        await again.load()
        await again.forget([again.failed_one(entry.name)])
        await again.close()
        return await left(tmp_path)

    assert asyncio.run(work()) == (0, 0)


def test_what_came_by_a_clock_that_was_fast_is_sent_all_the_same(tmp_path):
    async def work() -> bool:
        ledger = a_ledger(tmp_path)
        await ledger.load()
        tomorrow = time.time() + 86400
        await ledger.enter([Entry(ledger.new_number(), "1.1", "1.2", "1.3", tomorrow, Route(TARGET))])
        await ledger.close()
        again = a_ledger(tmp_path)
        await again.load()
        batch = again.queues[TARGET].take(time.time(), 10)
        await again.close()
        return batch is not None

    assert asyncio.run(work())
