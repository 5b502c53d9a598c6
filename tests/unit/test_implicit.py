"""Explicit VR Little Endian rewritten in Implicit VR Little Endian while it streams."""

import io
import random
import struct
import warnings
from pathlib import Path

import pytest
from pydicom import dcmread
from pydicom.dataset import Dataset
from pydicom.filebase import DicomBytesIO
from pydicom.filereader import read_dataset
from pydicom.filewriter import write_dataset
from pydicom.sequence import Sequence

from service.dicom.errors import NotDicom
from service.dicom.implicit import ImplicitWriter
from service.dicom.part10 import read_file_head
from service.dicom.syntaxes import EXPLICIT_LE

pytestmark = pytest.mark.filterwarnings("ignore")  # pydicom's, about the files


def rewritten(content: bytes, step: int = 1 << 16) -> bytes:
    writer = ImplicitWriter()
    made = b"".join(
        bytes(piece) for at in range(0, len(content), step) for piece in writer.push(content[at : at + step])
    )
    writer.end()
    return made


def element(tag: int, vr: bytes, value: bytes, length: int | None = None) -> bytes:
    size = len(value) if length is None else length
    if vr in (b"OB", b"OW", b"SQ", b"UN", b"UT"):
        return struct.pack("<HH2sHI", tag >> 16, tag & 0xFFFF, vr, 0, size) + value
    return struct.pack("<HH2sH", tag >> 16, tag & 0xFFFF, vr, size) + value


def item(content: bytes, length: int | None = None) -> bytes:
    return struct.pack("<HHI", 0xFFFE, 0xE000, len(content) if length is None else length) + content


def implicit(tag: int, value: bytes) -> bytes:
    return struct.pack("<HHI", tag >> 16, tag & 0xFFFF, len(value)) + value


ITEM_END = struct.pack("<HHI", 0xFFFE, 0xE00D, 0)
SEQUENCE_END = struct.pack("<HHI", 0xFFFE, 0xE0DD, 0)


def a_data_set() -> Dataset:
    inner = Dataset()
    inner.CodeValue = "A"
    inner.PixelData = bytes(10)
    inner["PixelData"].VR = "OB"
    step = Dataset()
    step.ScheduledProtocolCodeSequence = Sequence([inner, Dataset()])
    whole = Dataset()
    whole.SOPClassUID, whole.SOPInstanceUID = "1.2.840.10008.5.1.4.1.1.7", "1.2.3"
    whole.PatientName = "Äpfel^Ö"
    whole.SpecificCharacterSet = "ISO_IR 192"
    whole.RequestAttributesSequence = Sequence([step, step])
    block = whole.private_block(0x0011, "ISTHMUS", create=True)
    block.add_new(1, "UT", "x" * 70000)
    block.add_new(2, "SQ", [inner])
    whole.PixelData = bytes(range(256)) * 4
    whole["PixelData"].VR = "OW"
    return whole


def encoded(data_set: Dataset, *, implicit_vr: bool) -> bytes:
    buffer = DicomBytesIO()
    buffer.is_little_endian, buffer.is_implicit_VR = True, implicit_vr
    write_dataset(buffer, data_set)
    return buffer.getvalue()


@pytest.mark.parametrize("undefined", [False, True])
@pytest.mark.parametrize("step", [1, 7, 4096, 1 << 20])
def test_what_comes_out_says_the_same_however_it_was_cut(undefined: bool, step: int):
    whole = a_data_set()
    for each in whole.iterall():
        if each.VR == "SQ":
            each.is_undefined_length = undefined
            for one in each.value:
                one.is_undefined_length_sequence_item = undefined
    content = encoded(whole, implicit_vr=False)

    made = rewritten(content, step)

    read = read_dataset(io.BytesIO(made), is_implicit_VR=True, is_little_endian=True)
    assert [e.tag for e in read.iterall()] == [e.tag for e in whole.iterall()]
    assert read.PixelData == whole.PixelData
    assert read.PatientName == whole.PatientName


def test_odd_values_are_padded_and_group_lengths_dropped():
    content = element(0x00080000, b"UL", bytes(4)) + element(0x00080018, b"UI", b"1.2") + b"\0\0"

    assert rewritten(content) == implicit(0x00080018, b"1.2\0")


def test_items_of_unknown_sequences_are_in_implicit_vr_already():
    inside = implicit(0x00080100, b"A ")
    unknown = element(0x00111001, b"UN", item(inside, 0xFFFFFFFF) + ITEM_END + SEQUENCE_END, 0xFFFFFFFF)

    assert rewritten(unknown, 3) == struct.pack("<HHI", 0x0011, 0x1001, 0xFFFFFFFF) + (
        item(inside, 0xFFFFFFFF) + ITEM_END + SEQUENCE_END
    )


def test_damage_inside_a_defined_length_costs_what_follows_it_there():
    good = element(0x00080100, b"SH", b"A ")
    bad = element(0x00080102, b"SH", b"xx", 500)
    content = element(0x00400275, b"SQ", item(good + bad)) + element(0x00100010, b"PN", b"A^")

    made = rewritten(content, 5)

    assert made == struct.pack("<HHI", 0x0040, 0x0275, 0xFFFFFFFF) + (
        item(implicit(0x00080100, b"A "), 0xFFFFFFFF) + ITEM_END + SEQUENCE_END + implicit(0x00100010, b"A^")
    )


def test_a_missing_delimiter_ends_with_the_defined_length_around_it():
    good = element(0x00080100, b"SH", b"A ")
    content = element(0x00400275, b"SQ", item(good, 0xFFFFFFFF)[:], len(item(good)))

    assert rewritten(content, 2) == struct.pack("<HHI", 0x0040, 0x0275, 0xFFFFFFFF) + (
        item(implicit(0x00080100, b"A "), 0xFFFFFFFF) + ITEM_END + SEQUENCE_END
    )


@pytest.mark.parametrize(
    "content",
    [
        element(0x00100010, b"PN", b"A^", 500),
        element(0x00100010, b"PN", b"A^")[:6],
        element(0x7FE00010, b"OB", item(b"") + SEQUENCE_END, 0xFFFFFFFF),
        element(0x00400275, b"SQ", item(element(0x00080100, b"SH", b"A "), 0xFFFFFFFF), 0xFFFFFFFF),
        bytes(8) + element(0x00100010, b"PN", b"A^"),
        SEQUENCE_END,
        b"".join([element(0x00400275, b"SQ", item(b"", 0xFFFFFFFF), 0xFFFFFFFF)] * 200),
    ],
)
def test_what_cannot_be_walked_is_refused(content: bytes):
    with pytest.raises(NotDicom):
        rewritten(content)


def test_mutated_data_sets_are_refused_or_rewritten_and_never_anything_else():
    content = encoded(a_data_set(), implicit_vr=False)[:2000]
    chance = random.Random(5)
    for _ in range(500):
        mutated = bytearray(content)
        for _ in range(chance.randint(1, 4)):
            mutated[chance.randrange(len(mutated))] = chance.randrange(256)
        try:
            made = rewritten(bytes(mutated), 64)
        except NotDicom:
            continue
        assert len(made) < 3 * len(content)


def real_files() -> list[Path]:
    root = Path(__file__).parents[2].parent / "shared" / "data"
    return sorted(root.rglob("*.dcm")) if root.is_dir() else []


def test_real_files_keep_every_element():
    compared, problems = 0, []
    for path in real_files():
        content = path.read_bytes()
        if "malformed" in path.parts or content[128:132] != b"DICM" or len(content) > 4 << 20:
            continue
        head = read_file_head(content)
        assert head is not None
        if head.syntax != EXPLICIT_LE:
            continue
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            made = rewritten(content[head.data_offset :])
            original = dcmread(path)
            read = read_dataset(io.BytesIO(made), is_implicit_VR=True, is_little_endian=True)
        kept = [e.tag for e in original if e.tag.element]
        pixels = original.get("PixelData") or b""
        if [e.tag for e in read] != kept or (read.get("PixelData") or b"") != pixels + bytes(len(pixels) % 2):
            problems.append(str(path))
        compared += 1
    if not compared:
        pytest.skip("The real files are not beside this checkout (../shared/data).")
    assert not problems, "\n".join(problems)
