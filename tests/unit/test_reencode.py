"""Implicit VR and big endian data sets written anew in Explicit VR Little Endian (PS3.5 7, A.2)."""

import io
import struct

import pydicom
import pytest
from pydicom.dataset import Dataset
from pydicom.filebase import DicomBytesIO
from pydicom.filewriter import write_dataset

from service.dicom.elements import EXPLICIT_BIG, IMPLICIT, Encoding
from service.dicom.errors import NotDicom
from service.dicom.frames import Extent
from service.dicom.reencode import explicit_little, swapped
from tests.making import a_data_set, add_pixels
from tests.reading import differences

pytestmark = pytest.mark.filterwarnings("ignore")
END = b"\xfe\xff\xdd\xe0\0\0\0\0"
UNDEFINED = 0xFFFFFFFF


def imp(tag: int, value: bytes, length: int | None = None) -> bytes:
    return struct.pack("<HHI", tag >> 16, tag & 0xFFFF, len(value) if length is None else length) + value


def item(content: bytes, length: int | None = None) -> bytes:
    return b"\xfe\xff\x00\xe0" + struct.pack("<I", len(content) if length is None else length) + content


def rewritten(content: bytes, encoding: Encoding = IMPLICIT, block_size: int = 1 << 20) -> bytes:
    source = b"head" + content

    def read(extent: Extent) -> bytes:
        assert extent.length <= max(block_size, 64 << 10)
        assert extent.end <= len(source)
        return source[extent.offset : extent.end]

    return b"".join(explicit_little(read, Extent(4, len(content)), encoding, block_size=block_size))


def read_back(explicit: bytes) -> Dataset:
    return pydicom.dcmread(io.BytesIO(bytes(128) + b"DICM" + META + explicit))


META = struct.pack("<HH2sH", 2, 0x10, b"UI", 20) + b"1.2.840.10008.1.2.1\0"


def written(made: Dataset, *, implicit: bool, little: bool) -> bytes:
    buffer = DicomBytesIO()
    buffer.is_little_endian, buffer.is_implicit_VR = little, implicit
    write_dataset(buffer, made)
    return buffer.getvalue()


@pytest.mark.parametrize("big", [False, True])
@pytest.mark.parametrize("block_size", [7, 100, 1 << 20])
def test_every_element_keeps_its_value(big, block_size):
    made = add_pixels(a_data_set(), [bytes(range(250)) * 4], rows=20, columns=25)
    made.ReferencedImageSequence = [a_data_set(RescaleSlope="1.50"), Dataset()]
    made.ReferencedImageSequence[0].ReferencedSeriesSequence = [a_data_set()]
    made.add_new(0x00091001, "UN", b"\x01\x02\x03\x04")
    made.SimpleFrameList = [1, 2, 70000]
    made.FrameIncrementPointer = [0x00181063, 0x00181065]
    made.PixelPaddingValue = 7
    content = written(made, implicit=not big, little=not big)
    sent = read_back(rewritten(content, EXPLICIT_BIG if big else IMPLICIT, block_size))
    found = differences(made, sent, big_endian=big)
    assert found == []


def test_group_lengths_are_dropped_and_odd_lengths_padded():
    content = imp(0x00100000, struct.pack("<I", 4)) + imp(0x00104000, b"abc")
    assert rewritten(content) == b"\x10\x00\x00\x40LT\x04\x00abc "


def test_a_value_too_long_for_its_vr_becomes_un():
    sent = rewritten(imp(0x00080050, b"x" * 70_000))
    assert sent[:12] == b"\x08\x00\x50\x00UN\0\0" + struct.pack("<I", 70_000)


def test_private_elements_take_the_vr_of_their_creator():
    content = imp(0x00190010, b"GEMS_ACQU_01") + imp(0x00191002, struct.pack("<i", 912))
    assert b"\x19\x00\x02\x10SL\x04\x00" in rewritten(content)


# Damage as the header walker treats it, so that what was stored can be read back.
DAMAGED = [
    ("zero bytes behind", imp(0x00080060, b"CT") + bytes(10), ["CT"]),
    ("less than a head of zeros", imp(0x00080060, b"CT") + bytes(6), ["CT"]),
    ("junk behind an item", imp(0x00400275, item(imp(0x00400009, b"AB")) + b"junk"), ["AB"]),
    ("no items at all", imp(0x00400275, b"\1\2\3\4\5\6\7\x08"), []),
    ("an item beyond its sequence", imp(0x00400275, item(imp(0x00400009, b"AB"), 500)), ["AB"]),
    ("a value beyond its item", imp(0x00400275, item(imp(0x00400009, b"AB", 500))), []),
    (
        "an open item inside a closed sequence",
        imp(0x00400275, item(imp(0x00400009, b"AB"), UNDEFINED)),
        ["AB"],
    ),
    ("text up to a delimiter", imp(0x00104000, b"hello!" + END, UNDEFINED), ["hello!"]),
]


@pytest.mark.parametrize(("name", "content", "values"), DAMAGED, ids=[row[0] for row in DAMAGED])
def test_damage_inside_a_defined_length_costs_only_what_follows_it_there(name, content, values):
    sent = read_back(
        rewritten(content + b"")
        if name.startswith(("zero", "less"))
        else rewritten(content + imp(0x0040A730, b""))
    )
    text = str(sent)
    assert all(value in text for value in values)


def test_items_of_un_are_implicit_little_endian_even_in_big_endian():
    items = item(imp(0x00400009, b"AB")) + END
    content = struct.pack(">HH2sHI", 0x0041, 0x1001, b"UN", 0, UNDEFINED) + items
    sent = read_back(rewritten(content, EXPLICIT_BIG))
    assert sent[0x00411001].value[0].ScheduledProcedureStepID == "AB"


@pytest.mark.parametrize(
    "content",
    [
        imp(0x00400275, item(imp(0x00400009, b"AB")), UNDEFINED),  # no delimiter
        imp(0x00080060, b"CT", 50),
        imp(0x7FE00010, item(b"") + item(b"\xff\xd8") + END, UNDEFINED),
        b"\x08\x00\x60",
    ],
)
def test_what_cannot_be_walked_to_its_end_is_refused(content):
    with pytest.raises(NotDicom):
        rewritten(content)


def test_words_are_turned_and_an_incomplete_one_stays():
    assert swapped(bytes(range(8)), 2) == bytes([1, 0, 3, 2, 5, 4, 7, 6])
    assert swapped(bytes(range(8)), 4) == bytes([3, 2, 1, 0, 7, 6, 5, 4])
    assert swapped(b"\1\2\3", 2) == b"\2\1\3"
