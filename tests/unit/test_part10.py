import struct

import pytest

from service.dicom.errors import NotDicom
from service.dicom.part10 import file_head, read_file_head
from service.dicom.syntaxes import EXPLICIT_LE, IMPLICIT_LE
from tests.making import CT, a_data_set, a_file
from tests.reading import data_set

DATA_SET = b"\x08\x00\x05\x00CS\x0a\x00ISO_IR 100" + b"\x08\x00\x16\x00UI\x02\x001\0" * 4


def element(number: int, vr: bytes, value: bytes) -> bytes:
    if vr in (b"OB", b"UN"):
        return struct.pack("<HH2sHI", 2, number, vr, 0, len(value)) + value
    return struct.pack("<HH2sH", 2, number, vr, len(value)) + value


def test_a_head_that_we_write_is_one_that_pydicom_reads():
    head = file_head(CT, "1.2.3", EXPLICIT_LE, source_ae_title="MODALITY")
    meta = data_set(head + DATA_SET[:18]).file_meta
    assert (meta.MediaStorageSOPClassUID, meta.MediaStorageSOPInstanceUID) == (CT, "1.2.3")
    assert meta.TransferSyntaxUID == EXPLICIT_LE
    assert meta.SourceApplicationEntityTitle == "MODALITY"
    assert meta.FileMetaInformationGroupLength == len(head) - 144


def test_a_head_that_pydicom_writes_is_one_that_we_read():
    made = a_data_set()
    file = a_file(made)
    head = read_file_head(file)
    assert head is not None
    assert (head.sop_class, head.sop_instance, head.syntax) == (CT, made.SOPInstanceUID, EXPLICIT_LE)
    assert head.complete
    assert file[head.data_offset :].startswith(b"\x08\x00\x16\x00UI")


def test_more_bytes_are_asked_for_until_the_head_is_whole():
    head = file_head(CT, "1.2.3", EXPLICIT_LE)
    file = head + DATA_SET
    for end in range(len(head)):
        assert read_file_head(file[:end]) is None, end
    found = read_file_head(file)
    assert found is not None
    assert found.data_offset == len(head)


@pytest.mark.parametrize("length", [0, 4, 0xFFFFFFF0])
def test_the_group_length_is_not_believed(length):
    head = bytearray(file_head(CT, "1.2.3", EXPLICIT_LE))
    head[140:144] = struct.pack("<I", length)
    found = read_file_head(bytes(head) + DATA_SET)
    assert found is not None
    assert found.data_offset == len(head)


def test_a_head_without_a_preamble_is_read_and_known_to_be_incomplete():
    file = file_head(CT, "1.2.3", EXPLICIT_LE)[132:] + DATA_SET
    found = read_file_head(file + bytes(64))
    assert found is not None
    assert (found.syntax, found.complete) == (EXPLICIT_LE, False)


def test_a_bare_data_set_tells_its_syntax_by_its_first_element():
    explicit = read_file_head(DATA_SET + bytes(200))
    assert explicit is not None
    assert (explicit.syntax, explicit.data_offset, explicit.complete) == (EXPLICIT_LE, 0, False)
    implicit = read_file_head(b"\x08\x00\x05\x00\x0a\x00\x00\x00ISO_IR 100" + bytes(200))
    assert implicit is not None
    assert implicit.syntax == IMPLICIT_LE


@pytest.mark.parametrize(
    "file",
    [
        bytes(200),
        b"%PDF-1.4" + bytes(200),
        b"\x00\x08\x00\x05CS\x00\x0aISO_IR 100" + bytes(200),  # big endian
        bytes(128) + b"DICM" + struct.pack("<HHI", 2, 0x10, 20) + bytes(200),  # implicit file meta
        bytes(128) + b"DICM" + element(2, b"UI", b"1.2\0") + DATA_SET,  # no transfer syntax
        bytes(128) + b"DICM" + element(0x10, b"UI", b"") + DATA_SET,
    ],
)
def test_what_is_no_file_is_refused(file):
    with pytest.raises(NotDicom):
        read_file_head(file)


def test_a_head_has_a_limit():
    bomb = bytes(128) + b"DICM" + element(0x0102, b"OB", bytes(1000)) * 70
    with pytest.raises(NotDicom, match="64 KiB"):
        read_file_head(bomb)
    liar = bytes(128) + b"DICM" + struct.pack("<HH2sHI", 2, 0x0102, b"OB", 0, 0xFFFFFFFE) + bytes(100)
    with pytest.raises(NotDicom, match="64 KiB"):
        read_file_head(liar)
