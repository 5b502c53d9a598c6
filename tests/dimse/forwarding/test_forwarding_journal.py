"""The journal: many promises by one flush, nothing lost by a kill, nothing believed that is damaged."""

import asyncio
import os
from pathlib import Path

import pytest

from bridge.forwarding.journal import Journal, Record
from bridge.state import StateUnavailable


class Kept:
    """What a journal stands for: records by their number."""

    def __init__(self, folder: Path, segment_bytes: int = 1 << 20) -> None:
        self.folder = folder
        self.records: dict[int, Record] = {}
        self.segment_bytes = segment_bytes
        self.journal = self.anew()

    def anew(self) -> Journal:
        return Journal(self.folder, lambda: list(self.records.values()), segment_bytes=self.segment_bytes)

    async def put(self, number: int) -> None:
        self.records[number] = ["due", number]
        await self.journal.append(self.records[number])

    def drop(self, number: int) -> None:
        del self.records[number]
        self.journal.note(["done", number])

    async def read(self) -> set[int]:
        """What another program would read."""
        journal = self.anew()
        left: set[int] = set()
        for kind, *numbers in await journal.load():
            left = left | set(numbers) if kind == "due" else left - set(numbers)
        await journal.close()
        return left


def test_what_was_appended_is_read_again(tmp_path):
    async def work() -> set[int]:
        kept = Kept(tmp_path)
        await kept.journal.load()
        for number in range(20):
            await kept.put(number)
        kept.drop(3)
        await kept.journal.close()
        return await kept.read()

    assert asyncio.run(work()) == set(range(20)) - {3}


def test_many_that_come_together_share_a_flush(tmp_path, monkeypatch):
    flushes: list[None] = []
    flush = os.fdatasync
    monkeypatch.setattr(os, "fdatasync", lambda descriptor: flushes.append(flush(descriptor)))

    async def work() -> set[int]:
        kept = Kept(tmp_path)
        await kept.journal.load()
        await asyncio.gather(*(kept.put(number) for number in range(200)))
        await kept.journal.close()
        return await kept.read()

    assert asyncio.run(work()) == set(range(200))
    assert len(flushes) <= 5


def test_a_small_journal_holds_what_is_left_of_many_records(tmp_path):
    async def work() -> set[int]:
        kept = Kept(tmp_path, segment_bytes=2000)
        await kept.journal.load()
        for number in range(1000):
            await kept.put(number)
            if number >= 10:
                kept.drop(number - 10)
        await kept.journal.close()
        return await kept.read()

    assert asyncio.run(work()) == set(range(990, 1000))
    assert sum(path.stat().st_size for path in tmp_path.iterdir()) < 10_000


@pytest.mark.parametrize("cut", range(1, 20))
def test_a_record_that_was_cut_short_was_no_promise(tmp_path, cut):
    async def write() -> None:
        kept = Kept(tmp_path)
        await kept.journal.load()
        await kept.put(1)
        await kept.put(2)
        await kept.journal.close()

    asyncio.run(write())
    (log,) = tmp_path.iterdir()
    log.write_bytes(log.read_bytes()[:-cut])

    assert asyncio.run(Kept(tmp_path).read()) == {1}
    assert list(tmp_path.glob("*.damaged")) == []


def test_a_damaged_record_is_passed_over_and_kept_to_be_looked_at(tmp_path, caplog):
    async def write() -> None:
        kept = Kept(tmp_path)
        await kept.journal.load()
        for number in range(5):
            await kept.put(number)
        await kept.journal.close()

    asyncio.run(write())
    (log,) = tmp_path.iterdir()
    lines = log.read_bytes().splitlines(keepends=True)
    lines[2] = lines[2].replace(b"due", b"dud")
    log.write_bytes(b"".join(lines))

    assert asyncio.run(Kept(tmp_path).read()) == {0, 1, 3, 4}
    assert [path.name for path in tmp_path.glob("*.damaged")] == [log.name + ".damaged"]
    assert "damaged records=1" in caplog.text


def test_a_base_that_was_not_finished_is_not_used(tmp_path):
    async def write() -> None:
        kept = Kept(tmp_path)
        await kept.journal.load()
        await kept.put(1)
        await kept.journal.close()

    asyncio.run(write())
    (tmp_path / "000000000009.part").write_bytes(b"half of")

    assert asyncio.run(Kept(tmp_path).read()) == {1}
    assert not (tmp_path / "000000000009.part").exists()


def test_a_disk_that_fails_promises_nothing_and_is_used_again_later(tmp_path, monkeypatch):
    async def work() -> set[int]:
        kept = Kept(tmp_path)
        await kept.journal.load()
        await kept.put(1)

        def failing(descriptor: int) -> None:
            raise OSError(5, "Input/output error")

        with monkeypatch.context() as failure:
            failure.setattr(os, "fdatasync", failing)
            with pytest.raises(StateUnavailable):
                await kept.put(2)
        del kept.records[2]
        await kept.put(3)
        await kept.journal.close()
        return await kept.read()

    assert {1, 3} <= asyncio.run(work())


def test_a_damaged_end_of_a_base_costs_nothing_of_it(tmp_path, caplog):
    async def write() -> None:
        kept = Kept(tmp_path)
        await kept.journal.load()
        for number in range(5):
            await kept.put(number)
        await kept.journal.compact()
        await kept.put(5)
        await kept.journal.close()

    asyncio.run(write())
    (base,) = tmp_path.glob("*.base")
    base.write_bytes(base.read_bytes()[:-3])

    assert asyncio.run(Kept(tmp_path).read()) == set(range(6))
    assert [path.name for path in tmp_path.glob("*.damaged")] == [base.name + ".damaged"]
    assert "damaged" in caplog.text


def test_what_can_be_read_of_a_damaged_journal_counts_where_no_copy_can_be_made(tmp_path, monkeypatch):
    async def write() -> None:
        kept = Kept(tmp_path)
        await kept.journal.load()
        for number in range(3):
            await kept.put(number)
        await kept.journal.close()

    def refused(path: Path, other: Path) -> None:
        raise PermissionError(1, "Operation not permitted")

    asyncio.run(write())
    (log,) = tmp_path.iterdir()
    lines = log.read_bytes().splitlines(keepends=True)
    log.write_bytes(b"".join([b"damaged\n", *lines[1:]]))
    monkeypatch.setattr(os, "link", refused)

    assert asyncio.run(Kept(tmp_path).read()) == {1, 2}


def test_a_disk_that_stays_full_is_not_filled_with_empty_files(tmp_path, monkeypatch):
    def full(descriptor: int, content: memoryview) -> int:
        raise OSError(28, "No space left on device")

    async def work() -> int:
        kept = Kept(tmp_path)
        await kept.journal.load()
        await kept.put(1)
        with monkeypatch.context() as failure:
            failure.setattr(os, "write", full)
            for _ in range(20):
                with pytest.raises(StateUnavailable):
                    await kept.journal.append(["due", 2])
        files = len(list(tmp_path.iterdir()))
        await kept.journal.close()
        return files

    assert asyncio.run(work()) == 1
    assert asyncio.run(Kept(tmp_path).read()) == {1}
