"""What is found out of an object before its end changes nothing of what is entered."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import fields
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from service.archive.intake import IntakeLimits
from service.archive.objects import ObjectArchive
from service.archive.port import Outcome, Refused, Stored
from service.dicom.frames import Extent
from service.dicom.record import InstanceRecord
from service.index.memory import MemoryIndex
from service.index.port import OnDuplicate
from service.index.port import Outcome as RowOutcome
from service.store.local import LocalStore
from tests.making import a_data_set, a_file, add_pixels

_LIMITS = IntakeLimits(header_limit=64 << 20, batch_instances=100, batch_bytes=16 << 20)


def a_slice(grey: int = 7, instance: str = "2.25.7") -> bytes:
    """A CT slice that is larger than what is read of a file before its elements are looked at."""
    frame = grey.to_bytes(2, "little") * 256 * 256
    return a_file(add_pixels(a_data_set(SOPInstanceUID=instance), [frame], rows=256, columns=256))


class Noting(MemoryIndex):
    """An index that keeps what it is given."""

    def __init__(self) -> None:
        super().__init__()
        self.given: list[InstanceRecord] = []

    def add(self, records: Sequence[InstanceRecord], **rule: Any) -> list[RowOutcome]:
        self.given += records
        return super().add(records, **rule)


class Place:
    """An archive in a folder."""

    def __init__(self, folder: Path, on_duplicate: OnDuplicate = OnDuplicate.REFUSE) -> None:
        self.folder = folder
        self.store = LocalStore(folder)
        self.index = Noting()
        self.archive = ObjectArchive(self.store, self.index, limits=_LIMITS, on_duplicate=on_duplicate)

    def take(self, pieces: Sequence[bytes]) -> Outcome:
        """What becomes of an object that is prepared after each piece but the last."""
        intake = self.archive.intake()
        intake.begin()
        for place, piece in enumerate(pieces):
            if place:
                intake.prepare()
            intake.write(memoryview(piece))
        intake.end()
        (outcome,) = intake.finish()
        return outcome

    @property
    def files(self) -> list[Path]:
        return [path for path in self.folder.rglob("*") if path.is_file()]

    def kept(self) -> Iterator[list[object]]:
        """Each record with the bytes of its object; names of objects are new each time."""
        for record in self.index.given:
            told = [getattr(record, each.name) for each in fields(record) if each.name != "object_key"]
            frames = None if record.frames is None else record.frames.to_bytes()
            content = self.store.read(record.object_key, Extent(0, record.size))
            yield [frames, content, *(one for one in told if one is not record.frames)]


def in_pieces(content: bytes) -> list[bytes]:
    """Its first third, its second, all of the last but 3 bytes, and those."""
    cuts = [0, len(content) // 3, 2 * len(content) // 3, max(len(content) - 3, 0), len(content)]
    return [content[start:end] for start, end in pairwise(cuts)]


def in_one(content: bytes) -> list[bytes]:
    return [content]


def test_real_objects_get_the_rows_that_they_get_without_it(real_data: Path, tmp_path: Path):
    paths = [path for path in sorted(real_data.rglob("*")) if path.is_file()]
    contents = [path.read_bytes() for path in paths if path.stat().st_size <= 8 << 20]
    whole, prepared = Place(tmp_path / "whole"), Place(tmp_path / "prepared")

    assert [prepared.take(in_pieces(one)) for one in contents] == [whole.take([one]) for one in contents]

    assert len(whole.index.given) > 200
    for one, other in zip(prepared.kept(), whole.kept(), strict=True):
        assert one == other


@pytest.mark.parametrize("on_duplicate", list(OnDuplicate))
def test_other_content_under_the_same_uids_meets_the_same_rule(tmp_path: Path, on_duplicate: OnDuplicate):
    one, other = a_slice(1), a_slice(2)

    def became(cut: Callable[[bytes], Sequence[bytes]]) -> list[Outcome]:
        place = Place(tmp_path / cut.__name__, on_duplicate)
        return [place.take(cut(each)) for each in (one, other, one, one)]

    assert became(in_pieces) == became(in_one)


def test_what_was_absent_when_it_began_and_is_there_at_its_end_is_no_second_row(tmp_path: Path):
    place = Place(tmp_path)
    content = a_slice()
    slow = place.archive.intake()
    slow.begin()
    slow.write(memoryview(content[:-2]))
    slow.prepare()

    first = place.take([content])
    slow.write(memoryview(content[-2:]))
    slow.end()
    (second,) = slow.finish()

    assert isinstance(first, Stored)
    assert isinstance(second, Stored)
    assert second.already
    assert len(place.files) == 1


def test_what_is_prepared_and_does_not_arrive_whole_leaves_nothing(tmp_path: Path):
    place = Place(tmp_path)
    intake = place.archive.intake()
    intake.begin()
    intake.write(memoryview(a_slice()[:-2]))
    intake.prepare()
    assert len(place.files) == 1

    (outcome,) = intake.finish()

    assert isinstance(outcome, Refused)
    assert place.files == []


def test_elements_behind_the_pixel_data_are_in_the_row(tmp_path: Path):
    behind = b"\xe1\x7f\x10\x00LO\x04\x00PROD"  # (7FE1,0010), a private creator
    content = a_slice() + behind
    place = Place(tmp_path)

    assert isinstance(place.take([content[: -len(behind)], behind]), Stored)

    assert b"7FE10010" in place.index.given[0].json


def test_an_instance_that_names_itself_again_is_what_it_says_last(tmp_path: Path):
    again = b"\x20\x00\x0e\x00UI\x08\x002.25.999"  # another Series Instance UID, where none belongs
    content = a_slice() + again
    whole, prepared = Place(tmp_path / "whole"), Place(tmp_path / "prepared")

    assert prepared.take([content[: -len(again)], again]) == whole.take([content])

    assert [record.key for record in prepared.index.given] == [record.key for record in whole.index.given]
