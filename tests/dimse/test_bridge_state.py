"""The state folder: records that outlast a crash, in a folder that one bridge has at a time."""

import asyncio
import json
import logging
from pathlib import Path

import pytest

from bridge.commitment.transactions import Transaction
from bridge.state import ShelfFull, StateFolder, StateUnavailable
from service.environment import SettingError


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "state"


def test_records_are_there_after_a_restart(folder: Path):
    async def before() -> None:
        state = StateFolder.open(folder)
        shelf = state.shelf("things", most=10)
        assert await shelf.load() == {}
        await shelf.put("a", {"n": 1})
        await shelf.put("b", {"n": 2})
        await shelf.put("a", {"n": 3})
        await shelf.remove("b")
        await shelf.remove("b")
        await state.close()

    async def after() -> dict[str, dict[str, int]]:
        state = StateFolder.open(folder)
        found = await state.shelf("things", most=10).load()
        await state.close()
        return found

    asyncio.run(before())

    assert asyncio.run(after()) == {"a": {"n": 3}}


def test_nobody_else_on_the_machine_can_read_a_record(folder: Path):
    async def keep() -> None:
        state = StateFolder.open(folder)
        shelf = state.shelf("things", most=1)
        await shelf.load()
        await shelf.put("a", {"00100010": {"vr": "PN"}})
        await state.close()

    asyncio.run(keep())

    assert (folder / "things" / "a.json").stat().st_mode & 0o077 == 0


def test_a_shelf_holds_no_more_than_it_may(folder: Path):
    async def fill() -> None:
        state = StateFolder.open(folder)
        shelf = state.shelf("things", most=2)
        await shelf.load()
        await shelf.put("a", {})
        await shelf.put("b", {})
        with pytest.raises(ShelfFull):
            await shelf.put("c", {})
        await shelf.put("b", {"again": True})
        await shelf.remove("a")
        await shelf.put("c", {})
        await state.close()

    asyncio.run(fill())


@pytest.mark.parametrize("content", [b"", b"{", b"[1]", b"\xff\xfe", b"null"])
def test_a_damaged_record_is_set_aside(folder: Path, content: bytes, caplog: pytest.LogCaptureFixture):
    shelf_folder = folder / "things"
    shelf_folder.mkdir(parents=True)
    (shelf_folder / "bad.json").write_bytes(content)
    (shelf_folder / "good.json").write_bytes(b'{"n": 1}')
    (shelf_folder / "half.json.part").write_bytes(b'{"n"')
    (shelf_folder / "README").write_bytes(b"what somebody else put here")

    async def load() -> dict[str, dict[str, int]]:
        state = StateFolder.open(folder)
        found = await state.shelf("things", most=10).load()
        await state.close()
        return found

    assert asyncio.run(load()) == {"good": {"n": 1}}
    assert (shelf_folder / "bad.json.damaged").read_bytes() == content
    assert {path.name for path in shelf_folder.iterdir()} == {"README", "good.json", "bad.json.damaged"}
    told = [record for record in caplog.records if record.name.startswith("isthmus")]
    assert [record.levelno for record in told] == [logging.ERROR]
    assert "things/bad.json" in caplog.text


def test_a_disk_that_takes_nothing_is_an_error_of_ours(folder: Path):
    async def put() -> None:
        state = StateFolder.open(folder)
        shelf = state.shelf("things", most=1)
        await shelf.load()
        (folder / "things").rmdir()
        with pytest.raises(StateUnavailable):
            await shelf.put("a", {})
        with pytest.raises(StateUnavailable):
            await shelf.put("b", {})  # the first has not taken its place
        await state.close()

    asyncio.run(put())


def test_one_folder_is_for_one_bridge(folder: Path):
    async def open_twice() -> None:
        state = StateFolder.open(folder)
        with pytest.raises(SettingError, match="ISTHMUS_BRIDGE_STATE: another bridge"):
            StateFolder.open(folder)
        await state.close()
        await StateFolder.open(folder).close()

    asyncio.run(open_twice())


GOOD = {
    "format": 1,
    "transaction": "1.2.3",
    "references": [["1.2", "1.2.4"]],
    "calling": "A",
    "called": "B",
    "host": "127.0.0.1",
    "received_at": 1.5,
}


@pytest.mark.parametrize(
    "changed",
    [
        {"format": 2},
        {"transaction": "x"},
        {"references": [["1.2"]]},
        {"references": 7},
        {"references": [["1.2", "y"]]},
        {"calling": ""},
        {"called": "B" * 17},
        {"called": "Ä"},
        {"received_at": "soon"},
        {"received_at": None},
        {"host": ...},
    ],
)
def test_a_record_that_is_no_transaction_is_refused(changed: dict[str, object]):
    record = {name: value for name, value in {**GOOD, **changed}.items() if value is not ...}

    with pytest.raises(ValueError, match="no record"):
        Transaction.of(record)


def test_a_transaction_is_its_record(folder: Path):
    assert Transaction.of(json.loads(json.dumps(GOOD))).record() == GOOD
