import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.dicom.errors import NotDicom
from service.dicom.fragments import Fragments, FragmentScan, frame_payload, frame_table
from service.dicom.frames import Extent, FrameTable, merge
from service.dicom.syntaxes import BY_UID, ROOT

J2K = BY_UID[ROOT + ".4.90"]
MPEG = BY_UID[ROOT + ".4.102"]
ITEM = b"\xfe\xff\x00\xe0"
END = b"\xfe\xff\xdd\xe0\0\0\0\0"


def item(content: bytes) -> bytes:
    return ITEM + len(content).to_bytes(4, "little") + content


def scan(data: bytes, *, offset: int = 100, step: int | None = None) -> tuple[Fragments | None, int]:
    """The fragments in `data`, fed in steps, and how many bytes belonged to them."""
    scanning, at = FragmentScan(offset), 0
    step = step or len(data)
    while at < len(data) and scanning.fragments is None:
        at += scanning.push(memoryview(data)[at : at + step])
    return scanning.fragments, at


def test_fragments_are_found_by_their_lengths_whatever_they_hold():
    data = item(b"") + item(b"\xff\x4f" + END) + item(b"rest") + END + b"behind"
    fragments, used = scan(data)
    assert fragments is not None
    assert list(fragments.offsets) == [108, 126]
    assert list(fragments.starts) == [1, 0]
    assert fragments.end == 138
    assert data[used:] == b"behind"


@given(st.lists(st.binary(max_size=9), max_size=6), st.binary(max_size=8), st.integers(1, 9))
def test_how_the_bytes_arrive_changes_nothing(contents, table, step):
    data = item(table) + b"".join(map(item, contents)) + END + b"x"
    whole, used = scan(data)
    stepwise, used_stepwise = scan(data, step=step)
    assert whole is not None
    assert stepwise is not None
    assert used == used_stepwise == len(data) - 1
    assert list(whole.offsets) == list(stepwise.offsets)
    assert list(whole.starts) == list(stepwise.starts)
    assert whole.basic_table == stepwise.basic_table == table
    assert whole.end == stepwise.end


def test_something_else_than_items_is_refused():
    with pytest.raises(NotDicom):
        scan(item(b"") + b"\x10\x00\x10\x00\0\0\0\0")


def fragments(*offsets: int, table: bytes = b"", starts: tuple[int, ...] = (), end: int = 1000) -> Fragments:
    return Fragments(offsets, starts or (0,) * len(offsets), table, end)


def offsets_of(table: FrameTable | None) -> list[int] | None:
    return None if table is None else list(table.offsets)


def test_as_many_fragments_as_frames_are_one_each():
    assert offsets_of(frame_table(fragments(10, 20, 30), 3, J2K)) == [10, 20, 30, 1000]


def test_a_single_frame_is_all_fragments():
    assert offsets_of(frame_table(fragments(10, 20, 30), 1, J2K)) == [10, 1000]


def test_a_basic_offset_table_tells_split_frames_apart():
    table = b"".join(offset.to_bytes(4, "little") for offset in (0, 20))
    assert offsets_of(frame_table(fragments(10, 20, 30, table=table), 2, J2K)) == [10, 30, 1000]


def test_an_extended_offset_table_comes_before_the_basic_one():
    basic = b"".join(offset.to_bytes(4, "little") for offset in (0, 20))
    extended = b"".join(offset.to_bytes(8, "little") for offset in (0, 10))
    assert offsets_of(frame_table(fragments(10, 20, 30, table=basic), 2, J2K, extended)) == [10, 20, 1000]


@pytest.mark.parametrize("wrong", [(0, 21), (10, 20), (0, 0), (0,)])
def test_a_table_that_misses_the_fragments_is_not_believed(wrong):
    table = b"".join(offset.to_bytes(4, "little") for offset in wrong)
    assert frame_table(fragments(10, 20, 30, table=table), 2, J2K) is None


def test_marks_of_codestreams_tell_frames_apart_where_no_table_does():
    assert offsets_of(frame_table(fragments(10, 20, 30, starts=(1, 0, 1)), 2, J2K)) == [10, 30, 1000]


@pytest.mark.parametrize("frames", [0, 4, 5])
def test_fewer_fragments_than_frames_make_no_table(frames):
    assert frame_table(fragments(10, 20, 30), frames, J2K) is None


def test_video_has_no_frame_table():
    assert frame_table(fragments(10), 1, MPEG) is None


def test_a_payload_is_its_items_joined():
    assert bytes(frame_payload(item(b"ab") + item(b"cd"))) == b"abcd"


@pytest.mark.parametrize("damaged", [item(b"ab")[:-1], b"\0" * 8])
def test_damaged_items_are_refused(damaged):
    with pytest.raises(NotDicom):
        frame_payload(damaged)


@given(st.lists(st.integers(0, 2**63), min_size=1, max_size=20))
def test_a_table_survives_being_packed(offsets):
    assert list(FrameTable.from_bytes(FrameTable(offsets).to_bytes()).offsets) == offsets


def test_near_extents_become_one_read():
    assert merge([Extent(0, 4), Extent(6, 4)], gap=2, limit=100) == [Extent(0, 10)]
    assert merge([Extent(0, 4), Extent(7, 4)], gap=2, limit=100) == [Extent(0, 4), Extent(7, 4)]


extents = st.lists(st.builds(Extent, st.integers(0, 500), st.integers(0, 60)), max_size=12)


@given(extents, st.integers(0, 20), st.integers(60, 200))
def test_merged_reads_cover_everything_within_the_limit(wanted, gap, limit):
    reads = merge(wanted, gap=gap, limit=limit)
    assert all(any(r.offset <= w.offset and w.end <= r.end for r in reads) for w in wanted)
    assert all(read.length <= limit for read in reads)
