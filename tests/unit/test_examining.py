"""An object of which only the header and the heads of its fragments are read, and one that is read whole."""

import itertools
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from service.archive.records import record_of
from service.archive.scanning import examine, in_order
from service.dicom.errors import ArchiveError
from service.store.memory import MemoryStore

LIMIT = 32 << 20


def told(store: MemoryStore, key: str, *, trusting: bool) -> object:
    """The row of an object, or why it has none."""
    try:
        found = examine(store, key, header_limit=LIMIT, trusting=trusting, worth=1)
    except ArchiveError as error:
        return type(error), str(error)
    record = record_of(found.scanned, found.size, key, digest=bytes(32))
    frames = None if record.frames is None else list(record.frames.offsets)
    return record.key, record.json, record.shape, record.pixels, frames, record.findings, record.data_offset


def test_of_every_real_file_the_same_is_found_with_and_without_its_pixels(real_data, manifest):
    store = MemoryStore()
    differing = []
    for row in manifest:
        store.keep("x", (real_data / row["path"]).read_bytes(), bytes(32))
        if told(store, "x", trusting=True) != told(store, "x", trusting=False):
            differing.append(row["path"])
    assert differing == []


def test_results_come_in_order_and_not_all_at_once():
    begun = itertools.count()
    most = 0
    lock = threading.Lock()

    def work(number: int) -> int:
        with lock:
            next(begun)
        return number

    def items():
        nonlocal most
        for number in range(50):
            most = max(most, number - taken)
            yield number

    taken = 0
    with ThreadPoolExecutor(3) as executor:
        for number in in_order(executor, work, items(), ahead=6):
            assert number == taken
            taken += 1
    assert taken == next(begun) == 50
    assert most <= 6


def test_a_failure_is_raised_at_its_place_and_ends_what_waits():
    def work(number: int) -> int:
        if number == 3:
            raise ValueError("three")
        return number

    seen: list[int] = []
    with ThreadPoolExecutor(2) as executor, pytest.raises(ValueError, match="three"):
        seen.extend(in_order(executor, work, range(100), ahead=4))
    assert seen == [0, 1, 2]
